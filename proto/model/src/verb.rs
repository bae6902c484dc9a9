//! The one verb table: which verb each method of `remora.agent.v1` needs. The
//! agent checks it against the capability, the server against the caller's role.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident = $wire:literal;)*) => {
        /// What a capability or a role allows. Frozen words, carried in tokens.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Verb { $($(#[$doc])* $variant,)* }

        impl Verb {
            /// Every verb, in table order.
            pub const ALL: &'static [Verb] = &[$(Verb::$variant,)*];

            /// The word in tokens and on the command line, for example `file.read`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Verb::$variant => $wire,)* }
            }
        }

        impl FromStr for Verb {
            type Err = UnknownVerb;
            fn from_str(text: &str) -> Result<Self, UnknownVerb> {
                match text {
                    $($wire => Ok(Verb::$variant),)*
                    _ => Err(UnknownVerb(text.chars().take(40).collect())),
                }
            }
        }
    };
}

verbs! {
    /// Look at the agent and its health.
    StatusRead = "status.read";
    /// Look at terminals and their output.
    TerminalRead = "terminal.read";
    /// Open, write to and end terminals.
    TerminalWrite = "terminal.write";
    /// Look at commands and their output.
    ExecRead = "exec.read";
    /// Run, feed and end commands.
    ExecWrite = "exec.write";
    /// Read, list and search files.
    FileRead = "file.read";
    /// Change files.
    FileWrite = "file.write";
    /// List, verify and compare snapshots.
    SnapshotRead = "snapshot.read";
    /// Make a snapshot.
    SnapshotCreate = "snapshot.create";
    /// Restore and prune: what can replace or end stored work.
    SnapshotAdmin = "snapshot.admin";
    /// Freeze, thaw and drain: the control plane's own.
    Lifecycle = "lifecycle";
}

impl Verb {
    /// Whether what it allows can be kept in one folder: files are resolved there, and what is
    /// run is kept there by the kernel. Snapshots and an agent's life are about the whole workspace.
    pub const fn can_be_limited_to_a_folder(self) -> bool {
        !matches!(self, Verb::SnapshotRead | Verb::SnapshotCreate | Verb::SnapshotAdmin | Verb::Lifecycle)
    }
}

/// The text names no verb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no verb; the verbs are status.read, terminal.read, terminal.write, exec.read, exec.write, file.read, file.write, snapshot.read, snapshot.create, snapshot.admin, lifecycle"
)]
pub struct UnknownVerb(String);

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Verb {
    type Error = UnknownVerb;
    fn try_from(text: String) -> Result<Self, UnknownVerb> {
        text.parse()
    }
}

impl From<Verb> for String {
    fn from(verb: Verb) -> String {
        verb.as_str().to_owned()
    }
}

/// Every method that a capability opens, with the verb it needs. A method that
/// is not here is refused, so a new RPC cannot be served unguarded; a test
/// compares this table with the compiled descriptors.
///
/// `TerminalService/Attach` is here with the verb of a viewer; its handler asks
/// for `terminal.write` when the client wants to write. `SnapshotService/Export` is
/// one of what is in files, too: its handler asks for `file.read` as well.
pub const METHODS: &[(&str, Verb)] = &[
    ("/remora.agent.v1.AgentService/GetInfo", Verb::StatusRead),
    ("/remora.agent.v1.AgentService/WatchStatus", Verb::StatusRead),
    ("/remora.agent.v1.AgentService/Freeze", Verb::Lifecycle),
    ("/remora.agent.v1.AgentService/Thaw", Verb::Lifecycle),
    ("/remora.agent.v1.AgentService/Drain", Verb::Lifecycle),
    ("/remora.agent.v1.TerminalService/Open", Verb::TerminalWrite),
    ("/remora.agent.v1.TerminalService/Attach", Verb::TerminalRead),
    ("/remora.agent.v1.TerminalService/Write", Verb::TerminalWrite),
    ("/remora.agent.v1.TerminalService/Resize", Verb::TerminalWrite),
    ("/remora.agent.v1.TerminalService/Signal", Verb::TerminalWrite),
    ("/remora.agent.v1.TerminalService/Close", Verb::TerminalWrite),
    ("/remora.agent.v1.TerminalService/Get", Verb::TerminalRead),
    ("/remora.agent.v1.TerminalService/List", Verb::TerminalRead),
    ("/remora.agent.v1.TerminalService/Screen", Verb::TerminalRead),
    ("/remora.agent.v1.ExecService/Run", Verb::ExecWrite),
    ("/remora.agent.v1.ExecService/Start", Verb::ExecWrite),
    ("/remora.agent.v1.ExecService/Attach", Verb::ExecRead),
    ("/remora.agent.v1.ExecService/WriteStdin", Verb::ExecWrite),
    ("/remora.agent.v1.ExecService/Signal", Verb::ExecWrite),
    ("/remora.agent.v1.ExecService/Wait", Verb::ExecRead),
    ("/remora.agent.v1.ExecService/List", Verb::ExecRead),
    ("/remora.agent.v1.ExecService/GetOutput", Verb::ExecRead),
    ("/remora.agent.v1.FileService/Stat", Verb::FileRead),
    ("/remora.agent.v1.FileService/Read", Verb::FileRead),
    ("/remora.agent.v1.FileService/Write", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Edit", Verb::FileWrite),
    ("/remora.agent.v1.FileService/List", Verb::FileRead),
    ("/remora.agent.v1.FileService/Glob", Verb::FileRead),
    ("/remora.agent.v1.FileService/Grep", Verb::FileRead),
    ("/remora.agent.v1.FileService/Mkdir", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Move", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Copy", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Remove", Verb::FileWrite),
    ("/remora.agent.v1.FileService/SetAttr", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Symlink", Verb::FileWrite),
    ("/remora.agent.v1.FileService/ReadLink", Verb::FileRead),
    ("/remora.agent.v1.FileService/ArchiveGet", Verb::FileRead),
    ("/remora.agent.v1.FileService/ArchivePut", Verb::FileWrite),
    ("/remora.agent.v1.FileService/Watch", Verb::FileRead),
    ("/remora.agent.v1.SnapshotService/Create", Verb::SnapshotCreate),
    ("/remora.agent.v1.SnapshotService/Restore", Verb::SnapshotAdmin),
    ("/remora.agent.v1.SnapshotService/List", Verb::SnapshotRead),
    ("/remora.agent.v1.SnapshotService/Get", Verb::SnapshotRead),
    ("/remora.agent.v1.SnapshotService/Diff", Verb::SnapshotRead),
    ("/remora.agent.v1.SnapshotService/Verify", Verb::SnapshotRead),
    ("/remora.agent.v1.SnapshotService/Export", Verb::SnapshotRead),
    ("/remora.agent.v1.SnapshotService/Prune", Verb::SnapshotAdmin),
    ("/remora.agent.v1.SnapshotService/Cancel", Verb::SnapshotCreate),
    ("/grpc.health.v1.Health/Check", Verb::StatusRead),
    ("/grpc.health.v1.Health/List", Verb::StatusRead),
    ("/grpc.health.v1.Health/Watch", Verb::StatusRead),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Verb::StatusRead),
];

/// The verb that the method at `path` needs, or `None` where there is no such method.
pub fn verb_of(path: &str) -> Option<Verb> {
    METHODS.iter().find(|(method, _)| *method == path).map(|(_, verb)| *verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_back_and_the_error_names_them_all() {
        let error = "x".parse::<Verb>().unwrap_err().to_string();
        for verb in Verb::ALL {
            assert_eq!(verb.as_str().parse(), Ok(*verb));
            assert!(error.contains(verb.as_str()), "{error}");
        }
    }

    #[test]
    fn no_method_is_listed_twice() {
        let mut paths: Vec<_> = METHODS.iter().map(|(path, _)| path).collect();
        paths.sort();
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }
}
