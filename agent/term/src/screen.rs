//! The terminal emulator beside the byte path. It has a budget of time, may go
//! stale under a flood, and catches up when that is over; bytes never wait for it.

use std::{
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    limits::{FRAME_BYTES, SCREEN_PAINT_BYTES, TITLE_CHARACTERS},
    pty::Size,
    ring::Ring,
};

/// Part of the wall time that the emulator may take: one in eight.
const SHARE: u32 = 8;
/// Time that it may save up while there is no output.
const SAVED: Duration = Duration::from_millis(50);

pub(crate) struct Screen {
    parser: vt100::Parser<Titles>,
    size: Size,
    fed: u64,
    allowance: Duration,
    refilled: Instant,
}

#[derive(Default)]
struct Titles {
    title: String,
}

impl vt100::Callbacks for Titles {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.title = visible(&String::from_utf8_lossy(title)).chars().take(TITLE_CHARACTERS).collect();
    }
}

/// The screen as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenText {
    /// Rows without trailing blanks, control characters escaped.
    pub rows: Vec<String>,
    /// Zero-based row and column of the cursor.
    pub cursor: (u16, u16),
    /// Its size.
    pub size: Size,
    /// Output up to here is on it.
    pub at_offset: u64,
    /// Whether a full-screen program is shown.
    pub alternate: bool,
}

impl Screen {
    pub(crate) fn new(size: Size) -> Self {
        Screen { parser: parser(size), size, fed: 0, allowance: SAVED, refilled: Instant::now() }
    }

    /// Feeds what the budget allows; true where nothing is left to feed.
    pub(crate) fn feed(&mut self, ring: &Ring) -> bool {
        let now = Instant::now();
        self.allowance = SAVED.min(self.allowance + now.duration_since(self.refilled) / SHARE);
        self.refilled = now;
        while self.fed < ring.held().head && !self.allowance.is_zero() {
            let start = Instant::now();
            self.step(ring);
            self.allowance = self.allowance.saturating_sub(start.elapsed());
        }
        self.fed >= ring.held().head
    }

    /// Feeds all that is held: for a caller who asks for the screen.
    pub(crate) fn catch_up(&mut self, ring: &Ring) {
        while self.fed < ring.held().head {
            self.step(ring);
        }
    }

    fn step(&mut self, ring: &Ring) {
        let (from, data) = ring.read(self.fed, FRAME_BYTES);
        if from > self.fed {
            // The flood overwrote what was not fed: what follows is drawn on a clean screen.
            self.parser = parser(self.size);
        }
        self.process(&data);
        self.fed = if data.is_empty() { ring.held().head } else { from + data.len() as u64 };
    }

    fn process(&mut self, data: &Bytes) {
        // The emulator reads what any program prints: a defect in it must cost
        // the picture and nothing else.
        if catch_unwind(AssertUnwindSafe(|| self.parser.process(data))).is_err() {
            tracing::warn!("the terminal emulator failed on some output; its screen starts anew");
            self.parser = parser(self.size);
        }
    }

    pub(crate) fn resize(&mut self, size: Size) {
        self.size = size;
        let (rows, columns) = cells(size);
        if catch_unwind(AssertUnwindSafe(|| self.parser.set_size(rows, columns))).is_err() {
            self.parser = parser(size);
        }
    }

    pub(crate) fn title(&self) -> &str {
        &self.parser.callbacks().title
    }

    /// Escape sequences that paint it on a terminal that was just reset, and the offset after which output goes on.
    pub(crate) fn paint(&self) -> (u64, Bytes) {
        let mut data = self.parser.screen().state_formatted();
        if data.len() > SCREEN_PAINT_BYTES {
            data = self.plain();
        }
        (self.fed, data.into())
    }

    /// The lowest rows that fit, without colours: a huge screen where every cell has its own.
    fn plain(&self) -> String {
        let screen = self.parser.screen();
        let (row, column) = screen.cursor_position();
        let cursor = format!("\x1b[{};{}H", row + 1, column + 1);
        let mut rows: Vec<String> = Vec::new();
        let mut room = SCREEN_PAINT_BYTES - cursor.len();
        let all: Vec<String> = screen.rows(0, self.size.columns).collect();
        for (at, text) in all.iter().enumerate().rev() {
            let painted = format!("\x1b[{};1H{}", at + 1, text.trim_end());
            let Some(rest) = room.checked_sub(painted.len()) else { break };
            room = rest;
            rows.push(painted);
        }
        rows.push(cursor);
        rows.concat()
    }

    pub(crate) fn text(&self) -> ScreenText {
        let screen = self.parser.screen();
        ScreenText {
            rows: screen.rows(0, self.size.columns).map(|row| visible(row.trim_end())).collect(),
            cursor: screen.cursor_position(),
            size: self.size,
            at_offset: self.fed,
            alternate: screen.alternate_screen(),
        }
    }
}

fn parser(size: Size) -> vt100::Parser<Titles> {
    let (rows, columns) = cells(size);
    vt100::Parser::new_with_callbacks(rows, columns, 0, Titles::default())
}

fn cells(size: Size) -> (NonZeroU16, NonZeroU16) {
    (NonZeroU16::new(size.rows).unwrap_or(NonZeroU16::MIN), NonZeroU16::new(size.columns).unwrap_or(NonZeroU16::MIN))
}

/// Escapes control characters, so that the text does nothing to whatever shows it.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || reorders(character) {
            shown.extend(character.escape_default())
        } else {
            shown.push(character)
        }
    }
    shown
}

/// Characters that show text in another order or on another line than it is
/// (Unicode's bidirectional controls and separators): what is shown would not be what there is.
fn reorders(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a054_clipboard_title_and_answerback_stay_out_of_the_text() {
        let mut ring = Ring::in_memory(4_096);
        ring.push(b"\x1b]52;c;c2VjcmV0\x07\x1b]2;a \xc2\x9btitle\x07\x05one\r\ntwo \x1b[6n");
        let mut screen = Screen::new(Size::DEFAULT);
        screen.catch_up(&ring);
        let text = screen.text();
        assert_eq!(&text.rows[..2], ["one", "two"]);
        assert_eq!(text.at_offset, ring.held().head);
        assert!(!screen.title().chars().any(char::is_control), "{:?}", screen.title());
    }

    #[test]
    fn a_screen_that_fell_behind_the_ring_starts_clean_and_says_where_it_is() {
        let mut ring = Ring::in_memory(100);
        let mut screen = Screen::new(Size::DEFAULT);
        ring.push(b"lost");
        ring.push(&[b'x'; 100]);
        screen.catch_up(&ring);
        assert_eq!(screen.text().rows[0], "x".repeat(80));
        assert_eq!(screen.text().at_offset, 104);
    }

    #[test]
    fn a_screen_too_large_for_a_message_is_painted_without_colours() {
        let mut screen = Screen::new(Size { columns: 1_000, rows: 1_000 });
        let mut ring = Ring::in_memory(16 << 20);
        // The last row is not full: a wrap that is pending has no escape sequence of its own.
        for cell in 0..299_990_u32 {
            ring.push(format!("\x1b[38;2;{};{};{}mx", cell % 256, cell / 256 % 256, cell % 7).as_bytes());
        }
        screen.catch_up(&ring);
        let (_, data) = screen.paint();
        assert!(data.len() <= SCREEN_PAINT_BYTES, "{}", data.len());
        let mut again = parser(screen.size);
        again.process(&data);
        // By rows: which of them go on in the next one is not painted.
        let rows = |screen: &vt100::Screen| screen.rows(0, 1_000).collect::<Vec<_>>();
        assert!(rows(again.screen()) == rows(screen.parser.screen()), "each character is in its place");
        assert_eq!(again.screen().cursor_position(), screen.parser.screen().cursor_position());
    }

    proptest! {
        #[test]
        fn no_output_breaks_it(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10), columns in 0_u32..200, rows in 0_u32..50) {
            let mut ring = Ring::in_memory(512);
            let mut screen = Screen::new(Size::DEFAULT);
            for chunk in chunks {
                ring.push(&chunk);
                screen.catch_up(&ring);
                screen.resize(Size::clamped(columns, rows));
                prop_assert!(screen.text().rows.iter().all(|row| !row.chars().any(char::is_control)));
            }
        }
    }
}
