//! What an API server does instead of what it should: wrapped around the real answer.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{place::Asked, server::Call};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with this status, and not done.
    Status(u16),
    /// As that, with the seconds after which it may be made again.
    Later(u16, u64),
    /// It is neither done nor answered, and its connection stays.
    Silence,
    /// It is done, and never answered.
    Lost,
    /// It is done and answered once [`Faults::release`] says so.
    Held,
    /// It is done, and answered once [`Faults::release`] says so.
    Late,
}

/// Whether a request, with its body, is the one.
type Is = Box<dyn FnMut(&Asked, &Value) -> bool + Send>;

struct Rule {
    of: Is,
    fault: Fault,
    /// How often it still holds; `None` is until it is taken away.
    left: Option<u32>,
}

/// A write at which everything falls silent.
struct Freeze {
    /// How many are still answered.
    left: usize,
    /// Whether the one that is met is done before that.
    done: bool,
}

#[derive(Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    freeze: Option<Freeze>,
    pub(crate) frozen: bool,
    /// Whether what was held goes on.
    pub(crate) released: bool,
}

impl Faults {
    /// `fault` for the next `times` requests that `of` names; `None` for all from now on.
    pub(crate) fn add(&mut self, fault: Fault, times: Option<u32>, of: impl Fn(&Asked) -> bool + Send + 'static) {
        self.add_by_body(fault, times, move |asked, _| of(asked));
    }

    /// The same for requests that are told apart by what they carry.
    pub(crate) fn add_by_body(
        &mut self,
        fault: Fault,
        times: Option<u32>,
        of: impl FnMut(&Asked, &Value) -> bool + Send + 'static,
    ) {
        self.rules.push(Rule { of: Box::new(of), fault, left: times });
    }

    pub(crate) fn clear(&mut self) {
        *self = Faults::default();
    }

    /// Lets what is held go on.
    pub(crate) fn release(&mut self) {
        self.released = true;
    }

    /// Falls silent for ever at the write after the next `answered`, which is done before that or not.
    /// Between two writes nothing changes here: whoever ends at a read ends in one of these states.
    pub(crate) fn freeze_after(&mut self, answered: usize, done: bool) {
        self.freeze = Some(Freeze { left: answered, done });
    }

    /// What becomes of `asked`, which carries `body`; `None` is the right answer.
    pub(crate) fn meets(&mut self, asked: &Asked, body: &Value) -> Option<Fault> {
        if self.frozen {
            return Some(Fault::Silence);
        }
        if let Some(freeze) = self.freeze.as_mut().filter(|_| asked.writes()) {
            if freeze.left == 0 {
                self.frozen = true;
                return Some(if freeze.done { Fault::Lost } else { Fault::Silence });
            }
            freeze.left -= 1;
        }
        let holds = |rule: &mut Rule| rule.left != Some(0) && (rule.of)(asked, body);
        let rule = self.rules.iter_mut().find_map(|rule| holds(rule).then_some(rule))?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        Some(rule.fault)
    }
}

/// The most that any object was asked for in a second, on an average since `since`, and
/// which one that was.
pub(crate) fn busiest(calls: &[Call], since: Instant) -> (f64, String) {
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for call in calls.iter().filter(|call| call.at >= since) {
        let place = &call.asked.place;
        *counts.entry(format!("{} {}/{}", place.resource, place.namespace, place.name)).or_default() += 1;
    }
    let seconds = since.elapsed().max(Duration::from_secs(1)).as_secs_f64();
    let most = counts.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
    (f64::from(most.1) / seconds, most.0)
}
