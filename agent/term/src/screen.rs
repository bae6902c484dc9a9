//! The terminal emulator beside the byte path. It has a budget of time, may go
//! stale under a flood, and catches up when that is over; bytes never wait for it.

use std::{
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    limits::{SCREEN_PAINT_BYTES, TITLE_CHARACTERS},
    pty::Size,
    ring::Ring,
};

/// Part of the wall time that the emulator may take: one in eight.
const SHARE: u32 = 8;
/// Time that it may save up while there is no output.
const SAVED: Duration = Duration::from_millis(50);
/// Bytes that were not fed, from which on it waits for the end of a flood: nobody sees what is
/// drawn over within milliseconds, and whoever asks for the screen gets all of it anyway.
const FLOOD_BYTES: u64 = 1 << 20;
/// Time without output after which a flood is over.
pub(crate) const QUIET: Duration = Duration::from_millis(20);
/// Bytes that are fed at once: a fraction of a millisecond, for which nobody else reads the terminal.
const STEP_BYTES: usize = 16 << 10;

pub(crate) struct Screen {
    parser: vt100::Parser<Titles>,
    size: Size,
    fed: u64,
    /// How far the ring was when it was looked at last, and since when.
    seen: u64,
    seen_at: Instant,
    budget: Budget,
}

/// The emulator's time: earned as time passes, spent as it works. What one step takes beyond
/// what there is, is owed and earned first.
#[derive(Debug)]
struct Budget {
    saved: Duration,
    owed: Duration,
    earned_at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Budget { saved: SAVED, owed: Duration::ZERO, earned_at: now }
    }

    fn earn(&mut self, now: Instant) {
        let earned = now.duration_since(self.earned_at) / SHARE;
        self.earned_at = now;
        self.saved = SAVED.min(self.saved + earned.saturating_sub(self.owed));
        self.owed = self.owed.saturating_sub(earned);
    }

    fn spend(&mut self, took: Duration) {
        self.owed += took.saturating_sub(self.saved);
        self.saved = self.saved.saturating_sub(took);
    }

    fn is_spent(&self) -> bool {
        self.saved.is_zero()
    }
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
        let now = Instant::now();
        Screen { parser: parser(size), size, fed: 0, seen: 0, seen_at: now, budget: Budget::new(now) }
    }

    /// Feeds what the budget allows, and nothing while output floods; true where nothing is
    /// left to feed. Where it is false, it is to be called again after [`QUIET`].
    pub(crate) fn feed(&mut self, ring: &Ring, now: Instant) -> bool {
        let head = ring.held().head;
        if head != self.seen {
            (self.seen, self.seen_at) = (head, now);
        }
        self.budget.earn(now);
        if head - self.fed > FLOOD_BYTES && now.duration_since(self.seen_at) < QUIET {
            return false;
        }
        while self.fed < ring.held().head && !self.budget.is_spent() {
            let start = Instant::now();
            self.step(ring);
            self.budget.spend(start.elapsed());
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
        let (from, data) = ring.read(self.fed, STEP_BYTES);
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
    fn a_flood_is_not_drawn_before_it_is_over_or_somebody_asks() {
        let (start, mut ring) = (Instant::now(), Ring::in_memory(8 << 20));
        let at = |millis| start + Duration::from_millis(millis);
        let mut screen = Screen::new(Size::DEFAULT);
        let line = [b"line after line after line".as_slice(), b"\r\n"].concat();
        ring.push(&line);
        assert!(screen.feed(&ring, at(0)), "a little is drawn at once");
        let mut flood = |screen: &mut Screen, millis| {
            ring.push(&line.repeat(100_000));
            (screen.feed(&ring, at(millis)), screen.fed)
        };
        for millis in [1, 10, 29] {
            assert_eq!(flood(&mut screen, millis), (false, line.len() as u64));
        }
        assert!(!screen.feed(&ring, at(48)), "19 ms are not enough");
        assert_eq!(screen.fed, line.len() as u64);
        screen.feed(&ring, at(49));
        assert!(screen.fed > line.len() as u64, "it is quiet");
        screen.catch_up(&ring);
        assert_eq!(screen.text().at_offset, ring.held().head);
        assert_eq!(screen.text().rows[22], "line after line after line");
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

    #[test]
    fn a_step_that_takes_too_long_is_paid_for_before_the_next_one() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut budget = Budget::new(start);
        budget.spend(SAVED + Duration::from_millis(10));
        assert!(budget.is_spent());
        budget.earn(at(80));
        assert!(budget.is_spent(), "one in eight of 80 ms is what was owed");
        budget.earn(at(88));
        assert!(!budget.is_spent());
        budget.earn(at(100_000));
        assert_eq!(budget.saved, SAVED, "no more is saved, however long it is quiet");
    }

    proptest! {
        /// However long steps take and whenever they are, the emulator has what it may save up and its
        /// share of the time; and a step that was begun.
        #[test]
        fn a_flood_gets_its_share_and_no_more(steps in prop::collection::vec((0_u64..5_000, 1_u64..20_000), 1..200)) {
            let start = Instant::now();
            let (mut budget, mut now, mut worked, mut last) = (Budget::new(start), start, Duration::ZERO, Duration::ZERO);
            for (rest, step) in steps {
                now += Duration::from_micros(rest);
                budget.earn(now);
                if !budget.is_spent() {
                    last = Duration::from_micros(step);
                    now += last;
                    worked += last;
                    budget.spend(last);
                }
            }
            prop_assert!(worked <= SAVED + (now - start) / SHARE + last, "{worked:?} of {:?}", now - start);
        }

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
