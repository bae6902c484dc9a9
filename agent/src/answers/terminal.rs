//! The answers of TerminalService.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use remora_agent_term::{FRAME_BYTES, Mode, SCREEN_PAINT_BYTES, SIZE_MAX, Start, TERMINALS, TITLE_CHARACTERS, visible};
use remora_proto::{
    agent::v1::{
        Attached, CloseTerminalResponse, ListTerminalsResponse, ResizeTerminalResponse, ScreenResponse, Terminal,
        TerminalOutput, WriteTerminalResponse, terminal_output::Frame,
    },
    model::ContainerName,
};

use super::{Violation, argv, cwd, exit, id, labels, optional_exit, processes, range, same_id, size};
use crate::requests::is_client;

/// A session of `container`.
pub(crate) fn session(container: &ContainerName, mut terminal: Terminal) -> Result<Terminal, Violation> {
    id(&terminal.id)?;
    terminal.container = container.to_string();
    argv(&terminal.argv)?;
    cwd(&terminal.cwd)?;
    size(terminal.size)?;
    labels(&terminal.labels)?;
    range(terminal.output)?;
    terminal.exit = optional_exit(terminal.exit)?;
    writer(&terminal.writer)?;
    terminal.title = title(&terminal.title);
    Ok(terminal)
}

/// The session `asked`.
pub(crate) fn this_session(container: &ContainerName, asked: &str, terminal: Terminal) -> Result<Terminal, Violation> {
    same_id(&terminal.id, asked)?;
    session(container, terminal)
}

pub(crate) fn list(
    container: &ContainerName,
    answer: ListTerminalsResponse,
) -> Result<ListTerminalsResponse, Violation> {
    let mut ids = HashSet::new();
    if answer.terminals.len() > TERMINALS || !answer.terminals.iter().all(|terminal| ids.insert(&terminal.id)) {
        return Err(Violation("a list of terminals that is too long or names one twice"));
    }
    let terminals =
        answer.terminals.into_iter().map(|terminal| session(container, terminal)).collect::<Result<_, _>>()?;
    Ok(ListTerminalsResponse { terminals })
}

pub(crate) fn closed(
    container: &ContainerName,
    asked: &str,
    answer: CloseTerminalResponse,
) -> Result<CloseTerminalResponse, Violation> {
    let terminal = answer.terminal.ok_or(Violation("a closed terminal without its state"))?;
    let terminal = Some(this_session(container, asked, terminal)?);
    Ok(CloseTerminalResponse { terminal, survivors: processes(answer.survivors) })
}

pub(crate) fn written(given: usize, answer: WriteTerminalResponse) -> Result<WriteTerminalResponse, Violation> {
    if answer.accepted_bytes as usize == given {
        return Ok(answer);
    }
    Err(Violation("another number of typed bytes than was given"))
}

pub(crate) fn resized(answer: ResizeTerminalResponse) -> Result<ResizeTerminalResponse, Violation> {
    size(answer.size).map(|size| ResizeTerminalResponse { size: Some(size) })
}

pub(crate) fn screen(mut answer: ScreenResponse) -> Result<ScreenResponse, Violation> {
    let cells = size(answer.size)?;
    // An escaped control character is at most ten characters: `\u{10ffff}`.
    let fits = |row: &String| row.chars().count() <= 10 * usize::from(SIZE_MAX);
    let inside = answer.cursor_row < cells.rows && answer.cursor_column <= cells.columns;
    if answer.rows.len() > cells.rows as usize || !answer.rows.iter().all(fits) || !inside {
        return Err(Violation("a screen larger than its terminal"));
    }
    for row in &mut answer.rows {
        *row = visible(row);
    }
    Ok(answer)
}

fn writer(name: &str) -> Result<(), Violation> {
    if name.is_empty() || is_client(name) { Ok(()) } else { Err(Violation("a client with a name that none can have")) }
}

fn title(text: &str) -> String {
    visible(text).chars().take(TITLE_CHARACTERS).collect()
}

/// The frames of one attachment, checked as they come.
///
/// ```text
/// begin ──Attached──► (Screen) ──► following ──Exit──► over
/// ```
pub(crate) struct Following {
    start: Start,
    mode: Mode,
    client: String,
    /// The last input frame that was sent to the shim.
    sent: Arc<AtomicU64>,
    stage: Stage,
    /// Where output goes on, once that is known.
    next: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Painting,
    Following,
    Over,
}

impl Following {
    pub(crate) fn new(start: Start, mode: Mode, client: &str, sent: Arc<AtomicU64>) -> Self {
        Following { start, mode, client: client.to_owned(), sent, stage: Stage::Begin, next: None }
    }

    /// Whether the last frame has come.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The frame as it may be passed on.
    pub(crate) fn take(&mut self, output: TerminalOutput) -> Result<TerminalOutput, Violation> {
        let frame = output.frame.ok_or(Violation("an empty frame"))?;
        let frame = match (self.stage, frame) {
            (Stage::Over, _) => return Err(Violation("a frame after Exit")),
            (Stage::Begin, Frame::Attached(attached)) => Frame::Attached(self.begin(attached)?),
            (Stage::Begin, _) => return Err(Violation("a first frame other than Attached")),
            (_, Frame::Attached(_)) => return Err(Violation("Attached twice")),
            (Stage::Painting, Frame::Screen(paint)) if paint.data.len() <= SCREEN_PAINT_BYTES => {
                self.stage = Stage::Following;
                self.next = Some(paint.at_offset);
                Frame::Screen(paint)
            }
            (_, Frame::Screen(_)) => return Err(Violation("a screen that was not asked for, or a huge one")),
            (Stage::Painting, _) => return Err(Violation("no screen where one was asked for")),
            (Stage::Following, frame) => self.follow(frame)?,
        };
        Ok(TerminalOutput { frame: Some(frame) })
    }

    fn begin(&mut self, attached: Attached) -> Result<Attached, Violation> {
        let held = range(attached.output)?;
        size(attached.size)?;
        writer(&attached.writer)?;
        if attached.client_id != self.client {
            return Err(Violation("another client than attached"));
        }
        if self.mode != Mode::Viewer {
            // What it has from earlier attachments of this client counts as sent.
            self.sent.fetch_max(attached.input_sequence, Ordering::AcqRel);
        }
        self.next = match (self.start, attached.gap) {
            (Start::From(offset), None) if (held.base..=held.head).contains(&offset) => Some(offset),
            (Start::From(offset), Some(gap)) if gap.from == offset && offset < gap.to && gap.to == held.base => {
                Some(gap.to)
            }
            (Start::From(_), _) | (_, Some(_)) => return Err(Violation("a start other than was asked for")),
            (Start::Scrollback, None) => Some(held.base),
            (Start::Tail(bytes), None) => Some(held.head.saturating_sub(bytes).max(held.base)),
            (Start::Live, None) => Some(held.head),
            (Start::Screen, None) => None,
        };
        self.stage = if self.start == Start::Screen { Stage::Painting } else { Stage::Following };
        Ok(attached)
    }

    fn follow(&mut self, frame: Frame) -> Result<Frame, Violation> {
        let next = self.next.unwrap_or_default();
        match frame {
            Frame::Output(output) => {
                let end = output.offset.checked_add(output.data.len() as u64);
                match end {
                    Some(end) if output.offset == next && (1..=FRAME_BYTES).contains(&output.data.len()) => {
                        self.next = Some(end);
                        Ok(Frame::Output(output))
                    }
                    _ => Err(Violation("output at another offset, none, or too much of it")),
                }
            }
            Frame::Lagged(gap) if gap.from == next && gap.to > gap.from => {
                self.next = Some(gap.to);
                Ok(Frame::Lagged(gap))
            }
            Frame::Lagged(_) => Err(Violation("a gap elsewhere than where output goes on")),
            Frame::InputAck(ack) if ack.sequence <= self.sent.load(Ordering::Acquire) => Ok(Frame::InputAck(ack)),
            Frame::InputAck(_) => Err(Violation("an acknowledgement of input that was not sent")),
            Frame::Resized(cells) => size(Some(cells)).map(Frame::Resized),
            Frame::WriterChanged(changed) => writer(&changed.writer).map(|()| Frame::WriterChanged(changed)),
            Frame::Title(text) => Ok(Frame::Title(title(&text))),
            Frame::Heartbeat(heartbeat) if heartbeat.head >= next => Ok(Frame::Heartbeat(heartbeat)),
            Frame::Heartbeat(_) => Err(Violation("a head before what was sent")),
            Frame::Exit(mut ended) if ended.final_offset == next => {
                let status = ended.status.ok_or(Violation("an end without a status"))?;
                ended.status = Some(exit(status)?);
                self.stage = Stage::Over;
                Ok(Frame::Exit(ended))
            }
            Frame::Exit(_) => Err(Violation("an end before the last byte")),
            Frame::Attached(_) | Frame::Screen(_) => Err(Violation("a frame out of its place")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use remora_proto::agent::v1::{
        ExitStatus, Heartbeat, InputAck, Lagged, Output, ScreenPaint, StreamRange, TerminalExit, TerminalSize,
        WriterChanged, exit_status::Cause,
    };

    use super::*;

    fn following(start: Start) -> Following {
        Following::new(start, Mode::Viewer, "me", Arc::default())
    }

    fn attached(base: u64, head: u64, gap: Option<(u64, u64)>) -> Frame {
        Frame::Attached(Attached {
            output: Some(StreamRange { base, head }),
            gap: gap.map(|(from, to)| Lagged { from, to }),
            size: Some(TerminalSize { columns: 80, rows: 24 }),
            writer: String::new(),
            client_id: "me".to_owned(),
            input_sequence: 0,
        })
    }

    fn output(offset: u64, length: usize) -> Frame {
        Frame::Output(Output { offset, data: vec![b'x'; length].into() })
    }

    fn exited(final_offset: u64) -> Frame {
        let status = Some(ExitStatus { cause: Cause::Exited.into(), code: Some(0), signal: None });
        Frame::Exit(TerminalExit { status, final_offset })
    }

    /// Takes all frames but the last, then tells whether the last is taken.
    fn check(start: Start, frames: Vec<Frame>) -> bool {
        let mut following = following(start);
        let (last, before) = frames.split_last().unwrap();
        for frame in before {
            following.take(TerminalOutput { frame: Some(frame.clone()) }).unwrap();
        }
        following.take(TerminalOutput { frame: Some(last.clone()) }).is_ok()
    }

    #[test]
    fn offsets_only_go_on_where_they_stopped() {
        let begun = || attached(10, 50, None);
        assert!(check(Start::From(20), vec![begun(), output(20, 5), output(25, 1), exited(26)]));
        assert!(check(Start::From(5), vec![attached(10, 50, Some((5, 10))), output(10, 5)]));
        assert!(check(Start::Tail(7), vec![begun(), output(43, 7), exited(50)]));
        assert!(check(Start::Live, vec![begun(), Frame::Lagged(Lagged { from: 50, to: 60 }), output(60, 1)]));
        let bad = [
            (Start::From(20), vec![begun(), output(19, 5)]),
            (Start::From(20), vec![begun(), output(21, 5)]),
            (Start::From(20), vec![begun(), output(20, 5), output(20, 5)]),
            (Start::From(20), vec![begun(), output(20, 0)]),
            (Start::From(20), vec![begun(), output(20, FRAME_BYTES + 1)]),
            (Start::From(20), vec![attached(30, 50, None)]),
            (Start::From(20), vec![attached(30, 50, Some((20, 31)))]),
            (Start::From(20), vec![attached(30, 20, None)]),
            (Start::From(60), vec![begun()]),
            (Start::Live, vec![attached(10, 50, Some((1, 10)))]),
            (Start::From(20), vec![begun(), Frame::Lagged(Lagged { from: 21, to: 30 })]),
            (Start::From(20), vec![begun(), Frame::Lagged(Lagged { from: 20, to: 20 })]),
            (Start::From(20), vec![begun(), output(20, 5), exited(24)]),
            (Start::From(20), vec![begun(), exited(50)]),
            (Start::From(20), vec![begun(), output(20, 5), Frame::Heartbeat(Heartbeat { head: 24 })]),
        ];
        for (at, (start, frames)) in bad.into_iter().enumerate() {
            assert!(!check(start, frames), "row {at}");
        }
        let mut end = following(Start::From(u64::MAX));
        end.take(TerminalOutput { frame: Some(attached(0, u64::MAX, None)) }).unwrap();
        assert!(end.take(TerminalOutput { frame: Some(output(u64::MAX, 1)) }).is_err(), "an offset that overflows");
    }

    #[test]
    fn frames_come_in_their_order() {
        let begun = || attached(0, 50, None);
        let paint = |bytes| Frame::Screen(ScreenPaint { at_offset: 40, data: vec![0; bytes].into() });
        assert!(check(Start::Screen, vec![begun(), paint(9), output(40, 1)]));
        for (at, (start, frames)) in [
            (Start::Live, vec![output(0, 1)]),
            (Start::Live, vec![begun(), begun()]),
            (Start::Live, vec![begun(), paint(9)]),
            (Start::Screen, vec![begun(), output(50, 1)]),
            (Start::Screen, vec![begun(), paint(SCREEN_PAINT_BYTES + 1)]),
            (Start::Screen, vec![begun(), paint(9), paint(9)]),
            (Start::Live, vec![begun(), exited(50), Frame::Heartbeat(Heartbeat { head: 50 })]),
            (Start::Live, vec![begun(), Frame::InputAck(InputAck { sequence: 1 })]),
            (Start::Live, vec![begun(), Frame::WriterChanged(WriterChanged { writer: "a\u{7}".to_owned() })]),
            (Start::Live, vec![begun(), Frame::Resized(TerminalSize { columns: 0, rows: 1 })]),
            (Start::Live, vec![begun(), Frame::Exit(TerminalExit { status: None, final_offset: 50 })]),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(!check(start, frames), "row {at}");
        }
        assert!(following(Start::Live).take(TerminalOutput { frame: None }).is_err());
    }

    #[test]
    fn a054_texts_for_people_are_escaped_and_clipped() {
        let mut following = following(Start::Live);
        following.take(TerminalOutput { frame: Some(attached(0, 0, None)) }).unwrap();
        let title = format!("\u{1b}]52;c;aGk=\u{7}{}", "x".repeat(10_000));
        let passed = following.take(TerminalOutput { frame: Some(Frame::Title(title)) }).unwrap();
        let Some(Frame::Title(title)) = passed.frame else { panic!("no title") };
        assert!(title.chars().count() <= TITLE_CHARACTERS && !title.chars().any(char::is_control));
        let row = |text: &str| ScreenResponse {
            rows: vec![text.to_owned()],
            size: Some(TerminalSize { columns: 80, rows: 1 }),
            ..ScreenResponse::default()
        };
        assert_eq!(screen(row("a\u{1b}b")).unwrap().rows, ["a\\u{1b}b"]);
        assert!(screen(row(&"x".repeat(20_000))).is_err());
        let data = Bytes::from_static(b"\x1b]52;c;aGk=\x07");
        let raw = Frame::Output(Output { offset: 0, data: data.clone() });
        let passed = following.take(TerminalOutput { frame: Some(raw) }).unwrap();
        assert!(matches!(passed.frame, Some(Frame::Output(output)) if output.data == data), "bytes stay as they are");
    }
}
