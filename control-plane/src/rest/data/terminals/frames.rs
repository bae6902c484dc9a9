//! The frames of a WebSocket that is attached to a terminal: bytes are binary
//! frames, everything else is JSON with a `type`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use remora_proto::agent::v1::{
    Input, TerminalInput, TerminalOutput, TerminalSize, terminal_input, terminal_output::Frame,
};
use remora_proto_model::Fault;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

use super::super::shown::{Exit, Range, given_bytes};
use crate::rest::problem::{Problem, status};

/// What the server says beside output.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(in crate::rest) enum TerminalEvent {
    /// The first frame. Output, which is in binary frames, starts at `offset` and has no hole that a `lagged` does not tell.
    Attached {
        /// Offset of the first byte of output that comes; after a `screen`, that frame says it.
        offset: u64,
        held: Range,
        columns: u32,
        rows: u32,
        /// The client that writes; empty is none.
        writer: String,
        /// This client's name.
        client_id: String,
        /// The last input of this client that arrived.
        input_sequence: u64,
    },
    /// Paints the present screen on a terminal that was just reset. Output goes on at `offset`.
    Screen { offset: u64, data_base64: String },
    /// Every input up to this one is with the terminal.
    InputAck { sequence: u64 },
    /// The size changed.
    Resized { columns: u32, rows: u32 },
    /// The client that writes now; empty is none.
    WriterChanged { writer: String },
    /// The program set another title; escaped text.
    Title { title: String },
    /// These bytes will not come; output goes on at `to`.
    Lagged { from: u64, to: u64 },
    /// Nothing else to say; `head` is the offset after the newest byte.
    Heartbeat { head: u64 },
    /// The last frame, after the last byte.
    Exit { exit: Exit, final_offset: u64 },
    /// Why it ends; the WebSocket is closed after it.
    Problem { problem: Problem },
}

/// What the client says beside input, which may also be a binary frame.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(in crate::rest) enum TerminalSaid {
    /// Bytes to type, numbered so that they are typed once however often they are sent.
    Input {
        /// From 1 without a hole; 0 is the next one.
        #[serde(default)]
        sequence: u64,
        text: Option<String>,
        text_base64: Option<String>,
    },
    /// A new size.
    Resize { columns: u32, rows: u32 },
}

pub(super) fn text(event: &TerminalEvent) -> Message {
    // Our own types serialise.
    Message::text(serde_json::to_string(event).unwrap_or_default())
}

pub(super) fn problem(fault: &Fault) -> Message {
    text(&TerminalEvent::Problem { problem: Problem::of(fault, status(fault)) })
}

/// What one frame of the agent is on the WebSocket, and how many bytes of output it has.
pub(super) fn out(output: TerminalOutput, at: &mut u64) -> (Vec<Message>, u64) {
    let event = match output.frame {
        Some(Frame::Attached(attached)) => {
            let TerminalSize { columns, rows } = attached.size.unwrap_or_default();
            // Where output starts is told by the first of it; until then by what is held and missing.
            TerminalEvent::Attached {
                offset: *at,
                held: attached.output.into(),
                columns,
                rows,
                writer: attached.writer,
                client_id: attached.client_id,
                input_sequence: attached.input_sequence,
            }
        }
        Some(Frame::Screen(paint)) => {
            *at = paint.at_offset;
            let credit = paint.data.len() as u64;
            let event = TerminalEvent::Screen { offset: paint.at_offset, data_base64: STANDARD.encode(&paint.data) };
            return (vec![text(&event)], credit);
        }
        Some(Frame::Output(output)) => {
            let mut messages = Vec::new();
            if output.offset != *at {
                messages.push(text(&TerminalEvent::Lagged { from: *at, to: output.offset }));
            }
            *at = output.offset + output.data.len() as u64;
            let credit = output.data.len() as u64;
            messages.push(Message::binary(output.data));
            return (messages, credit);
        }
        Some(Frame::InputAck(ack)) => TerminalEvent::InputAck { sequence: ack.sequence },
        Some(Frame::Resized(size)) => TerminalEvent::Resized { columns: size.columns, rows: size.rows },
        Some(Frame::WriterChanged(changed)) => TerminalEvent::WriterChanged { writer: changed.writer },
        Some(Frame::Title(title)) => TerminalEvent::Title { title },
        Some(Frame::Lagged(gap)) => {
            *at = gap.to;
            TerminalEvent::Lagged { from: gap.from, to: gap.to }
        }
        Some(Frame::Heartbeat(heartbeat)) => TerminalEvent::Heartbeat { head: heartbeat.head },
        Some(Frame::Exit(exit)) => {
            let status = exit.status.unwrap_or_default();
            TerminalEvent::Exit { exit: status.into(), final_offset: exit.final_offset }
        }
        None => return (Vec::new(), 0),
    };
    (vec![text(&event)], 0)
}

/// Numbers what a client types that does not number it itself.
#[derive(Default)]
pub(super) struct Sequence(pub(super) u64);

impl Sequence {
    fn given(&mut self, sequence: u64) -> u64 {
        self.0 = if sequence == 0 { self.0 + 1 } else { sequence };
        self.0
    }

    /// What one frame of the client is to the agent; `None` where there is nothing to pass on.
    pub(super) fn said(&mut self, message: Message) -> Result<Option<TerminalInput>, Fault> {
        let frame = match message {
            Message::Binary(data) => {
                terminal_input::Frame::Input(Input { sequence: self.given(0), data: data.to_vec().into() })
            }
            Message::Text(json) => match serde_json::from_str(&json) {
                Ok(TerminalSaid::Input { sequence, text, text_base64 }) => {
                    let data: Bytes = given_bytes("text", text, text_base64)?;
                    terminal_input::Frame::Input(Input { sequence: self.given(sequence), data })
                }
                Ok(TerminalSaid::Resize { columns, rows }) => {
                    terminal_input::Frame::Resize(TerminalSize { columns, rows })
                }
                Err(error) => {
                    return Err(Fault::invalid("frame", error)
                        .hint(r#"send {"type": "input", "text": "ls\r"}, {"type": "resize", "columns": 80, "rows": 24}, or bytes"#));
                }
            },
            _ => return Ok(None),
        };
        Ok(Some(TerminalInput { frame: Some(frame) }))
    }
}

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::{Lagged, Output};

    use super::*;

    fn output(offset: u64, data: &'static [u8]) -> TerminalOutput {
        TerminalOutput { frame: Some(Frame::Output(Output { offset, data: data.into() })) }
    }

    #[test]
    fn a_hole_in_the_output_is_always_told() {
        let mut at = 5;
        assert_eq!(out(output(5, b"ab"), &mut at), (vec![Message::binary(&b"ab"[..])], 2));
        let (messages, _) = out(output(10, b"c"), &mut at);
        assert_eq!(messages[0], text(&TerminalEvent::Lagged { from: 7, to: 10 }));
        let told = TerminalOutput { frame: Some(Frame::Lagged(Lagged { from: 11, to: 20 })) };
        assert_eq!(out(told, &mut at).0.len(), 1);
        assert_eq!(out(output(20, b"d"), &mut at).0.len(), 1, "told once");
    }

    #[test]
    fn input_is_numbered_by_whoever_cares() {
        let mut sequence = Sequence(4);
        let number = |input: Option<TerminalInput>| match input.unwrap().frame {
            Some(terminal_input::Frame::Input(input)) => input.sequence,
            other => panic!("{other:?}"),
        };
        assert_eq!(number(sequence.said(Message::binary(&b"a"[..])).unwrap()), 5);
        assert_eq!(number(sequence.said(Message::text(r#"{"type":"input","text":"b"}"#)).unwrap()), 6);
        assert_eq!(number(sequence.said(Message::text(r#"{"type":"input","sequence":6,"text":"b"}"#)).unwrap()), 6);
        for bad in ["", "{}", r#"{"type":"credit"}"#, r#"{"type":"resize","columns":-1,"rows":1}"#] {
            assert!(sequence.said(Message::text(bad)).unwrap_err().message.starts_with("frame:"), "{bad}");
        }
    }
}
