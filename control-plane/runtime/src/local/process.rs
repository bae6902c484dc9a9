//! Processes of a project, found by the mark that each carries in its environment.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    time::Duration,
};

use remora_proto_model::{Fault, Generation, Reason};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

/// Carried by everything of a pod, user's processes too: `<project folder>:<generation>:<part>`.
pub(crate) const POD_MARK: &str = "REMORA_POD";
/// Carried by the agent's processes alone: which one of the part it is.
pub(crate) const ROLE_MARK: &str = "REMORA_POD_ROLE";

/// Time between two looks at processes that were told to end.
const LOOK: Duration = Duration::from_millis(20);
/// Processes that an error names.
const NAMED: usize = 5;

/// A process that cannot be taken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    start: u64,
}

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

impl Identity {
    /// The process of this number as it is now.
    pub(crate) fn of(pid: u32) -> Option<Identity> {
        look(i32::try_from(pid).ok()?).map(|entry| entry.identity)
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn lives(self) -> bool {
        look(self.pid).is_some_and(|entry| entry.identity == self)
    }

    /// Sends a signal to it and to no later process of its number.
    pub(crate) fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // The descriptor first, then the look: what it names can no longer change.
        let descriptor = pidfd_open(pid, PidfdFlags::empty());
        if !self.lives() {
            return;
        }
        // An error says that it has ended meanwhile.
        let _ = match descriptor {
            Ok(descriptor) => pidfd_send_signal(descriptor, signal),
            Err(_) => kill_process(pid, signal),
        };
    }
}

/// Every living process that carries the mark of the project in `folder`.
pub(crate) fn of_project(folder: &Path) -> Vec<Found> {
    let prefix = format!("{POD_MARK}={}:", folder.display());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let variables = || environ.split(|byte| *byte == 0);
            let value = variables().find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
            let (generation, part) = std::str::from_utf8(value).ok()?.split_once(':')?;
            let role = format!("{ROLE_MARK}=");
            Some(Found {
                identity: look(pid)?.identity,
                generation: Generation(generation.parse().ok()?),
                part: part.to_owned(),
                ours: variables().any(|variable| variable.starts_with(role.as_bytes())),
            })
        })
        .collect()
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
        for identity in descend(found.iter().map(|found| found.identity).collect()) {
            identity.signal(Signal::KILL);
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

/// These and what they started, as far as parentage tells.
fn descend(mut found: Vec<Identity>) -> Vec<Identity> {
    let mut children: HashMap<i32, Vec<Identity>> = HashMap::new();
    for entry in pids().filter_map(look) {
        children.entry(entry.parent).or_default().push(entry.identity);
    }
    let mut known: HashSet<i32> = found.iter().map(|identity| identity.pid).collect();
    let mut at = 0;
    while at < found.len() {
        for child in children.get(&found[at].pid).into_iter().flatten() {
            if known.insert(child.pid) {
                found.push(*child);
            }
        }
        at += 1;
    }
    found
}

struct Entry {
    identity: Identity,
    parent: i32,
}

fn pids() -> impl Iterator<Item = i32> {
    let folder = fs::read_dir("/proc").into_iter().flatten().flatten();
    folder.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Reads `/proc/PID/stat`, see proc(5). The name may hold any byte, so fields count from its last bracket.
fn look(pid: i32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = std::str::from_utf8(stat.get(after..)?).ok()?.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Entry { identity: Identity { pid, start }, parent })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_is_found_by_its_mark_and_told_from_its_successor() {
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
        let other = Identity { start: found[0].identity.start + 1, ..found[0].identity };
        assert!(!other.lives());
        other.signal(Signal::KILL);
        assert!(found[0].identity.lives());
        kill_all(|| of_project(folder), Duration::from_secs(10)).await.unwrap();
        assert!(gone(&[found[0].identity], Duration::from_secs(10)).await);
        child.wait().unwrap();
    }
}
