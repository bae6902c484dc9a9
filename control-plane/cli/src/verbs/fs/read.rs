//! `remora fs read NAME PATH`.

use std::ffi::OsString;

use bytes::Bytes;
use clap::Args;
use remora_proto::agent::v1::{ByteRange, LineRange, ReadRequest, ReadResponse, read_request::Range};
use remora_proto_model::ProjectName;

use super::wire_path;
use crate::{
    Context, Failure,
    args::parse_lines,
    clients::{self, Files},
    output::{escape_bytes, note, print, stdout_is_terminal},
    progress::Progress,
    project_name::project_name,
    transfer::download::read_file,
};

/// Flags of `remora fs read`.
#[derive(Args, Clone, Debug)]
pub struct ReadArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Path in the workspace.
    path: OsString,
    /// Only these lines.
    #[arg(long, value_name = "FIRST:LAST", value_parser = parse_lines, conflicts_with_all = ["offset", "length"])]
    lines: Option<(u64, Option<u64>)>,
    /// Begin at this byte.
    #[arg(long, value_name = "BYTES")]
    offset: Option<u64>,
    /// Print this many bytes.
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
    /// Put the number of each line before it, as on a terminal.
    #[arg(short, long, conflicts_with_all = ["offset", "length", "raw"])]
    number: bool,
    /// Print the bytes as they are, even on a terminal.
    #[arg(long)]
    raw: bool,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: ReadArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let path = wire_path(args.path);
    let for_person = !args.raw && (args.number || stdout_is_terminal());
    if args.offset.is_some() || args.length.is_some() {
        return bytes(&mut files, path, args.offset.unwrap_or(0), args.length.unwrap_or(u64::MAX), for_person).await;
    }
    let (first, last) = args.lines.unwrap_or((1, None));
    if for_person {
        return numbered(&mut files, path, first, last).await;
    }
    // A page of lines clips those that are very long; bytes are exact.
    let mut cut = LineCut::new(first, last);
    let all = args.lines.is_none();
    let read = read_file(&mut files, path, &Progress::hidden(), async |page| {
        let wanted = if all { &page[..] } else { cut.take(&page) };
        print(wanted)?;
        if !all && cut.over() { Err(done()) } else { Ok(()) }
    })
    .await;
    match read {
        Err(failure) if is_done(&failure) => Ok(()),
        other => other.map(drop),
    }
}

/// Everything that was asked for is printed; the rest need not come.
fn done() -> Failure {
    Failure::Code(0)
}

fn is_done(failure: &Failure) -> bool {
    matches!(failure, Failure::Code(0))
}

async fn bytes(files: &mut Files, path: Bytes, offset: u64, length: u64, for_person: bool) -> Result<(), Failure> {
    let (mut offset, mut left, mut etag) = (offset, length, String::new());
    while left > 0 {
        let length = u32::try_from(left).unwrap_or(u32::MAX).min(crate::limits::CHUNK_BYTES as u32);
        let range = Some(Range::Bytes(ByteRange { offset, length }));
        let page = files.read(ReadRequest { path: path.clone(), range, if_match: etag }).await?.into_inner();
        if for_person {
            print(escape_lines(&page.data).as_bytes())?
        } else {
            print(&page.data)?
        }
        left -= page.data.len() as u64;
        let Some(next) = page.next else { break };
        offset = next;
        etag = page.etag;
    }
    Ok(())
}

async fn numbered(files: &mut Files, path: Bytes, first: u64, last: Option<u64>) -> Result<(), Failure> {
    let (mut line, mut etag, mut clipped) = (first, String::new(), 0);
    let mut left = last.map_or(u64::MAX, |last| (last + 1).saturating_sub(first));
    while left > 0 {
        let range = Some(Range::Lines(LineRange { first: line, count: left.min(2_000), numbered: false }));
        let ReadResponse { data, etag: now, next, clipped_lines, binary, .. } =
            files.read(ReadRequest { path: path.clone(), range, if_match: etag }).await?.into_inner();
        if binary && line == first {
            note("remora: this is a binary file; --raw prints its bytes");
        }
        print(number_lines(&data, line).as_bytes())?;
        clipped += clipped_lines;
        let Some(next) = next else { break };
        left -= (next - line).min(left);
        (line, etag) = (next, now);
    }
    if clipped > 0 {
        note(&format!("remora: {clipped} very long lines are clipped here; into a pipe they come whole"));
    }
    Ok(())
}

/// Lines with their numbers, harmless to a terminal.
fn number_lines(data: &[u8], first: u64) -> String {
    let mut text = String::with_capacity(data.len() + data.len() / 8);
    for (number, line) in (first..).zip(data.split_inclusive(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        text.push_str(&format!("{number:>6}\t{}\n", escape_line(line)));
    }
    text
}

/// A line for a person: tabs stay, what else acts is written out.
fn escape_line(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let parts: Vec<_> = line.split(|byte| *byte == b'\t').map(escape_bytes).collect();
    parts.join("\t")
}

fn escape_lines(data: &[u8]) -> String {
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').map(escape_line).collect();
    lines.join("\n")
}

/// Cuts a range of lines out of bytes that come page by page.
#[derive(Debug)]
struct LineCut {
    line: u64,
    first: u64,
    last: u64,
}

impl LineCut {
    fn new(first: u64, last: Option<u64>) -> Self {
        LineCut { line: 1, first, last: last.unwrap_or(u64::MAX) }
    }

    fn over(&self) -> bool {
        self.line > self.last
    }

    fn take<'a>(&mut self, page: &'a [u8]) -> &'a [u8] {
        let mut begin = if self.line >= self.first { Some(0) } else { None };
        let mut end = page.len();
        for (at, _) in page.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            if self.line == self.first {
                begin = Some(at + 1);
            }
            if self.line > self.last {
                end = at + 1;
                break;
            }
        }
        match begin {
            Some(begin) if begin < end => &page[begin..end],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(first: u64, last: Option<u64>, pages: &[&str]) -> String {
        let mut cut = LineCut::new(first, last);
        let mut text = String::new();
        for page in pages {
            text.push_str(std::str::from_utf8(cut.take(page.as_bytes())).unwrap());
            if cut.over() {
                break;
            }
        }
        text
    }

    #[test]
    fn lines_are_cut_out_exactly_wherever_pages_end() {
        let content = "one\ntwo\n\nfour\nfive";
        for at in 0..=content.len() {
            let pages = [&content[..at], &content[at..]];
            assert_eq!(cut(2, Some(4), &pages), "two\n\nfour\n", "page ends at {at}");
            assert_eq!(cut(1, Some(1), &pages), "one\n");
            assert_eq!(cut(4, None, &pages), "four\nfive");
            assert_eq!(cut(5, Some(9), &pages), "five");
            assert_eq!(cut(6, None, &pages), "");
            assert_eq!(cut(3, Some(2), &pages), "");
        }
    }

    #[test]
    fn numbered_lines_cannot_drive_the_terminal() {
        assert_eq!(number_lines(b"a\tb\r\n\x1b[2J\nend", 9), "     9\ta\tb\n    10\t\\x1b[2J\n    11\tend\n");
        assert_eq!(escape_lines(b"a\n\x07b\n"), "a\n\\x07b\n");
    }
}
