//! The body of an answer, and what its end says of the call.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use remora_proto::fault::from_status;
use remora_proto_model::Reason;
use tonic::{Code, Status, body::Body};

use super::{Entry, REQUEST_ID};

/// A body that tells the record of its call how it ended.
pub(crate) struct Observed {
    body: Body,
    entry: Entry,
}

impl Observed {
    /// `response`, with the id of its call. What a status or a [`Reason`] of it says goes into the record.
    pub(crate) fn of(mut response: Response<Body>, entry: Entry) -> Response<Body> {
        if let Some(reason) = response.extensions().get::<Reason>() {
            entry.ended(*reason);
        }
        told(response.headers(), &entry);
        if let Some(id) = entry.request_id() {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response.map(|body| {
            if body.is_end_stream_now() {
                entry.ok();
            }
            Body::new(Observed { body, entry })
        })
    }
}

trait EndsNow {
    fn is_end_stream_now(&self) -> bool;
}

impl EndsNow for Body {
    fn is_end_stream_now(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }
}

/// What headers or trailers of gRPC say of the end.
fn told(headers: &HeaderMap, entry: &Entry) {
    if let Some(status) = Status::from_header_map(headers)
        && status.code() != Code::Ok
    {
        entry.fault(&from_status(&status));
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    told(trailers, &self.entry);
                    self.entry.ok();
                } else if self.body.is_end_stream() {
                    self.entry.ok();
                }
            }
            Poll::Ready(Some(Err(status))) => self.entry.fault(&from_status(status)),
            Poll::Ready(None) => self.entry.ok(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
