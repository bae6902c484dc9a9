//! Request bodies of calls that are answered before their body has ended.
//!
//! HTTP/2 allows such an answer (RFC 9113, 8.1), but what the client had sent by
//! then still arrives. Where the body is simply dropped, its stream is reset at
//! once and forgotten soon, each late frame of it counts as an error of the
//! connection, and after a bounded number of them the whole connection is closed,
//! with every terminal on it. So what is left of a body is read and thrown away,
//! for a bounded time and size: a client that got its answer stops by itself.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use crate::limits::{LINGER_BYTES, LINGER_TIME};

/// A request body whose rest is read after its service has let go of it.
pub struct Lingering<B>(Option<B>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static;

impl<B> Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// `body`, to be read to its end.
    pub fn new(body: B) -> Self {
        Lingering(Some(body))
    }
}

impl<B> Body for Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Lingering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Outside a runtime the connection is gone, and the body with it.
        if let Ok(runtime) = Handle::try_current() {
            // Its time is bounded, and their number by the streams of the connections.
            runtime.spawn(async { timeout(LINGER_TIME, discard(body)).await });
        }
    }
}

async fn discard(mut body: impl Body<Data = Bytes> + Unpin) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}
