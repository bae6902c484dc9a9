//! The calls in flight: bounded, counted, and named when the agent stops.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use remora_proto::model::{Fault, Reason};
use tonic::{Status, body::Body};

use crate::limits::MAX_CALLS;

/// The calls in flight, by method.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    by_method: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Calls {
    /// Counts a call to `method` until the permit is dropped.
    pub(crate) fn enter(&self, method: &str) -> Result<Permit, Fault> {
        let mut methods = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        if methods.values().sum::<usize>() >= MAX_CALLS {
            return Err(Fault::new(Reason::LimitReached, format!("{MAX_CALLS} calls are in flight"))
                .hint("end streams that are no longer needed, or try again")
                .retry_after(Duration::from_secs(1)));
        }
        *methods.entry(method.to_owned()).or_default() += 1;
        Ok(Permit { calls: self.clone(), method: method.to_owned() })
    }

    /// How many are in flight.
    pub fn count(&self) -> usize {
        self.by_method.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// What is in flight, in words: `Method (n)`.
    pub fn names(&self) -> Vec<String> {
        let methods = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        methods.iter().map(|(method, count)| format!("{method} ({count})")).collect()
    }
}

/// One call in flight.
#[derive(Debug)]
pub(crate) struct Permit {
    calls: Calls,
    method: String,
}

impl Permit {
    /// A call ends with the last byte of its response, not with its headers.
    pub(crate) fn hold(self, body: Body) -> Body {
        Body::new(HeldBody { body, _permit: self })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut methods = self.calls.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = methods.get_mut(&self.method) {
            *count -= 1;
            if *count == 0 {
                methods.remove(&self.method);
            }
        }
    }
}

struct HeldBody {
    body: Body,
    _permit: Permit,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_named_and_forgotten() {
        let calls = Calls::default();
        let mut held: Vec<_> = (0..MAX_CALLS).map(|_| calls.enter("/s/M").unwrap()).collect();
        assert_eq!(calls.enter("/s/N").unwrap_err().reason, Reason::LimitReached);
        assert_eq!(calls.names(), [format!("/s/M ({MAX_CALLS})")]);
        held.pop();
        let other = calls.enter("/s/N").unwrap();
        assert_eq!(calls.names().len(), 2);
        drop((held, other));
        assert!(calls.names().is_empty());
    }
}
