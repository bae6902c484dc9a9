//! Input that was typed and is not yet acknowledged, so that a connection that
//! is lost neither loses a keystroke nor types one twice.

use std::collections::VecDeque;

use bytes::Bytes;
use remora_proto::agent::v1::Input;

/// Frames of input that may wait for their acknowledgement. A person types one
/// a keystroke; a paste is cut into frames of 64 KiB.
pub(crate) const MAX_UNACKNOWLEDGED: usize = 64;

/// Numbers input frames from 1 and keeps each until it is acknowledged. Whoever
/// pushes keeps to [`MAX_UNACKNOWLEDGED`].
#[derive(Debug, Default)]
pub(crate) struct InputLog {
    last: u64,
    waiting: VecDeque<Input>,
}

impl InputLog {
    /// Numbers `data`; the frame is to be sent now.
    pub(crate) fn push(&mut self, data: Bytes) -> Input {
        self.last += 1;
        let frame = Input { sequence: self.last, data };
        self.waiting.push_back(frame.clone());
        frame
    }

    /// Every frame up to `sequence` is with the terminal.
    pub(crate) fn acknowledge(&mut self, sequence: u64) {
        while self.waiting.front().is_some_and(|frame| frame.sequence <= sequence) {
            self.waiting.pop_front();
        }
        // A session that knows more of this client than this log: its numbers go on.
        self.last = self.last.max(sequence);
    }

    /// What to send after a reconnection, in order.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &Input> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnection_sends_exactly_what_is_missing() {
        let mut log = InputLog::default();
        for word in ["a", "b", "c"] {
            log.push(Bytes::from_static(word.as_bytes()));
        }
        log.acknowledge(1);
        let numbers: Vec<u64> = log.unacknowledged().map(|frame| frame.sequence).collect();
        assert_eq!(numbers, [2, 3]);
        log.acknowledge(3);
        assert_eq!(log.unacknowledged().count(), 0);
        assert_eq!(log.push(Bytes::new()).sequence, 4);
    }

    #[test]
    fn numbers_go_on_where_the_session_left_off() {
        let mut log = InputLog::default();
        log.acknowledge(7);
        assert_eq!(log.push(Bytes::new()).sequence, 8);
    }
}
