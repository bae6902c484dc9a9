//! What the relayed services share: who calls, and frames on their way from a
//! shim to a caller. A frame is asked for when the caller has room for it, so a
//! slow caller fills the windows and then the shim's ring, and nothing else.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use remora_proto::{
    fault::to_status,
    model::{Capability, Fault, PathPrefix, Reason},
};
use tokio::{sync::oneshot, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Extensions, Response, Status, Streaming};

use crate::{
    answers::Violation,
    limits::{SHIM_RETRY_AFTER, SHIM_SILENCE},
    shims::{Call, Route, Shim, Shims},
};

/// Time for a shim to answer a call that waits while a program does not read its
/// input: that may be for ever, so the caller's own deadline is the bound.
pub(crate) const UNTIL_READ: Duration = Duration::MAX;

/// A shim's answer, as it is passed on: looked at, and refused where it cannot be.
pub(crate) fn checked<T>(route: &Route, answer: Result<T, Violation>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|violation| to_status(&violation.fault(route.container())))
}

/// The container that a request names, where its bearer may reach it.
pub(crate) fn container<'a>(shims: &'a Shims, extensions: &Extensions, name: &str) -> Result<&'a Shim, Status> {
    shims.find(capability(extensions)?, name).map_err(|fault| to_status(&fault))
}

/// The folder that is the whole world of the caller; `None` is the workspace.
pub(crate) fn world(extensions: &Extensions) -> Result<Option<PathPrefix>, Status> {
    Ok(capability(extensions)?.path_prefix.clone())
}

/// Where what a caller of `world` starts is kept, who asks for `asked` of it.
pub(crate) fn kept(world: Option<&PathPrefix>, asked: String) -> String {
    match world {
        None => asked,
        Some(world) if asked.is_empty() => world.as_str().to_owned(),
        Some(world) => format!("{}/{asked}", world.as_str()),
    }
}

/// Whether what is kept in `folder` belongs to the caller's world. What nothing keeps in does not: whoever
/// types into it is out.
pub(crate) fn belongs(world: Option<&PathPrefix>, folder: &str) -> bool {
    let Some(world) = world.map(PathPrefix::as_str) else { return true };
    folder.strip_prefix(world).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// As of a session that does not exist: a caller whose world it is not in learns nothing of it.
pub(crate) fn not_there(what: &str, id: &str) -> Status {
    to_status(&Fault::new(Reason::NotFound, format!("there is no {what} {id}")).hint("List shows what there is"))
}

/// What the bearer of the call's token may do.
pub(crate) fn capability(extensions: &Extensions) -> Result<&Capability, Status> {
    let missing = || to_status(&Fault::new(Reason::CredentialsMissing, "the call carries no token"));
    extensions.get::<Capability>().ok_or_else(missing)
}

/// The frames of one attachment as a caller may see them.
pub(crate) trait Checked: Send + 'static {
    type Frame: Send + 'static;
    fn take(&mut self, frame: Self::Frame) -> Result<Self::Frame, Violation>;
    fn is_over(&self) -> bool;
}

/// A stream from a shim until its last frame, a refusal of the `caller`'s own frames or the drain.
pub(crate) fn frames<C: Checked>(
    route: Route,
    inner: Streaming<C::Frame>,
    checked: C,
    stop: CancellationToken,
    caller: Option<Caller>,
) -> BoxStream<'static, Result<C::Frame, Status>> {
    let passing = Passing { route, inner, checked, stop, caller, over: false };
    let next = |mut passing: Passing<C>| async { passing.next().await.map(|frame| (frame, passing)) };
    futures_util::stream::unfold(passing, next).boxed()
}

struct Passing<C: Checked> {
    route: Route,
    inner: Streaming<C::Frame>,
    checked: C,
    stop: CancellationToken,
    caller: Option<Caller>,
    over: bool,
}

/// What a caller that sends frames of its own has to do with the frames it gets.
pub(crate) struct Caller {
    /// Why its input ended the call.
    pub(crate) refusal: Option<oneshot::Receiver<Fault>>,
    /// Ends its way to the shim with the answer.
    pub(crate) _ended: DropGuard,
}

impl<C: Checked> Passing<C> {
    async fn next(&mut self) -> Option<Result<C::Frame, Status>> {
        if self.over || self.checked.is_over() {
            return None;
        }
        let passed = self.pass().await;
        self.over = passed.is_err();
        Some(passed.map_err(|fault| to_status(&fault)))
    }

    async fn pass(&mut self) -> Result<C::Frame, Fault> {
        let refused = async {
            if let Some(caller) = self.caller.as_mut()
                && let Some(refusal) = caller.refusal.as_mut()
            {
                match refusal.await {
                    Ok(fault) => return fault,
                    // The input has ended well: nothing will be refused.
                    Err(_) => caller.refusal = None,
                }
            }
            std::future::pending().await
        };
        let message = tokio::select! {
            biased;
            fault = refused => return Err(fault),
            () = self.stop.cancelled() => {
                let fault = Fault::new(Reason::Unavailable, "the agent is stopping");
                return Err(fault.hint("attach again at the offset that was reached").retry_after(SHIM_RETRY_AFTER));
            }
            message = self.inner.message() => message,
            // Last: what waits here already was said in time, however late the caller reads it.
            () = sleep(SHIM_SILENCE) => return Err(self.route.silent(Call::Reads)),
        };
        let lost = || Status::unavailable("the shim ended the stream");
        let frame = message.and_then(|frame| frame.ok_or_else(lost));
        let frame = frame.map_err(|status| self.route.refusal(&status, Call::Reads))?;
        self.checked.take(frame).map_err(|violation| violation.fault(self.route.container()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_what_is_kept_in_it_and_nothing_else() {
        let world = PathPrefix::try_from("a/b".to_owned()).unwrap();
        for (folder, own) in
            [("a/b", true), ("a/b/c", true), ("a/bc", false), ("a", false), ("", false), ("b", false), ("x/a/b", false)]
        {
            assert_eq!(belongs(Some(&world), folder), own, "{folder:?}");
            assert!(belongs(None, folder));
        }
        assert_eq!(kept(Some(&world), String::new()), "a/b");
        assert_eq!(kept(Some(&world), "c".to_owned()), "a/b/c");
        assert_eq!(kept(None, "c".to_owned()), "c");
    }
}
