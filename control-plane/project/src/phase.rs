//! [`phase`]: the one word for where a project is.

use remora_proto_model::project::Phase;

use crate::{Observed, Pod, Step, Tree, Wish};

/// The phase of a project that is wanted to be `wish`, is `observed`, and whose
/// next step is `next`.
pub fn phase(wish: Wish, observed: &Observed, next: Option<Step>) -> Phase {
    if matches!(wish, Wish::Delete { .. }) {
        return Phase::Deleting;
    }
    match observed.pod {
        Pod::Stray | Pod::Condemned => Phase::Terminating,
        Pod::SavedForSure => Phase::Committed,
        Pod::Saved => Phase::Snapshotting,
        // It serves while it waits for another attempt.
        Pod::Ready if next == Some(Step::Save) => Phase::Quiescing,
        Pod::Ready => Phase::Ready,
        Pod::Starting => Phase::Starting,
        Pod::Broken => Phase::Degraded,
        Pod::Absent | Pod::Raised => at_rest(wish, observed),
    }
}

fn at_rest(wish: Wish, observed: &Observed) -> Phase {
    match (wish, observed.tree) {
        (Wish::Run, _) if !observed.source => Phase::Pending,
        (Wish::Run, _) if observed.pod == Pod::Absent => Phase::Scheduling,
        (Wish::Run, Tree::Stored) => Phase::Starting,
        (Wish::Run, _) => Phase::Hydrating,
        (_, Tree::Kept | Tree::Committed) => Phase::Snapshotting,
        (Wish::Hibernate, Tree::Absent) => Phase::Hibernated,
        (Wish::Hibernate, _) => Phase::Terminating,
        _ => Phase::Stopped,
    }
}
