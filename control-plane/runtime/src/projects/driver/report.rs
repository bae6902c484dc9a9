//! What a project's status says, from what its driver sees.

use remora_control_plane_project::{Idleness, Observed, Pod, Step, Tree, Wish, phase};
use remora_proto::agent::v1::ContainerStatus;
use remora_proto_model::{
    Fault, Reason,
    project::{Condition, ConditionType, Container, ContainerState, Phase, ProjectStatus},
};

use super::Driver;
use crate::{
    agents::status,
    projects::{entry::WAITS_FOR_SOURCE, now_ms},
};

/// The word of a spec that a pod which runs does not follow.
const RESTART_NEEDED: &str = "RESTART_NEEDED";
/// The word of a spec that cannot be read.
const SPEC_REFUSED: &str = "SPEC_REFUSED";
/// The word of a workspace that lacks what an earlier pod took with it.
const CHANGES_LOST: &str = "CHANGES_LOST";
/// The word of a condition that is as it should be.
pub(super) const FINE: &str = "OK";

impl Driver {
    pub(super) async fn report(&mut self, wish: Wish, observed: &Observed, step: Option<Step>) -> Result<(), Fault> {
        let serves = matches!(observed.pod, Pod::Ready | Pod::Saved | Pod::SavedForSure);
        let phase = phase(wish, observed, step);
        let said = self.said().filter(|_| serves);
        let told = || said.iter().flat_map(|said| &said.containers);
        let ended: Vec<&ContainerStatus> = told().filter(|container| status::ended_badly(container)).collect();
        let silent: Vec<&str> =
            told().filter(|container| !container.reachable).map(|container| container.name.as_str()).collect();
        let trouble = self.seen.trouble.clone().filter(|_| serves);
        let failed = !ended.is_empty() || !silent.is_empty() || trouble.is_some();
        let begins = self.begins(told()).filter(|_| serves);
        let phase = match phase {
            Phase::Ready if failed => Phase::Degraded,
            Phase::Ready if begins.is_some() => Phase::Starting,
            Phase::Ready if matches!(self.idling.verdict, Idleness::Idle(_)) => Phase::Idle,
            phase => phase,
        };
        let mut verdicts = vec![
            (ConditionType::Ready, serves, self.ready_words(phase, serves, begins)),
            (ConditionType::Hydrated, self.is_hydrated(observed), self.hydrated_words()),
            (ConditionType::SnapshotCurrent, self.tending.fault.is_none(), self.snapshot_words()),
        ];
        let blocked = self.fault.as_ref().filter(|_| wish != Wish::Run);
        verdicts.push((
            ConditionType::HibernateBlocked,
            blocked.is_some(),
            blocked.map_or((FINE, String::new()), |fault| {
                (Reason::HibernateBlocked.as_str(), format!("{}: {fault}", fault.reason))
            }),
        ));
        let fenced = self.fault.iter().chain(&self.tending.fault).any(|fault| fault.reason == Reason::LineageFenced);
        let fenced_words =
            if fenced { (Reason::LineageFenced.as_str(), "a newer generation owns the snapshots") } else { (FINE, "") };
        verdicts.push((ConditionType::Fenced, fenced, (fenced_words.0, fenced_words.1.to_owned())));
        let broken = self.fault.as_ref().filter(|_| wish == Wish::Run);
        verdicts.push((
            ConditionType::Degraded,
            broken.is_some() || observed.pod == Pod::Broken || failed || self.unrouted.is_some(),
            match broken {
                Some(fault) => (fault.reason.as_str(), fault.to_string()),
                None if !ended.is_empty() => (
                    if ended.iter().any(|container| container.gave_up) {
                        Reason::DependencyNotReady.as_str()
                    } else {
                        Reason::CommandEnded.as_str()
                    },
                    ended.iter().map(|container| self.end_words(observed, container)).collect::<Vec<_>>().join("; "),
                ),
                None if !silent.is_empty() => {
                    (Reason::ContainerUnavailable.as_str(), format!("{} does not answer", silent.join(", ")))
                }
                None if trouble.is_some() => {
                    trouble.map_or((FINE, String::new()), |fault| (fault.reason.as_str(), fault.to_string()))
                }
                None if observed.pod == Pod::Broken => (
                    Reason::ContainerUnavailable.as_str(),
                    "a process of the pod has ended and is started again".to_owned(),
                ),
                None => self.unrouted.as_ref().map_or((FINE, String::new()), |fault| {
                    (fault.reason.as_str(), format!("a port is not reached from outside as it should be: {fault}"))
                }),
            },
        ));
        let outdated = self.outdated(observed);
        let refused = self.entry.record().refused;
        verdicts.push((
            ConditionType::SpecCurrent,
            outdated.is_empty() && refused.is_none(),
            match (refused, outdated.as_slice()) {
                (Some(why), _) => {
                    (SPEC_REFUSED, format!("the spec is not followed, what it was before is: {why}; change it again"))
                }
                (None, []) => (FINE, String::new()),
                (None, what) if self.seen.behind || self.entry.record().is_being_replaced() => (
                    RESTART_NEEDED,
                    format!("{} changed since it was started, and it is on its way to that", what.join(" and ")),
                ),
                (None, what) => changed_words(what),
            },
        ));
        if let Some((idle, reason, words)) = self.idle_words(serves) {
            verdicts.push((ConditionType::Idle, idle, (reason, words)));
        }
        let mut containers = self.container_states(observed);
        for state in &mut containers {
            if let Some(container) = told().rfind(|container| container.name == state.name.as_str()) {
                status::container(state, container);
            }
        }
        let record = self.entry.record();
        let made = self.seen.made.as_ref().filter(|_| serves);
        let ends = made.map(|made| self.pods.endpoints(&record, made));
        let (pods, namespace, beside) = (self.seen.pods.clone(), self.pods.namespace(), self.idling.last_ms);
        let elapsed = u64::try_from(self.wished_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.inner
            .touch(&self.entry, |now| {
                // Somebody asked for another attempt or changed the spec meanwhile: this is about what was before.
                let record = self.entry.record();
                if (record.asked, record.spec_version) != (self.asked, self.spec_version) {
                    return;
                }
                now.phase = phase;
                if serves && now.timings.hydrated_ms != 0 && now.timings.ready_ms == 0 {
                    now.timings.ready_ms = elapsed;
                }
                if let Some(said) = &said {
                    now.last_activity_ms = now.last_activity_ms.max(said.last_activity_ms).max(beside);
                    now.durability = status::durability(said).unwrap_or(now.durability);
                }
                now.endpoints = ends.unwrap_or_default();
                now.containers = containers;
                now.pods = pods;
                namespace.clone_into(&mut now.namespace);
                for (kind, holds, (reason, message)) in verdicts {
                    set(now, kind, holds, reason, message);
                }
            })
            .await
    }

    /// What of the spec is not what runs.
    fn outdated(&self, observed: &Observed) -> Vec<&'static str> {
        let Some(made) = self.seen.made.as_ref().filter(|_| !matches!(observed.pod, Pod::Absent | Pod::Raised)) else {
            return Vec::new();
        };
        let spec = self.entry.project().spec;
        let parts = |containers: &[Container]| containers.iter().map(Container::of_its_pod).collect::<Vec<_>>();
        let differs = [
            ("containers", parts(&made.containers) != parts(&spec.containers)),
            ("exclude", made.exclude != spec.snapshots.exclude),
        ];
        differs.into_iter().filter_map(|(what, differs)| differs.then_some(what)).collect()
    }

    /// How a command ended, and what it said last.
    fn end_words(&self, observed: &Observed, container: &ContainerStatus) -> String {
        let how = status::end(container);
        if container.gave_up {
            return format!("the command of {} {how}", container.name);
        }
        let said = self.pods.last_words(observed.generation, &container.name);
        let said = if said.is_empty() { String::new() } else { format!(", its last words: {said}") };
        format!("the command of {} has ended ({how}){said}", container.name)
    }

    /// What of a project that serves has not begun yet, in words.
    fn begins<'a>(&self, told: impl Iterator<Item = &'a ContainerStatus>) -> Option<String> {
        let waits = told
            .filter(|container| status::waits(container))
            .map(|container| format!("{} waits for {}", container.name, container.waiting));
        let unready = self.seen.unready.iter().map(|name| format!("{name} is not healthy yet"));
        let words: Vec<String> = unready.chain(waits).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn ready_words(&self, phase: Phase, serves: bool, begins: Option<String>) -> (&'static str, String) {
        if serves {
            return (FINE, begins.unwrap_or_default());
        }
        match &self.fault {
            Some(fault) => (fault.reason.as_str(), fault.to_string()),
            None if phase == Phase::Pending => (Reason::ProjectNotReady.as_str(), WAITS_FOR_SOURCE.to_owned()),
            None => (Reason::ProjectNotReady.as_str(), format!("it is {phase}")),
        }
    }

    /// Whether there is a whole workspace. One that comes and goes with its pod is
    /// whole once the pod says so.
    fn is_hydrated(&self, observed: &Observed) -> bool {
        if self.pods.tree_ends_with_pod(&self.entry.record()) {
            return self.seen.hydrated.is_some();
        }
        matches!(observed.tree, Tree::Kept | Tree::Committed | Tree::Stored)
    }

    fn hydrated_words(&self) -> (&'static str, String) {
        let lost = self.entry.record().lost;
        lost.map_or((FINE, String::new()), |lost| (CHANGES_LOST, lost))
    }

    fn snapshot_words(&self) -> (&'static str, String) {
        let fault = self.tending.fault.as_ref();
        fault.map_or((FINE, String::new()), |fault| (fault.reason.as_str(), fault.to_string()))
    }

    fn container_states(&self, observed: &Observed) -> Vec<ContainerState> {
        let Some(made) = self.seen.made.as_ref().filter(|_| !matches!(observed.pod, Pod::Absent | Pod::Raised)) else {
            return Vec::new();
        };
        let state = |container: &remora_proto_model::project::Container| {
            let name = container.name.as_str();
            let running = self.seen.containers.iter().any(|running| running == name);
            let known = self.seen.starts.iter().find(|(part, _)| part == name);
            ContainerState {
                name: container.name.clone(),
                running,
                ended: if running { String::new() } else { "it does not run".to_owned() },
                // A server that found it running did not count.
                starts: known.map_or(1, |(_, count)| *count),
                ready: running && !self.seen.unready.iter().any(|unready| unready == name),
                waiting: String::new(),
            }
        };
        made.containers.iter().map(state).collect()
    }
}

/// What is said of a pod that is of another spec.
pub(in crate::projects) fn changed_words(what: &[&str]) -> (&'static str, String) {
    (RESTART_NEEDED, format!("{} changed since it was started; a new start is needed", what.join(" and ")))
}

/// Sets a condition; its time is that of the last change of what it says is so.
fn set(status: &mut ProjectStatus, kind: ConditionType, holds: bool, reason: &str, message: String) {
    let since = match status.conditions.iter().find(|condition| condition.kind == kind) {
        Some(there) if there.status == holds => there.since_ms,
        _ => now_ms(),
    };
    let condition = Condition { kind, status: holds, reason: reason.to_owned(), message, since_ms: since };
    match status.conditions.iter_mut().find(|there| there.kind == kind) {
        Some(there) => *there = condition,
        None => status.conditions.push(condition),
    }
}
