//! How far something is, on standard error and only where that is a terminal.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::escape;

/// Time between two pictures of a spinner: seen as motion, not as flicker.
const TICK: Duration = Duration::from_millis(120);

/// A line that says what is being done. Gone when dropped; nothing at all where
/// standard error is no terminal.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing, even on a terminal.
    pub(crate) fn hidden() -> Self {
        Progress { bar: ProgressBar::hidden() }
    }

    /// A spinner with words.
    pub(crate) fn spinner(words: &str) -> Self {
        Self::styled("{spinner} {wide_msg} {elapsed:>4}", None, words)
    }

    /// Bytes, of `total` where that is known.
    pub(crate) fn bytes(words: &str, total: Option<u64>) -> Self {
        match total {
            Some(_) => Self::styled(
                "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
                total,
                words,
            ),
            None => Self::styled("{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed:>4}", None, words),
        }
    }

    fn styled(template: &str, total: Option<u64>, words: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(escape(words).into_owned());
        bar.enable_steady_tick(TICK);
        Progress { bar }
    }

    /// Other words.
    pub(crate) fn say(&self, words: &str) {
        self.bar.set_message(escape(words).into_owned());
    }

    /// `count` more bytes.
    pub(crate) fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Takes the line of the last clone away.
pub(crate) struct ClearOnDrop(pub(crate) Progress);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.clear();
    }
}
