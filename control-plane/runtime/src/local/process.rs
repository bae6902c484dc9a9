//! Processes of a project, found by the mark that each carries in its environment.

use std::{path::Path, time::Duration};

use remora_proto_model::{Fault, Generation, Reason};
pub(crate) use remora_proto_process::Identity;
use remora_proto_process::{all, descendants, environments, variables};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

/// Carried by everything of a pod, user's processes too: `<project folder>:<generation>:<part>`.
pub(crate) const POD_MARK: &str = "REMORA_POD";
/// Carried by the agent's processes alone: which one of the part it is.
pub(crate) const ROLE_MARK: &str = "REMORA_POD_ROLE";

/// Time between two looks at processes that were told to end.
const LOOK: Duration = Duration::from_millis(20);
/// Processes that an error names.
const NAMED: usize = 5;

/// A living process of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) identity: Identity,
    pub(crate) generation: Generation,
    /// The container, or `agent`, `hydrate`, `dehydrate`.
    pub(crate) part: String,
    /// Whether it is ours, and no process of the user.
    pub(crate) ours: bool,
}

/// The value of [`POD_MARK`] for a part of a pod.
pub(crate) fn mark(project: &Path, generation: Generation, part: &str) -> String {
    format!("{}:{generation}:{part}", project.display())
}

/// Every living process that carries the mark of the project in `folder`.
pub(crate) fn of_project(folder: &Path) -> Vec<Found> {
    let mark = format!("{POD_MARK}={}:", folder.display());
    let role = format!("{ROLE_MARK}=");
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut living = all();
    living.retain(|stat| stat.lives() && stat.identity.pid != own);
    let mut found = Vec::new();
    environments(&living, |stat, environment| {
        let value = variables(environment).find_map(|variable| variable.strip_prefix(mark.as_bytes()));
        let value = value.and_then(|value| std::str::from_utf8(value).ok()?.split_once(':'));
        let Some((generation, part)) = value else { return };
        let Ok(generation) = generation.parse() else { return };
        found.push(Found {
            identity: stat.identity,
            generation: Generation(generation),
            part: part.to_owned(),
            ours: variables(environment).any(|variable| variable.starts_with(role.as_bytes())),
        });
    });
    found
}

/// Sends SIGKILL to what `find` finds and to its descendants, until nothing is left.
pub(crate) async fn kill_all(find: impl Fn() -> Vec<Found>, within: Duration) -> Result<(), Fault> {
    let deadline = Instant::now() + within;
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids: Vec<String> = found.iter().take(NAMED).map(|found| found.identity.pid.to_string()).collect();
            return Err(Fault::new(
                Reason::FailedPrecondition,
                format!("{} processes do not end, although they were killed: {}", found.len(), pids.join(", ")),
            )
            .hint("a process in an uninterruptible wait ends when its disk or network answers"));
        }
        // Each round again: what forks while it dies is caught by the next one.
        let all = all();
        // A number that means another process by now is no root.
        let still = all.iter().filter(|stat| found.iter().any(|found| found.identity == stat.identity));
        for stat in descendants(&all, still.map(|stat| stat.identity.pid)) {
            stat.identity.signal(Signal::KILL);
        }
        sleep(LOOK).await;
    }
}

/// Waits until none of `identities` lives; false where some outlive the time.
pub(crate) async fn gone(identities: &[Identity], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while identities.iter().any(|identity| identity.lives()) {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_is_found_by_its_mark_and_ended() {
        let folder = Path::new("/nowhere/remora-test-of-marks");
        let mut child = Command::new("sleep")
            .arg("600")
            .env(POD_MARK, mark(folder, Generation(7), "web"))
            .env(ROLE_MARK, "shim")
            .spawn()
            .unwrap();
        let found = of_project(folder);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].generation, found[0].part.as_str(), found[0].ours), (Generation(7), "web", true));
        assert!(of_project(Path::new("/nowhere/remora-test")).is_empty());
        assert!(found[0].identity.lives());
        kill_all(|| of_project(folder), Duration::from_secs(10)).await.unwrap();
        assert!(gone(&[found[0].identity], Duration::from_secs(10)).await);
        child.wait().unwrap();
    }
}
