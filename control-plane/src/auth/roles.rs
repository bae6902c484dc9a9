//! What each role may do in a project: the one table, pure.

use remora_proto_model::{Verb, project::Role};

/// The least role that may use `verb`.
pub(crate) const fn role_of(verb: Verb) -> Role {
    match verb {
        Verb::StatusRead | Verb::TerminalRead | Verb::ExecRead | Verb::FileRead | Verb::SnapshotRead => Role::Viewer,
        Verb::TerminalWrite | Verb::ExecWrite | Verb::FileWrite | Verb::SnapshotCreate => Role::Editor,
        Verb::SnapshotAdmin | Verb::Lifecycle => Role::Owner,
    }
}

/// Whether `role` may use `verb`.
pub(crate) fn role_allows(role: Role, verb: Verb) -> bool {
    role >= role_of(verb)
}

/// Everything that `role` may.
pub(crate) fn verbs_of(role: Role) -> Vec<Verb> {
    Verb::ALL.iter().copied().filter(|verb| role_allows(role, *verb)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in words: who may what changes only on purpose.
    #[test]
    fn each_role_has_what_those_before_it_have() {
        let words = |role| verbs_of(role).iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(Role::Viewer), "status.read terminal.read exec.read file.read snapshot.read");
        assert_eq!(
            words(Role::Editor),
            "status.read terminal.read terminal.write exec.read exec.write file.read file.write snapshot.read snapshot.create"
        );
        assert_eq!(verbs_of(Role::Owner), Verb::ALL);
        assert_eq!(verbs_of(Role::Admin), Verb::ALL);
    }
}
