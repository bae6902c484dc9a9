//! The calls in flight: bounded in all and for each name, counted, and named when
//! the process stops.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use remora_proto_model::{Fault, Reason};
use tonic::{Status, body::Body};

/// The calls in flight, by what they are counted under.
#[derive(Clone, Debug)]
pub struct Calls {
    what: &'static str,
    limit: usize,
    by_name: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Calls {
    /// At most `limit` of `what`.
    pub fn new(what: &'static str, limit: usize) -> Self {
        Calls { what, limit, by_name: Arc::default() }
    }

    /// Counts one under `name`, until the permit is dropped; refused where all names together have enough.
    pub fn enter(&self, name: &str) -> Result<Permit, Fault> {
        self.admit(name, |names| names.values().sum())
    }

    /// As [`Calls::enter`], where each name has the bound for itself.
    pub fn enter_each(&self, name: &str) -> Result<Permit, Fault> {
        self.admit(name, |names| names.get(name).copied().unwrap_or_default())
    }

    fn admit(&self, name: &str, count: impl Fn(&BTreeMap<String, usize>) -> usize) -> Result<Permit, Fault> {
        let mut names = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if count(&names) >= self.limit {
            return Err(Fault::new(Reason::LimitReached, format!("{} {} are in flight", self.limit, self.what))
                .hint("end streams that are no longer needed, or try again")
                .retry_after(Duration::from_secs(1)));
        }
        *names.entry(name.to_owned()).or_default() += 1;
        Ok(Permit { calls: self.clone(), name: name.to_owned() })
    }

    /// How many are in flight.
    pub fn count(&self) -> usize {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// What is in flight, in words: `name (n)`.
    pub fn names(&self) -> Vec<String> {
        let names = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|(name, count)| format!("{name} ({count})")).collect()
    }
}

/// One call in flight.
#[derive(Debug)]
pub struct Permit {
    calls: Calls,
    name: String,
}

impl Permit {
    /// A call ends with the last byte of its response, not with its headers; `beside` is
    /// kept until then too.
    pub fn hold(self, body: Body, beside: impl Send + Unpin + 'static) -> Body {
        Body::new(HeldBody { body, _held: (self, beside) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut names = self.calls.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

struct HeldBody<T> {
    body: Body,
    _held: (Permit, T),
}

impl<T: Unpin> http_body::Body for HeldBody<T> {
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
        let calls = Calls::new("calls", 3);
        let mut held: Vec<_> = (0..3).map(|_| calls.enter("/s/M").unwrap()).collect();
        assert_eq!(calls.enter("/s/N").unwrap_err().reason, Reason::LimitReached);
        assert_eq!(calls.names(), ["/s/M (3)"]);
        held.pop();
        let other = calls.enter("/s/N").unwrap();
        assert_eq!(calls.names().len(), 2);
        drop((held, other));
        assert!(calls.names().is_empty());
    }

    #[test]
    fn each_project_has_its_own_bound() {
        let calls = Calls::new("calls", 1);
        let first = calls.enter_each("a").unwrap();
        assert_eq!(calls.enter_each("a").unwrap_err().reason, Reason::LimitReached);
        let _second = calls.enter_each("b").unwrap();
        drop(first);
        calls.enter_each("a").unwrap();
    }
}
