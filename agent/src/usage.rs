//! When the project was used last, as far as the agent itself can tell: by the calls that
//! come to it, and by the connections to its containers' ports ([`visitors`]).

pub(crate) mod visitors;

use std::sync::{Arc, Mutex, PoisonError};

use remora_agent_term::Moment;
use remora_proto::model::{Verb, verb_of};

/// Who the control plane is in the tokens of its own calls.
const CONTROL_PLANE: &str = "control-plane";

/// The calls that are use of the project. Cloning shares it.
#[derive(Clone)]
pub struct Usage(Arc<Mutex<Calls>>);

struct Calls {
    running: usize,
    last: Moment,
}

impl Default for Usage {
    /// Of an agent that begins.
    fn default() -> Usage {
        Usage(Arc::new(Mutex::new(Calls { running: 0, last: Moment::now() })))
    }
}

impl Usage {
    /// Counts a call to `path` by `subject`, where it is use of the project, until what
    /// this returns is dropped.
    pub(crate) fn call(&self, path: &str, subject: &str) -> Option<InUse> {
        is_use(path, subject).then(|| {
            self.change(|calls| calls.running += 1);
            InUse(self.clone())
        })
    }

    /// When a call was there last.
    pub(crate) fn last(&self) -> Moment {
        self.change(|_| {})
    }

    fn change(&self, change: impl FnOnce(&mut Calls)) -> Moment {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = calls.running;
        change(&mut calls);
        if calls.running.max(before) > 0 {
            calls.last = Moment::now();
        }
        calls.last
    }
}

/// A call that is use of the project.
pub(crate) struct InUse(Usage);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.change(|calls| calls.running -= 1);
    }
}

/// Whether a call is use of the project. Who only looks on uses nothing: a terminal or a
/// watch that somebody left open keeps no project awake. What is typed and what runs
/// shows in the containers.
fn is_use(path: &str, subject: &str) -> bool {
    // A restore is somebody's wish, whoever passes it on.
    if path.ends_with("SnapshotService/Restore") {
        return true;
    }
    if subject == CONTROL_PLANE || path.ends_with("FileService/Watch") {
        return false;
    }
    match verb_of(path) {
        Some(Verb::TerminalWrite | Verb::ExecWrite | Verb::FileRead | Verb::FileWrite) => true,
        Some(Verb::SnapshotCreate | Verb::SnapshotAdmin) => true,
        Some(Verb::StatusRead | Verb::TerminalRead | Verb::ExecRead | Verb::SnapshotRead | Verb::Lifecycle) | None => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_client(call: &str) -> bool {
        is_use(&format!("/remora.agent.v1.{call}"), "alice")
    }

    #[test]
    fn who_works_uses_it_and_who_looks_on_does_not() {
        for call in ["TerminalService/Open", "ExecService/Run", "FileService/Read", "FileService/ArchivePut"] {
            assert!(by_client(call), "{call}");
        }
        for call in [
            "AgentService/WatchStatus",
            "TerminalService/Attach",
            "TerminalService/Screen",
            "ExecService/Attach",
            "FileService/Watch",
            "SnapshotService/List",
            "No/Such",
        ] {
            assert!(!by_client(call), "{call}");
        }
    }

    #[test]
    fn what_the_control_plane_does_by_itself_is_no_use() {
        let own = |call: &str| is_use(&format!("/remora.agent.v1.{call}"), CONTROL_PLANE);
        assert!(!own("SnapshotService/Create") && !own("SnapshotService/Prune") && !own("AgentService/GetInfo"));
        assert!(own("SnapshotService/Restore") && by_client("SnapshotService/Create"));
    }

    #[test]
    fn a_call_that_goes_on_is_use_until_it_ends() {
        let usage = Usage::default();
        let began = usage.last();
        assert_eq!(usage.last(), began);
        let call = usage.call("/remora.agent.v1.FileService/ArchiveGet", "alice").unwrap();
        let first = usage.last();
        assert!(first > began && usage.last() > first, "it goes on");
        drop(call);
        let ended = usage.last();
        assert!(ended > first && usage.last() == ended);
        assert!(usage.call("/remora.agent.v1.FileService/Watch", "alice").is_none());
    }
}
