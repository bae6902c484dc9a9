//! A response on its way from an agent to a client. Its end is always said: the
//! agent's own status, or one of ours where the agent was lost or the time is over.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use remora_proto::{
    fault::to_status,
    model::{Effect, Fault, Reason},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep_until};
use tonic::{Status, body::Body};

use super::ended_credentials;
use crate::limits::CREDENTIALS_LOOK;

/// Looks now and then whether the credentials of a call still stand, which may outlive the check at its beginning.
pub(super) struct Standing {
    looks: Interval,
    holds: Box<dyn Fn() -> bool + Send>,
}

impl Standing {
    pub(super) fn new(holds: impl Fn() -> bool + Send + 'static) -> Self {
        let mut looks = interval_at(Instant::now() + CREDENTIALS_LOOK, CREDENTIALS_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Standing { looks, holds: Box::new(holds) }
    }

    /// Whether they have ended.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        while self.looks.poll_tick(context).is_ready() {
            if !(self.holds)() {
                return true;
            }
        }
        false
    }
}

pub(super) struct Relayed {
    /// Dropped at the end, which resets the agent's stream where it still stands.
    body: Option<Body>,
    /// Whether the headers carried the status already, so that no trailers are due.
    has_status: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    standing: Option<Standing>,
}

impl Relayed {
    pub(super) fn new(body: Body, has_status: bool, deadline: Option<Instant>, standing: Option<Standing>) -> Self {
        let deadline = deadline.map(|at| Box::pin(sleep_until(at)));
        Relayed { body: Some(body), has_status, deadline, standing }
    }

    /// The end, with the status of `fault`.
    fn end(&mut self, fault: &Fault) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.body = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(to_status(fault).add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl http_body::Body for Relayed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.body.is_none() {
            return Poll::Ready(None);
        }
        // Before the body: one that always has something would never be cut.
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return self.end(&too_late());
        }
        if self.standing.as_mut().is_some_and(|standing| standing.is_over(context)) {
            return self.end(&ended_credentials());
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() {
                    self.body = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.end(&lost(&error)),
            Poll::Ready(None) if self.has_status => {
                self.body = None;
                Poll::Ready(None)
            }
            // A stream that ends without a status was cut.
            Poll::Ready(None) => self.end(&lost(&"the response ended without a status")),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => self.has_status && body.is_end_stream(),
            None => true,
        }
    }
}

/// The connection to the agent broke: what the call did by then is unknown.
pub(super) fn lost(error: &dyn std::fmt::Display) -> Fault {
    tracing::info!(%error, "the connection to an agent was lost in a call");
    Fault::new(Reason::Unavailable, "the connection to the project's agent was lost")
        .hint("come back with the offset or the idempotency key of this call; sessions outlive their agent")
        .effect(Effect::MayHaveApplied)
        .retry_after(Duration::from_secs(1))
}

pub(super) fn too_late() -> Fault {
    Fault::new(Reason::DeadlineExceeded, "the caller's deadline passed before the agent had answered")
        .hint("send a longer deadline; streams need none")
        .effect(Effect::MayHaveApplied)
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use remora_proto::fault::from_status;

    use super::*;

    async fn end_of(mut relayed: Relayed) -> (Vec<u8>, Option<Fault>) {
        let (mut data, mut fault) = (Vec::new(), None);
        while let Some(frame) = relayed.frame().await {
            match frame.unwrap().into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    fault = Some(from_status(&Status::from_header_map(&trailers).unwrap()));
                }
            }
        }
        assert!(relayed.is_end_stream());
        (data, fault)
    }

    #[tokio::test]
    async fn an_end_without_a_status_is_no_clean_end() {
        let cut = Body::new(Full::from(&b"abc"[..]));
        let (data, fault) = end_of(Relayed::new(cut, false, None, None)).await;
        assert_eq!(data, b"abc");
        let fault = fault.unwrap();
        assert_eq!(
            (fault.reason, fault.effect, fault.retryable()),
            (Reason::Unavailable, Effect::MayHaveApplied, true)
        );

        let broken = tokio_stream::iter([Ok(Frame::data(Bytes::from_static(b"a"))), Err(Status::internal("reset"))]);
        let (data, fault) = end_of(Relayed::new(Body::new(StreamBody::new(broken)), false, None, None)).await;
        assert_eq!((&data[..], fault.unwrap().reason), (&b"a"[..], Reason::Unavailable));
    }

    #[tokio::test]
    async fn a_status_of_the_agents_own_passes_as_it_is() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = tokio_stream::iter([Ok::<_, Status>(Frame::trailers(trailers.clone()))]);
        let mut relayed = Relayed::new(Body::new(StreamBody::new(frames)), false, None, None);
        assert_eq!(relayed.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
        assert!(relayed.frame().await.is_none());

        let (data, fault) = end_of(Relayed::new(Body::empty(), true, None, None)).await;
        assert_eq!((data.len(), fault), (0, None), "the status was in the headers");
    }

    #[tokio::test]
    async fn a_deadline_ends_a_stream_that_goes_on() {
        let frame = || Ok::<_, Status>(Frame::data(Bytes::from_static(b"a")));
        let busy = tokio_stream::iter(std::iter::repeat_with(frame));
        let silent = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        for body in [Body::new(StreamBody::new(busy)), Body::new(StreamBody::new(silent))] {
            let soon = Instant::now() + Duration::from_millis(20);
            let (_, fault) = end_of(Relayed::new(body, false, Some(soon), None)).await;
            assert_eq!(fault.unwrap().reason, Reason::DeadlineExceeded);
        }
    }
    #[tokio::test]
    async fn credentials_that_end_end_what_they_began() {
        let silent = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        let (sender, receiver) = tokio::sync::watch::channel(true);
        let standing = Standing::new(move || *receiver.borrow());
        let ended = tokio::spawn(end_of(Relayed::new(Body::new(StreamBody::new(silent)), false, None, Some(standing))));
        sender.send(false).unwrap();
        let (_, fault) = ended.await.unwrap();
        assert_eq!(fault.unwrap().reason, Reason::CredentialsInvalid);
    }
}
