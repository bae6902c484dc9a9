//! Whether anybody uses the project, as its agents say; the end of one that nobody uses;
//! and the call-off of that end where somebody does after all.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::future::join_all;
use remora_control_plane_project::{Idleness, Observed, Pod, Step, Usage, Wish, goes_on, idleness};
use remora_proto_model::{
    ContainerName, Fault,
    project::{ContainerKind, Desired, Idle, IdleAction},
};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Driver;
use crate::{
    agents::{status, thaw},
    limits::STATUS_INTERVAL,
    records::Record,
};

/// The word of a project that nobody uses.
const NOT_USED: &str = "NOT_USED";
/// The word of a project of which nobody knows whether it is used.
const USE_UNKNOWN: &str = "USE_UNKNOWN";

/// What the driver knows of the use of its project.
pub(super) struct Idling {
    pub(super) verdict: Idleness,
    /// When this driver saw somebody ask for the project last.
    pub(super) asked: Option<Instant>,
    /// What all agents said together when each was asked last.
    answers: Option<(Instant, Option<u64>)>,
    /// When anything of it was used last, as agents beside the owner said.
    pub(super) last_ms: u64,
}

impl Default for Idling {
    fn default() -> Self {
        Idling { verdict: Idleness::Unlimited, asked: None, answers: None, last_ms: 0 }
    }
}

impl Driver {
    /// Looks at the use of the project and changes what is wanted of it where that follows
    /// from it. Whether the record changed, so that everything has to be looked at anew.
    pub(super) async fn heed_use(
        &mut self,
        record: &Record,
        observed: &Observed,
        wish: Wish,
        step: Option<Step>,
    ) -> bool {
        let idled = is_idled(record);
        // What cannot be taken back is not decided by what was said a while ago.
        self.idling.verdict = self.judge(record, observed, idled && step == Some(Step::Condemn)).await;
        let changed = if idled {
            if goes_on(observed.pod, self.idling.verdict) {
                return false;
            }
            self.call_off(record).await
        } else if wish != Wish::Run {
            return false;
        } else if record.idled.is_some() && observed.pod == Pod::Ready {
            self.end_for_idleness(record, None).await
        } else {
            let Idleness::Idle(action) = self.idling.verdict else { return false };
            let Some(desired) = action.desired().filter(|_| observed.pod == Pod::Ready) else { return false };
            // A restore is under way: it is somebody's wish, and shows as use only when it has ended.
            if self.entry.snapshots.try_lock().is_err() {
                return false;
            }
            info!(project = %record.project.id, ?desired, "nobody uses the project");
            self.end_for_idleness(record, Some(desired)).await
        };
        match changed {
            Ok(()) => true,
            Err(fault) => {
                warn!(project = %record.project.id, %fault, "what follows from the use of the project cannot be recorded");
                false
            }
        }
    }

    /// Wants its end because nobody uses it, or forgets that this was so.
    async fn end_for_idleness(&self, record: &Record, desired: Option<Desired>) -> Result<(), Fault> {
        let generation = record.project.status.generation;
        self.unless_changed(record, |now| {
            now.idled = desired.map(|_| generation);
            now.project.spec.desired = desired.unwrap_or(now.project.spec.desired);
        })
        .await
    }

    /// Somebody uses it after all, or nobody knows.
    async fn call_off(&self, record: &Record) -> Result<(), Fault> {
        info!(project = %record.project.id, verdict = ?self.idling.verdict, "the end of a project that was idle is called off");
        self.unless_changed(record, |now| {
            now.idled = None;
            now.project.spec.desired = Desired::Running;
        })
        .await?;
        // The snapshot for its end may hold its processes still.
        if let Some((_, agent)) = &self.agent
            && let Err(fault) = thaw(agent).await
        {
            warn!(project = %record.project.id, %fault, "processes that were held go on only when their hold ends");
        }
        Ok(())
    }

    /// Changes the record, unless somebody else wanted anything of it meanwhile.
    async fn unless_changed(&self, seen: &Record, change: impl Fn(&mut Record)) -> Result<(), Fault> {
        let wants =
            |record: &Record| (record.spec_version, record.asked, record.deletion, record.replace, record.idled);
        let change = |now: &mut Record| {
            if wants(now) == wants(seen) {
                change(now);
            }
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }

    /// Judges it. Where it may be idle, every agent of it has its say; with `anew`, now.
    async fn judge(&mut self, record: &Record, observed: &Observed, anew: bool) -> Idleness {
        let policy = record.project.spec.idle;
        let serves = matches!(observed.pod, Pod::Ready | Pod::Saved | Pod::SavedForSure);
        let asked_ms = self.idling.asked.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        if policy.is_none() || !serves {
            return idleness(policy, Usage { quiet_ms: None, asked_ms });
        }
        let own: Vec<IpAddr> = self.seen.pods.iter().filter_map(|pod| pod.ip.parse().ok()).collect();
        let said = self.follower.as_ref().and_then(|follower| follower.fresh());
        let quiet_ms = said.as_ref().and_then(|said| status::quiet(said, &own));
        let verdict = idleness(policy, Usage { quiet_ms, asked_ms });
        if !matches!(verdict, Idleness::Idle(_)) {
            return verdict;
        }
        let answered = self.idling.answers.filter(|(at, _)| !anew && at.elapsed() < STATUS_INTERVAL);
        let all = match answered {
            Some((_, all)) => all,
            None => self.ask_all(record, &own).await,
        };
        // What the owner said last may be newer than what it was asked for.
        let quiet_ms = all.zip(quiet_ms).map(|(all, quiet)| all.min(quiet));
        idleness(policy, Usage { quiet_ms, asked_ms })
    }

    /// For how long all agents of the project say that it was not used; `None` where one
    /// of them does not say.
    async fn ask_all(&mut self, record: &Record, own: &[IpAddr]) -> Option<u64> {
        let said = self.said();
        let (_, owner) = self.agent.clone()?;
        let there: BTreeSet<&str> =
            said.iter().flat_map(|said| &said.containers).map(|container| container.name.as_str()).collect();
        let made = self.seen.made.iter().flat_map(|made| &made.containers);
        let beside: Vec<ContainerName> = made
            .filter(|container| container.kind == ContainerKind::Dev && !there.contains(container.name.as_str()))
            .map(|container| container.name.clone())
            .collect();
        let asking = beside.iter().map(|name| async {
            let agent = self.inner.beside(&self.entry, &owner, name).ok()?;
            status::ask(&agent).await
        });
        let (mut all, first) = tokio::join!(join_all(asking), status::ask(&owner));
        all.push(first);
        let last_ms = all.iter().flatten().map(|said| said.last_activity_ms).max().unwrap_or(0);
        let quiet = all.into_iter().map(|said| said.and_then(|said| status::quiet(&said, own)));
        let quiet = quiet.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().min());
        if quiet.is_none() {
            info!(project = %record.project.id, "an agent does not say whether the project is used, so it counts as used");
        }
        self.idling.last_ms = last_ms;
        self.idling.answers = Some((Instant::now(), quiet));
        quiet
    }

    /// What the condition Idle says; `None` where nothing is to be said.
    pub(super) fn idle_words(&self, serves: bool) -> Option<(bool, &'static str, String)> {
        let record = self.entry.record();
        let Some(Idle { after_seconds, .. }) = record.project.spec.idle else {
            let told = record.project.status.conditions.iter();
            let told = told.filter(|condition| condition.kind == remora_proto_model::project::ConditionType::Idle);
            return (told.count() > 0).then_some((false, super::report::FINE, String::new()));
        };
        let unused = format!("nobody used it for {after_seconds} s");
        let ending = match record.project.spec.desired {
            Desired::Hibernated => "it hibernates",
            _ => "it is stopped",
        };
        Some(match self.idling.verdict {
            _ if is_idled(&record) => (true, NOT_USED, format!("{unused}, so {ending}")),
            Idleness::Idle(IdleAction::None) => (true, NOT_USED, unused),
            Idleness::Idle(_) if serves => (true, NOT_USED, unused),
            Idleness::Unknown if serves => {
                (false, USE_UNKNOWN, "not all of it says whether it is used, so it counts as used".to_owned())
            }
            _ => (false, super::report::FINE, String::new()),
        })
    }
}

/// Whether the end that is wanted of the present generation is for idleness alone.
fn is_idled(record: &Record) -> bool {
    let project = &record.project;
    record.deletion.is_none()
        && project.spec.desired != Desired::Running
        && record.idled == Some(project.status.generation)
}
