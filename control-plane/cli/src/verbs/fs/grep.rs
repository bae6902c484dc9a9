//! `remora fs grep NAME PATTERN [PATH]`, with the flags and the output of grep(1).

use std::{ffi::OsString, fmt::Write as _};

use clap::Args;
use remora_proto::agent::v1::{
    GrepRequest, GrepResult, GrepSpan, GrepSummary, grep_event::Event, grep_request::Mode, truncated,
};
use remora_proto_model::{Fault, ProjectName, Reason};
use serde::Serialize;

use super::wire_path;
use crate::{
    Context, Failure, clients,
    output::{
        Column, Format, Listed, Listing, OutputArgs, escape_bytes, note, print, stdout_is_terminal, stdout_takes_colour,
    },
    project_name::project_name,
    view::file::PathView,
};

/// Flags of `remora fs grep`.
#[derive(Args, Clone, Debug)]
pub struct GrepArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Regular expression (Rust syntax, linear time).
    #[arg(allow_hyphen_values = true)]
    pattern: String,
    /// Folder or file to look in; the workspace where none is given.
    #[arg(default_value = "")]
    path: OsString,
    /// Take the pattern as it is and not as an expression.
    #[arg(short = 'F', long)]
    fixed_strings: bool,
    /// Small and large letters are the same.
    #[arg(short, long)]
    ignore_case: bool,
    /// Only whole words.
    #[arg(short, long)]
    word_regexp: bool,
    /// Let a match span lines.
    #[arg(short = 'U', long)]
    multiline: bool,
    /// Only files that match; one that begins with ! leaves out; repeat for more.
    #[arg(short, long = "glob", value_name = "PATTERN", allow_hyphen_values = true)]
    globs: Vec<String>,
    /// Search hidden files too, and what .gitignore and .ignore leave out.
    #[arg(long)]
    no_ignore: bool,
    /// Only the paths of files with a match.
    #[arg(short = 'l', long, conflicts_with = "count")]
    files_with_matches: bool,
    /// Only the number of matching lines of each file.
    #[arg(short, long)]
    count: bool,
    /// Lines after each match.
    #[arg(short = 'A', long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=20))]
    after_context: Option<u32>,
    /// Lines before each match.
    #[arg(short = 'B', long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=20))]
    before_context: Option<u32>,
    /// Lines before and after each match.
    #[arg(short = 'C', long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=20))]
    around: Option<u32>,
    /// Most results.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Most seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    time: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// A result in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultView {
    #[serde(flatten)]
    path: PathView,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Bytes from start up to, not with, end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    matches: Vec<(u32, u32)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    context: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl ResultView {
    fn new(result: GrepResult, mode: Mode) -> Self {
        let content = mode == Mode::Content;
        ResultView {
            path: result.path.to_vec().into(),
            line: content.then_some(result.line),
            offset: content.then_some(result.offset),
            text: content.then(|| String::from_utf8_lossy(&result.text).into_owned()),
            matches: result.spans.iter().map(|span| (span.start, span.end)).collect(),
            context: result.context,
            clipped: result.clipped,
            count: (mode == Mode::Count).then_some(result.count),
        }
    }
}

impl Listed for ResultView {
    const COLUMNS: &'static [Column] = &[];

    fn cells(&self) -> Vec<String> {
        Vec::new()
    }

    fn name(&self) -> Vec<u8> {
        self.path.bytes.clone()
    }
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: GrepArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let names_only = args.files_with_matches || args.output.format == Format::Name;
    let mode = match (names_only, args.count) {
        (true, _) => Mode::Files,
        (false, true) => Mode::Count,
        (false, false) => Mode::Content,
    };
    let request = GrepRequest {
        path: wire_path(args.path),
        pattern: args.pattern,
        literal: args.fixed_strings,
        ignore_case: args.ignore_case,
        whole_words: args.word_regexp,
        multiline: args.multiline,
        globs: args.globs,
        no_ignore_rules: args.no_ignore,
        mode: mode.into(),
        before_context: args.before_context.or(args.around).unwrap_or(0),
        after_context: args.after_context.or(args.around).unwrap_or(0),
        max_results: args.limit,
        time_budget_ms: args.time * 1_000,
    };
    let with_context = request.before_context + request.after_context > 0;
    let mut printer =
        Printer { last: None, with_context, terminal: stdout_is_terminal(), colour: stdout_takes_colour() };
    let for_people = matches!(args.output.format, Format::Table | Format::Wide);
    let mut listing = Listing::new(args.output.format);
    let mut events = files.grep(request).await?.into_inner();
    let summary = loop {
        match events.message().await?.map(|message| message.event) {
            Some(Some(Event::Batch(batch))) if for_people => print(&printer.batch(&batch.results, mode))?,
            Some(Some(Event::Batch(batch))) => {
                let results: Vec<_> = batch.results.into_iter().map(|result| ResultView::new(result, mode)).collect();
                listing.push(&results)?;
            }
            Some(Some(Event::Done(summary))) => break summary,
            Some(None) => {}
            None => {
                return Err(Fault::new(Reason::Unavailable, "the search ended without its summary")
                    .hint("try again")
                    .into());
            }
        }
    };
    if !for_people {
        listing.finish()?;
    }
    say_left_out(&summary);
    match (summary.truncated, summary.matches) {
        (Some(cut), _) if cut.reason() == truncated::Reason::Time => {
            Err(Failure::Code(Reason::DeadlineExceeded.exit_code()))
        }
        // As grep(1): 1 is nothing found.
        (_, 0) => Err(Failure::Code(1)),
        _ => Ok(()),
    }
}

/// What was not searched or not shown is said, so that nobody takes a part for the whole.
fn say_left_out(summary: &GrepSummary) {
    if let Some(cut) = &summary.truncated {
        let what = match cut.reason() {
            truncated::Reason::Time => format!("the time of {} ms ran out; --time gives more", cut.limit),
            _ => format!("only the first {} results are shown; --limit or a narrower pattern helps", cut.limit),
        };
        note(&format!("remora: not everything is here: {what}"));
    }
    if summary.unreadable_files > 0 {
        note(&format!("remora: {} files could not be read", summary.unreadable_files));
    }
}

struct Printer {
    /// Path and line of the result before.
    last: Option<(Vec<u8>, u64)>,
    with_context: bool,
    terminal: bool,
    colour: bool,
}

impl Printer {
    fn batch(&mut self, results: &[GrepResult], mode: Mode) -> Vec<u8> {
        let mut text = Vec::new();
        for result in results {
            match mode {
                Mode::Files => self.words(&mut text, &result.path, "35"),
                Mode::Count => {
                    self.words(&mut text, &result.path, "35");
                    text.extend_from_slice(format!(":{}", result.count).as_bytes());
                }
                Mode::Content | Mode::Unspecified => self.line(&mut text, result),
            }
            text.push(b'\n');
        }
        text
    }

    fn line(&mut self, text: &mut Vec<u8>, result: &GrepResult) {
        let follows =
            self.last.as_ref().is_some_and(|(path, line)| *path == result.path[..] && line + 1 == result.line);
        if self.with_context && self.last.is_some() && !follows {
            text.extend_from_slice(b"--\n");
        }
        self.last = Some((result.path.to_vec(), result.line));
        let separator = if result.context { "-" } else { ":" };
        self.words(text, &result.path, "35");
        text.extend_from_slice(separator.as_bytes());
        self.words(text, result.line.to_string().as_bytes(), "32");
        text.extend_from_slice(separator.as_bytes());
        let mut shown = 0;
        for GrepSpan { start, end } in &result.spans {
            let (start, end) = (*start as usize, (*end as usize).min(result.text.len()));
            if start < shown || end <= start {
                continue;
            }
            self.words(text, &result.text[shown..start], "");
            self.words(text, &result.text[start..end], "1;31");
            shown = end;
        }
        self.words(text, &result.text[shown..], "");
        if result.clipped {
            self.words(text, b" [clipped]", "2");
        }
    }

    /// Bytes in a colour: harmless where they go to a terminal, as they are where not.
    fn words(&self, text: &mut Vec<u8>, bytes: &[u8], colour: &str) {
        let plain = if self.terminal {
            bytes.split(|byte| *byte == b'\t').map(escape_bytes).collect::<Vec<_>>().join("\t").into_bytes()
        } else {
            bytes.to_vec()
        };
        if !self.colour || colour.is_empty() || plain.is_empty() {
            text.extend_from_slice(&plain);
            return;
        }
        let mut begin = String::new();
        // Writing to a string cannot fail.
        _ = write!(begin, "\x1b[{colour}m");
        text.extend_from_slice(begin.as_bytes());
        text.extend_from_slice(&plain);
        text.extend_from_slice(b"\x1b[0m");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(path: &str, line: u64, text: &str, spans: &[(u32, u32)], context: bool) -> GrepResult {
        GrepResult {
            path: path.as_bytes().to_vec().into(),
            line,
            text: text.as_bytes().to_vec().into(),
            spans: spans.iter().map(|(start, end)| GrepSpan { start: *start, end: *end }).collect(),
            context,
            ..GrepResult::default()
        }
    }

    fn printed(terminal: bool, colour: bool, results: &[GrepResult], mode: Mode) -> String {
        let mut printer = Printer { last: None, with_context: true, terminal, colour };
        String::from_utf8(printer.batch(results, mode)).unwrap()
    }

    #[test]
    fn lines_stand_as_grep_prints_them() {
        let results = [
            result("a", 1, "before", &[], true),
            result("a", 2, "let x", &[(4, 5)], false),
            result("a", 9, "x", &[(0, 1)], false),
            result("b", 10, "x", &[(0, 1)], false),
        ];
        assert_eq!(printed(false, false, &results, Mode::Content), "a-1-before\na:2:let x\n--\na:9:x\n--\nb:10:x\n");
        let coloured = printed(true, true, &results[1..2], Mode::Content);
        assert_eq!(coloured, "\x1b[35ma\x1b[0m:\x1b[32m2\x1b[0m:let \x1b[1;31mx\x1b[0m\n");
    }

    #[test]
    fn a_name_or_line_cannot_drive_the_terminal() {
        let results = [result("a\x1b]0;x\x07", 1, "\x1b[2J\tb", &[(0, 4)], false)];
        let text = printed(true, false, &results, Mode::Content);
        assert_eq!(text, "a\\x1b]0;x\\x07:1:\\x1b[2J\tb\n");
        assert_eq!(printed(false, false, &results, Mode::Files), "a\x1b]0;x\x07\n");
    }

    #[test]
    fn spans_that_make_no_sense_are_left_out() {
        let results = [result("a", 1, "abc", &[(1, 2), (0, 1), (2, 900), (5, 6)], false)];
        assert_eq!(printed(false, false, &results, Mode::Content), "a:1:abc\n");
    }

    #[test]
    fn json_says_what_a_mode_has() {
        let count = GrepResult { count: 3, ..result("a", 0, "", &[], false) };
        assert_eq!(serde_json::to_string(&ResultView::new(count, Mode::Count)).unwrap(), r#"{"path":"a","count":3}"#);
        let line = result("a", 2, "x", &[(0, 1)], false);
        let json = serde_json::to_string(&ResultView::new(line, Mode::Content)).unwrap();
        assert_eq!(json, r#"{"path":"a","line":2,"offset":0,"text":"x","matches":[[0,1]]}"#);
    }
}
