//! What was made for projects that are not there.

use remora_proto_model::project::{Orphan, OrphanKind, Orphans};

use crate::control::v1 as wire;

impl From<OrphanKind> for wire::OrphanKind {
    fn from(kind: OrphanKind) -> Self {
        let at = OrphanKind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
        i32::try_from(at + 1).ok().and_then(|number| wire::OrphanKind::try_from(number).ok()).unwrap_or_default()
    }
}

/// The kind of a number; `None` is one that only a newer server knows.
fn kind(number: i32) -> Option<OrphanKind> {
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    at.and_then(|at| OrphanKind::ALL.get(at).copied())
}

impl From<Orphans> for wire::ListOrphansResponse {
    fn from(found: Orphans) -> Self {
        let orphan = |orphan: Orphan| wire::Orphan {
            kind: wire::OrphanKind::from(orphan.kind).into(),
            namespace: orphan.namespace,
            name: orphan.name,
            project_id: orphan.project_id,
            created_ms: orphan.created_ms,
            ending: orphan.ending,
        };
        wire::ListOrphansResponse { orphans: found.orphans.into_iter().map(orphan).collect(), unseen: found.unseen }
    }
}

impl From<wire::ListOrphansResponse> for Orphans {
    fn from(found: wire::ListOrphansResponse) -> Self {
        let mut orphans = Orphans { orphans: Vec::new(), unseen: found.unseen };
        for wire::Orphan { kind: number, namespace, name, project_id, created_ms, ending } in found.orphans {
            match kind(number) {
                Some(kind) => orphans.orphans.push(Orphan { kind, namespace, name, project_id, created_ms, ending }),
                // Not shown as what it is not, and not left out unseen.
                None => orphans.unseen.push(format!("{name}: of a kind that this version does not know")),
            }
        }
        orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_crosses_the_wire() {
        let orphan = |kind: &OrphanKind| Orphan {
            kind: *kind,
            namespace: "proj-x".to_owned(),
            name: format!("{kind}"),
            project_id: "x".to_owned(),
            created_ms: 7,
            ending: true,
        };
        let found = Orphans { orphans: OrphanKind::ALL.iter().map(orphan).collect(), unseen: vec!["y".to_owned()] };
        let wire = wire::ListOrphansResponse::from(found.clone());
        assert_eq!(Orphans::from(wire.clone()), found);
        let newer = wire::Orphan { kind: 99, name: "n".to_owned(), ..wire.orphans[0].clone() };
        let read = Orphans::from(wire::ListOrphansResponse { orphans: vec![newer], unseen: Vec::new() });
        assert_eq!((read.orphans.len(), read.unseen.len()), (0, 1));
    }
}
