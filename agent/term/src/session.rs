//! Who watches a terminal, who types into it, and which input is new: pure
//! decisions, no waiting.
//!
//! ```text
//! nobody ──WRITER──► writer A ──A leaves──► nobody
//!                     │  ▲ └─WRITER by B─► refused (by A again: the newer attachment writes)
//!              TAKEOVER  │
//!               by B  ▼  │ TAKEOVER by A
//!                    writer B
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::{
    error::TermError,
    limits::{INPUT_CLIENTS, VIEWERS},
};

/// What a client wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only watches.
    Viewer,
    /// Types, if nobody else does.
    Writer,
    /// Types, whoever does.
    Takeover,
}

pub(crate) type ViewerId = u64;

/// The viewers, the writer and the input numbers of a session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    viewers: BTreeMap<ViewerId, Viewer>,
    writer: Option<ViewerId>,
    next: ViewerId,
    /// Per client the last input frame that is complete, and how much of the
    /// next one is written. The client that was quiet longest is forgotten first.
    inputs: VecDeque<(String, Progress)>,
}

#[derive(Debug)]
struct Viewer {
    client: String,
    /// Offset of the output that it wants next; none where it has no credit, or skips what it is late for.
    wants: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    complete: u64,
    partial: usize,
}

/// What to do with an input frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Type it, from this byte on.
    Type { sequence: u64, from: usize },
    /// It was typed before.
    Done,
}

impl Session {
    pub(crate) fn attach(&mut self, client: &str, mode: Mode) -> Result<ViewerId, TermError> {
        if self.viewers.len() >= VIEWERS {
            let hint = "close an attachment that is no longer needed, or read the terminal with Screen";
            return Err(TermError::Limit { what: "viewers of a terminal", limit: VIEWERS, hint });
        }
        if mode == Mode::Writer {
            self.may_write(client)?;
        }
        let id = self.next;
        self.next += 1;
        self.viewers.insert(id, Viewer { client: client.to_owned(), wants: None });
        if mode != Mode::Viewer {
            self.writer = Some(id);
        }
        Ok(id)
    }

    pub(crate) fn detach(&mut self, viewer: ViewerId) {
        self.viewers.remove(&viewer);
        if self.writer == Some(viewer) {
            self.writer = None;
        }
    }

    /// Notes the offset of the output that a viewer wants next, if it wants any.
    pub(crate) fn wants(&mut self, viewer: ViewerId, offset: Option<u64>) {
        if let Some(viewer) = self.viewers.get_mut(&viewer) {
            viewer.wants = offset;
        }
    }

    /// The oldest offset that a viewer wants.
    pub(crate) fn oldest_wanted(&self) -> Option<u64> {
        self.viewers.values().filter_map(|viewer| viewer.wants).min()
    }

    /// Whether `client` may type without being attached: nobody else is the writer.
    pub(crate) fn may_write(&self, client: &str) -> Result<(), TermError> {
        match self.writer() {
            Some(writer) if writer != client => Err(TermError::WriterTaken { writer: writer.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Whether this attachment is the one that types.
    pub(crate) fn is_writer(&self, viewer: ViewerId) -> Result<(), TermError> {
        if self.writer == Some(viewer) {
            return Ok(());
        }
        Err(TermError::WriterTaken { writer: self.writer().unwrap_or_default().to_owned() })
    }

    pub(crate) fn writer(&self) -> Option<&str> {
        self.writer.and_then(|id| self.viewers.get(&id)).map(|viewer| viewer.client.as_str())
    }

    pub(crate) fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// The last complete input frame of `client`.
    pub(crate) fn sequence(&self, client: &str) -> u64 {
        self.progress(client).complete
    }

    /// Decides on a frame; 0 stands for the next number.
    pub(crate) fn judge(&self, client: &str, sequence: u64) -> Result<Verdict, TermError> {
        let progress = self.progress(client);
        let next = progress.complete + 1;
        match sequence {
            // A frame without a number is a new one, never the rest of an old one.
            0 => Ok(Verdict::Type { sequence: next, from: 0 }),
            given if given == next => Ok(Verdict::Type { sequence: next, from: progress.partial }),
            given if given < next => Ok(Verdict::Done),
            given => Err(TermError::OutOfRange {
                what: "the input sequence",
                given,
                problem: format!("the next one is {next}"),
            }),
        }
    }

    /// Notes that `written` bytes of the frame are typed, and whether that is all of it.
    pub(crate) fn typed(&mut self, client: &str, sequence: u64, written: usize, all: bool) {
        let mut progress = self.progress(client);
        if all {
            progress = Progress { complete: sequence, partial: 0 };
        } else {
            progress.partial = written;
        }
        self.inputs.retain(|(name, _)| name != client);
        self.inputs.push_back((client.to_owned(), progress));
        if self.inputs.len() > INPUT_CLIENTS {
            self.inputs.pop_front();
        }
    }

    fn progress(&self, client: &str) -> Progress {
        self.inputs.iter().find(|(name, _)| name == client).map(|(_, progress)| *progress).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_writer_is_refused_while_another_types_and_a_takeover_is_not() {
        let mut session = Session::default();
        let a = session.attach("a", Mode::Writer).unwrap();
        assert!(matches!(session.attach("b", Mode::Writer), Err(TermError::WriterTaken { writer }) if writer == "a"));
        let b = session.attach("b", Mode::Takeover).unwrap();
        assert_eq!(session.writer(), Some("b"));
        assert!(session.is_writer(a).is_err());
        session.detach(a);
        assert_eq!(session.writer(), Some("b"), "a's leaving is no business of b's");
        session.detach(b);
        assert_eq!(session.writer(), None);
    }

    #[test]
    fn a_client_whose_old_connection_hangs_may_write_on_a_new_one() {
        let mut session = Session::default();
        let old = session.attach("a", Mode::Writer).unwrap();
        let new = session.attach("a", Mode::Writer).unwrap();
        session.detach(old);
        assert!(session.is_writer(new).is_ok());
    }

    #[test]
    fn what_viewers_want_is_theirs_as_long_as_they_are_attached() {
        let mut session = Session::default();
        let (a, b) = (session.attach("a", Mode::Viewer).unwrap(), session.attach("b", Mode::Viewer).unwrap());
        assert_eq!(session.oldest_wanted(), None);
        session.wants(a, Some(7));
        session.wants(b, Some(9));
        assert_eq!(session.oldest_wanted(), Some(7));
        session.wants(a, None);
        assert_eq!(session.oldest_wanted(), Some(9));
        session.detach(b);
        session.wants(b, Some(3));
        assert_eq!(session.oldest_wanted(), None);
    }

    proptest! {
        /// A client sends frames 1.., each repeated at will and broken off at
        /// will: what is typed is the frames' bytes, each once, in order.
        #[test]
        fn input_is_typed_exactly_once(steps in prop::collection::vec((0_u64..3, 1_usize..5), 1..60)) {
            let mut session = Session::default();
            let frame = |n: u64| vec![n; 4];
            let mut typed = Vec::new();
            for (back, portion) in steps {
                let next = session.sequence("c") + 1;
                let sequence = next.saturating_sub(back).max(1);
                match session.judge("c", sequence).unwrap() {
                    Verdict::Done => prop_assert!(sequence < next),
                    Verdict::Type { sequence, from } => {
                        let end = (from + portion).min(4);
                        typed.extend_from_slice(&frame(sequence)[from..end]);
                        session.typed("c", sequence, end, end == 4);
                    }
                }
            }
            let whole: Vec<u64> = (1..=typed.len() as u64).map(|n| n.div_ceil(4)).collect();
            prop_assert_eq!(typed, whole);
            let hole = session.sequence("c") + 2;
            let refused = matches!(session.judge("c", hole), Err(TermError::OutOfRange { .. }));
            prop_assert!(refused);
        }

        #[test]
        fn there_is_at_most_one_writer_and_it_is_attached(steps in prop::collection::vec((0_u8..4, 0_u8..3), 0..60)) {
            let mut session = Session::default();
            let mut attached = Vec::new();
            for (what, who) in steps {
                let client = who.to_string();
                let mode = [Mode::Viewer, Mode::Writer, Mode::Takeover].get(what as usize);
                match mode {
                    Some(mode) => attached.extend(session.attach(&client, *mode).ok()),
                    None => if let Some(id) = attached.pop() { session.detach(id) },
                }
                let writers = attached.iter().filter(|id| session.is_writer(**id).is_ok()).count();
                prop_assert_eq!(writers, usize::from(session.writer().is_some()));
                prop_assert_eq!(session.viewers(), attached.len());
            }
        }
    }
}
