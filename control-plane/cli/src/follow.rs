//! Following a project to where it should be.

use std::{collections::BTreeSet, time::Duration};

use remora_proto::{
    control::v1::{Project as WireProject, WatchProjectsRequest, project_event::Kind},
    fault::from_status,
};
use remora_proto_model::{
    Fault, Reason,
    project::{Condition, ConditionType, Desired, Phase, Project},
};
use tokio::time::Instant;

use crate::{Context, Failure, clients, limits::MEND_PATIENCE, patience::Patience, progress::Progress};

/// Where a project should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It serves.
    Ready,
    /// It serves, and what runs is what its spec says.
    Current,
    /// Its processes have ended.
    Stopped,
    /// It is on the store alone.
    Hibernated,
    /// It is gone.
    Deleted,
}

/// What the state of a project means for a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there.
    Reached,
    /// It is on its way.
    Going,
    /// Something that it needs does not run, and may within a while.
    Mending(Fault),
    /// It will not come there by itself, or not soon.
    Blocked(Fault),
}

/// Judges one state.
pub(crate) fn verdict(goal: Goal, project: &Project) -> Verdict {
    let status = &project.status;
    let wanted = match goal {
        Goal::Ready | Goal::Current => Desired::Running,
        Goal::Stopped => Desired::Stopped,
        Goal::Hibernated => Desired::Hibernated,
        Goal::Deleted => project.spec.desired,
    };
    let there = match goal {
        Goal::Ready | Goal::Current => status.phase.serves(),
        Goal::Stopped => status.phase == Phase::Stopped,
        Goal::Hibernated => status.phase == Phase::Hibernated,
        Goal::Deleted => false,
    };
    if project.spec.desired != wanted || (status.phase == Phase::Deleting && goal != Goal::Deleted) {
        let now = if status.phase == Phase::Deleting {
            "it is being deleted".to_owned()
        } else {
            format!("{:?} is wanted", project.spec.desired)
        };
        return Verdict::Blocked(
            Fault::new(Reason::Conflict, format!("somebody else changed {} meanwhile: {now}", project.name))
                .hint(format!("`remora status {}` shows it", project.name)),
        );
    }
    let current = |condition: &&Condition| condition.kind == ConditionType::SpecCurrent && condition.status;
    if goal == Goal::Current && !status.conditions.iter().any(|condition| current(&condition)) {
        // What is there is what was there before.
        return Verdict::Going;
    }
    if there {
        return Verdict::Reached;
    }
    let blocking: &[ConditionType] = match goal {
        Goal::Ready | Goal::Current => &[ConditionType::Fenced, ConditionType::Degraded],
        Goal::Stopped | Goal::Hibernated | Goal::Deleted => &[ConditionType::Fenced, ConditionType::HibernateBlocked],
    };
    let blocked = status.conditions.iter().find(|condition| condition.status && blocking.contains(&condition.kind));
    match blocked {
        Some(condition) => {
            let fault = fault_of(project, condition);
            // A start that failed is tried again; a command that has ended stays so.
            let mends = condition.kind == ConditionType::Degraded && fault.retryable();
            if mends { Verdict::Mending(fault) } else { Verdict::Blocked(fault) }
        }
        None if matches!(goal, Goal::Ready | Goal::Current) && status.phase == Phase::Degraded => Verdict::Mending(
            Fault::new(Reason::ContainerUnavailable, format!("{} is degraded", project.name))
                .hint(format!("`remora status {}` says what does not run", project.name)),
        ),
        None => Verdict::Going,
    }
}

fn fault_of(project: &Project, condition: &Condition) -> Fault {
    let otherwise = match condition.kind {
        ConditionType::HibernateBlocked => Reason::HibernateBlocked,
        ConditionType::Fenced => Reason::LineageFenced,
        _ => Reason::FailedPrecondition,
    };
    let hint = match condition.kind {
        ConditionType::HibernateBlocked => {
            format!("nothing was deleted and it is tried again; `remora status {}` shows how it goes", project.name)
        }
        _ if condition.reason == Reason::CommandEnded.as_str() => {
            format!("`remora sh {0}` looks around in it, `remora up --name {0} --restart` runs it again", project.name)
        }
        _ => format!("`remora status {}` shows everything", project.name),
    };
    Fault::new(
        condition.reason.parse().unwrap_or(otherwise),
        format!("{} is {}: {}", project.name, status_words(project, condition), condition.message),
    )
    .hint(hint)
}

fn status_words(project: &Project, condition: &Condition) -> String {
    match condition.kind {
        ConditionType::HibernateBlocked => format!("{} and cannot go on", project.status.phase),
        kind => kind.to_string(),
    }
}

/// Follows `project` until `goal` is reached or cannot be, at most `limit`.
/// `project` is the answer of the call that set the goal: what is older than it does not count.
pub(crate) async fn follow(
    context: &Context,
    project: Project,
    goal: Goal,
    limit: Duration,
) -> Result<Project, Failure> {
    let progress = Progress::spinner(&words(&project, goal));
    let mut last = project;
    let waited = tokio::time::timeout_at(Instant::now() + limit, watch(context, &mut last, goal, &progress)).await;
    progress.clear();
    match waited {
        Ok(Ok(())) => Ok(last),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Fault(
            Fault::new(
                Reason::DeadlineExceeded,
                format!("{} is {} and not {goal:?} after {} s", last.name, last.status.phase, limit.as_secs()),
            )
            .hint(format!("it goes on; `remora status {}` shows how, --timeout waits longer", last.name)),
        )),
    }
}

async fn watch(context: &Context, last: &mut Project, goal: Goal, progress: &Progress) -> Result<(), Failure> {
    let oldest = last.resource_version;
    if goal != Goal::Deleted && verdict(goal, last) == Verdict::Reached {
        return Ok(());
    }
    let mut patience = Patience::default();
    // What does not run, and until when that may be.
    let mut mending: Option<(Fault, Instant)> = None;
    let mut client = clients::projects(context).await?;
    loop {
        let request = WatchProjectsRequest { name: last.id.to_string() };
        let cut = match client.watch(request).await {
            Err(status) => status,
            Ok(response) => {
                let mut events = response.into_inner();
                loop {
                    let message = match &mending {
                        None => events.message().await,
                        Some((fault, until)) => tokio::select! {
                            message = events.message() => message,
                            () = tokio::time::sleep_until(*until) => return Err(Failure::Fault(fault.clone())),
                        },
                    };
                    let event = match message {
                        Ok(Some(event)) => event,
                        Ok(None) => break tonic::Status::unavailable("the server ended the watch"),
                        Err(status) => break status,
                    };
                    patience.reset();
                    match (event.kind(), event.project) {
                        (Kind::Deleted, _) => return deleted(last, goal),
                        (Kind::Added | Kind::Modified, Some(project)) => {
                            let project = domain(project)?;
                            if project.resource_version < oldest {
                                continue;
                            }
                            *last = project;
                            progress.say(&words(last, goal));
                            match verdict(goal, last) {
                                Verdict::Reached => return Ok(()),
                                Verdict::Blocked(fault) => return Err(Failure::Fault(fault)),
                                Verdict::Going => mending = None,
                                Verdict::Mending(fault) => {
                                    let until =
                                        mending.map_or_else(|| Instant::now() + MEND_PATIENCE, |(_, until)| until);
                                    mending = Some((fault, until));
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
        };
        let fault = from_status(&cut);
        if fault.reason == Reason::NotFound {
            return deleted(last, goal);
        }
        patience.wait_or_give_up(fault).await?;
    }
}

fn deleted(project: &Project, goal: Goal) -> Result<(), Failure> {
    if goal == Goal::Deleted {
        return Ok(());
    }
    Err(Failure::Fault(Fault::new(Reason::NotFound, format!("somebody deleted {} meanwhile", project.name))))
}

fn words(project: &Project, goal: Goal) -> String {
    let starting: BTreeSet<_> =
        project.status.containers.iter().filter(|state| !state.running).map(|state| state.name.as_str()).collect();
    match (goal, project.status.phase) {
        (Goal::Ready, Phase::Starting) if !starting.is_empty() => {
            let names: Vec<_> = starting.into_iter().collect();
            format!("{}: Starting {}", project.name, names.join(", "))
        }
        (_, phase) => format!("{}: {phase}", project.name),
    }
}

/// A project of the wire as its validated value.
pub(crate) fn domain(project: WireProject) -> Result<Project, Failure> {
    Ok(Project::try_from(project).map_err(|fault| {
        Fault::new(Reason::Internal, format!("the server sent a project that makes no sense: {}", fault.message))
            .hint("`remora doctor` compares the versions of client and server")
    })?)
}

#[cfg(test)]
mod tests {
    use remora_proto_model::{
        ProjectId,
        project::{ProjectSpec, ProjectStatus},
    };

    use super::*;

    fn project(desired: Desired, phase: Phase, conditions: &[(ConditionType, &str)]) -> Project {
        let conditions = conditions
            .iter()
            .map(|(kind, reason)| Condition {
                kind: *kind,
                status: true,
                reason: (*reason).to_owned(),
                message: "the store does not answer".to_owned(),
                since_ms: 1,
            })
            .collect();
        Project {
            id: ProjectId::new(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec: ProjectSpec { desired, ..ProjectSpec::default() },
            status: ProjectStatus { phase, conditions, ..ProjectStatus::default() },
        }
    }

    fn reason(verdict: Verdict) -> Option<Reason> {
        match verdict {
            Verdict::Blocked(fault) => Some(fault.reason),
            _ => None,
        }
    }

    fn mends(verdict: Verdict) -> Option<Reason> {
        match verdict {
            Verdict::Mending(fault) => Some(fault.reason),
            _ => None,
        }
    }

    #[test]
    fn a_start_that_is_tried_again_is_waited_for_and_a_command_that_ended_is_not() {
        let degraded = |reason| project(Desired::Running, Phase::Degraded, &[(ConditionType::Degraded, reason)]);
        assert_eq!(mends(verdict(Goal::Ready, &degraded("CONTAINER_UNAVAILABLE"))), Some(Reason::ContainerUnavailable));
        assert_eq!(mends(verdict(Goal::Ready, &degraded("STORE_UNAVAILABLE"))), Some(Reason::StoreUnavailable));
        assert_eq!(reason(verdict(Goal::Ready, &degraded("COMMAND_ENDED"))), Some(Reason::CommandEnded));
        assert_eq!(reason(verdict(Goal::Ready, &degraded("KEY_WRONG"))), Some(Reason::KeyWrong));
        // Between two attempts it may be in any phase.
        let starting = project(Desired::Running, Phase::Starting, &[(ConditionType::Degraded, "NO_SPACE")]);
        assert_eq!(mends(verdict(Goal::Ready, &starting)), Some(Reason::NoSpace));
    }

    #[test]
    fn each_goal_has_its_phases() {
        let reached = |goal, desired| {
            let all =
                Phase::ALL.iter().filter(|phase| verdict(goal, &project(desired, **phase, &[])) == Verdict::Reached);
            all.copied().collect::<Vec<_>>()
        };
        assert_eq!(reached(Goal::Ready, Desired::Running), [Phase::Ready, Phase::Idle]);
        assert_eq!(reached(Goal::Stopped, Desired::Stopped), [Phase::Stopped]);
        assert_eq!(reached(Goal::Hibernated, Desired::Hibernated), [Phase::Hibernated]);
        assert_eq!(reached(Goal::Deleted, Desired::Running), []);
    }

    #[test]
    fn a_blocked_hibernation_says_why_with_its_own_code() {
        let blocked =
            |reason| project(Desired::Hibernated, Phase::Snapshotting, &[(ConditionType::HibernateBlocked, reason)]);
        assert_eq!(reason(verdict(Goal::Hibernated, &blocked("STORE_UNAVAILABLE"))), Some(Reason::StoreUnavailable));
        assert_eq!(
            reason(verdict(Goal::Hibernated, &blocked("WORD_OF_A_NEWER_SERVER"))),
            Some(Reason::HibernateBlocked)
        );
        let Verdict::Blocked(fault) = verdict(Goal::Hibernated, &blocked("NO_SPACE")) else { panic!("not blocked") };
        assert!(fault.message.contains("does not answer") && fault.hint.contains("nothing was deleted"), "{fault}");
        // It is nothing to somebody who wants the project to run.
        assert_eq!(
            reason(verdict(
                Goal::Ready,
                &project(Desired::Running, Phase::Hydrating, &[(ConditionType::HibernateBlocked, "X")])
            )),
            None
        );
    }

    #[test]
    fn somebody_elses_wish_ends_the_wait() {
        assert_eq!(reason(verdict(Goal::Ready, &project(Desired::Stopped, Phase::Ready, &[]))), Some(Reason::Conflict));
        assert_eq!(
            reason(verdict(Goal::Ready, &project(Desired::Running, Phase::Deleting, &[]))),
            Some(Reason::Conflict)
        );
        assert_eq!(verdict(Goal::Deleted, &project(Desired::Running, Phase::Deleting, &[])), Verdict::Going);
        assert_eq!(
            mends(verdict(Goal::Ready, &project(Desired::Running, Phase::Degraded, &[]))),
            Some(Reason::ContainerUnavailable)
        );
    }
}
