//! When a project counts as idle, and when the end that was wanted for that goes on.

use proptest::prelude::*;
use remora_control_plane_project::{Idleness, Pod, Usage, goes_on, idleness};
use remora_proto_model::project::{Idle, IdleAction};

const ACTIONS: [IdleAction; 3] = [IdleAction::Hibernate, IdleAction::Stop, IdleAction::None];
const PODS: [Pod; 9] = [
    Pod::Absent,
    Pod::Stray,
    Pod::Raised,
    Pod::Broken,
    Pod::Starting,
    Pod::Ready,
    Pod::Saved,
    Pod::SavedForSure,
    Pod::Condemned,
];

fn of(after_seconds: u32) -> Option<Idle> {
    Some(Idle { after_seconds, action: IdleAction::Hibernate })
}

#[test]
fn each_case_has_its_verdict() {
    let idle = Idleness::Idle(IdleAction::Hibernate);
    let used = |for_ms| Idleness::Used { for_ms };
    for (case, policy, quiet_ms, asked_ms, verdict) in [
        ("no policy", None, Some(u64::MAX), None, Idleness::Unlimited),
        ("no policy and nobody to ask", None, None, None, Idleness::Unlimited),
        ("an agent that cannot be asked", of(10), None, None, Idleness::Unknown),
        ("one that cannot be asked, and a call long ago", of(10), None, Some(u64::MAX), Idleness::Unknown),
        ("in use now", of(10), Some(0), None, used(10_000)),
        ("a moment too early", of(10), Some(9_999), None, used(1)),
        ("long enough", of(10), Some(10_000), None, idle),
        ("what a shim says that was never used", of(10), Some(u64::MAX), None, idle),
        ("quiet, and somebody asked for it just now", of(10), Some(60_000), Some(0), used(10_000)),
        ("quiet, and somebody asked for it a while ago", of(10), Some(60_000), Some(4_000), used(6_000)),
        ("quiet, and somebody asked for it long ago", of(10), Some(60_000), Some(10_000), idle),
        ("used after somebody asked for it", of(10), Some(1_000), Some(60_000), used(9_000)),
        ("the longest time", of(2_592_000), Some(2_591_999_999), None, used(1)),
    ] {
        assert_eq!(idleness(policy, Usage { quiet_ms, asked_ms }), verdict, "{case}");
    }
}

#[test]
fn an_end_goes_on_only_by_certain_idleness_or_where_there_is_no_way_back() {
    for pod in PODS {
        let late = matches!(pod, Pod::Condemned | Pod::Stray | Pod::Absent | Pod::Raised);
        for (now, certain) in [
            (Idleness::Unlimited, false),
            (Idleness::Unknown, false),
            (Idleness::Used { for_ms: 1 }, false),
            (Idleness::Idle(IdleAction::None), false),
            (Idleness::Idle(IdleAction::Stop), true),
            (Idleness::Idle(IdleAction::Hibernate), true),
        ] {
            assert_eq!(goes_on(pod, now), certain || late, "{pod:?} {now:?}");
        }
    }
}

proptest! {
    /// Whatever happens when: nothing that was used, or asked for, within the time is
    /// idle, and what was not is, as soon as everybody says so.
    #[test]
    fn a_project_is_idle_exactly_when_nothing_happened_for_the_time(
        after_seconds in 5_u32..2_592_000,
        action in prop::sample::select(&ACTIONS[..]),
        // Milliseconds from the start of the world to each event and to the look.
        uses in prop::collection::vec(0_u64..6_000_000_000, 1..6),
        asks in prop::collection::vec(0_u64..6_000_000_000, 0..3),
        later in 0_u64..6_000_000_000,
        // A driver that took over later saw none of the asks.
        saw_asks in any::<bool>(),
        answers in any::<bool>(),
    ) {
        let last = uses.iter().chain(&asks).max().copied().unwrap_or(0);
        let now = last + later;
        let ago = |events: &[u64]| events.iter().max().map(|at| now - at);
        let usage = Usage {
            quiet_ms: ago(&uses).filter(|_| answers),
            asked_ms: ago(&asks).filter(|_| saw_asks),
        };
        let verdict = idleness(Some(Idle { after_seconds, action }), usage);
        let after_ms = u64::from(after_seconds) * 1_000;
        let counted = uses.iter().chain(asks.iter().filter(|_| saw_asks)).max().copied().unwrap_or(0);
        match verdict {
            Idleness::Idle(what) => {
                prop_assert!(answers && now - counted >= after_ms);
                prop_assert_eq!(what, action);
            }
            Idleness::Used { for_ms } => {
                prop_assert!(answers);
                // Exactly then it is, if nothing happens.
                prop_assert_eq!(counted + after_ms, now + for_ms);
            }
            Idleness::Unknown => prop_assert!(!answers),
            Idleness::Unlimited => prop_assert!(false, "there is a policy"),
        }
    }
}
