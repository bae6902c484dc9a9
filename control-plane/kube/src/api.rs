//! What every call to the API server has in common: who is asking, and what a refusal means.

use futures_util::{Stream, stream};
use kube::{
    api::{ListParams, ObjectList},
    runtime::watcher,
};
use remora_proto_model::{Effect, Fault, Reason};

use crate::limits::WATCH_SECONDS;

/// The field manager of all that is applied here, and who makes what.
pub(crate) const MANAGER: &str = "remora";

/// What the API server says of a field that is applied and that its definition does not have.
const UNDECLARED: &str = "field not declared in schema";

/// Whether the API server answered with this HTTP status.
pub(crate) fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Whether the API server says that there is an object of this name. Its other conflicts, as
/// that of two who use up one quota, have made nothing.
pub(crate) fn is_there_already(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// How everything is watched.
pub(crate) fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The objects of a list, a page after the other; `list` asks for one. Ends with the first
/// that cannot be had.
pub(crate) fn pages<T: Clone, F: Future<Output = kube::Result<ObjectList<T>>>>(
    first: ListParams,
    list: impl FnMut(ListParams) -> F,
) -> impl Stream<Item = kube::Result<Vec<T>>> {
    stream::try_unfold((Some(first), list), |(next, mut list)| async move {
        let Some(params) = next else { return Ok(None) };
        let page = list(params.clone()).await?;
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        Ok(Some((page.items, (token.map(|token| params.continue_token(&token)), list))))
    })
}

/// The fault that a failed call is.
pub(crate) fn failed(what: &str, error: kube::Error) -> Fault {
    let fault = match &error {
        kube::Error::Api(status) => {
            let said = &status.message;
            let reason = match status.code {
                404 => Reason::NotFound,
                409 if status.reason == "AlreadyExists" => Reason::AlreadyExists,
                409 => Reason::Conflict,
                400 | 422 => Reason::InvalidArgument,
                _ if said.contains(UNDECLARED) => Reason::FailedPrecondition,
                // A quota answers with the same status as a missing right; its text tells them apart.
                403 if said.contains("exceeded quota") => Reason::LimitReached,
                403 => Reason::FailedPrecondition,
                _ => Reason::Unavailable,
            };
            let fault = Fault::new(reason, format!("the cluster does not {what}: {said}"));
            match reason {
                Reason::LimitReached => fault.hint("raise the project's quota, or ask for less"),
                _ if said.contains(UNDECLARED) => fault.hint(
                    "the definition of projects in the cluster is older than this server: apply the chart's crds folder \
                     (kubectl apply --server-side --force-conflicts -f charts/remora/crds)",
                ),
                Reason::FailedPrecondition => fault.hint(
                    "the control plane's ServiceAccount lacks a right, or an admission rule refuses; see the chart's RBAC",
                ),
                _ => fault,
            }
        }
        _ => Fault::new(Reason::Unavailable, format!("the cluster cannot be asked to {what}: {error}"))
            .effect(Effect::MayHaveApplied),
    };
    fault.stage("kubernetes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_that_is_older_says_what_to_apply() {
        let said = "failed to create typed patch object (/shop): .status.saga.asked: field not declared in schema";
        let status = kube::core::Status::failure(said, "InternalError").with_code(500);
        let fault = failed("note the status of project shop", kube::Error::Api(Box::new(status)));
        assert_eq!(fault.reason, Reason::FailedPrecondition);
        assert!(
            fault.to_string().contains(".status.saga.asked") && fault.hint.contains("charts/remora/crds"),
            "{fault:?}"
        );
    }
}
