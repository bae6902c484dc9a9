//! `remora fs edit NAME PATH`.

use std::{ffi::OsString, io::Write as _};

use clap::{ArgGroup, Args};
use remora_proto::{
    agent::v1::{EditRequest, FileEdit, FileEdited, LinesReplace, TextChange, TextReplace, text_change::Change},
    convert::files::Edit,
};
use remora_proto_model::{Fault, ProjectName, Reason};
use serde::Serialize;

use super::wire_path;
use crate::{
    Context, Failure,
    args::parse_lines,
    clients,
    output::{OutputArgs, escape_bytes, note, print_one, stdout_is_terminal, stdout_takes_colour},
    project_name::project_name,
    view::file::PathView,
};

/// Flags of `remora fs edit`.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["old", "lines"])))]
pub struct EditArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Path in the workspace.
    path: OsString,
    /// Text that is there, exactly.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    old: Option<String>,
    /// Lines to replace; FIRST:FIRST-1 puts new ones before FIRST.
    #[arg(long, value_name = "FIRST:LAST", value_parser = parse_lines)]
    lines: Option<(u64, Option<u64>)>,
    /// Text that takes its place; lines get an end where they have none.
    #[arg(long, value_name = "TEXT", required = true, allow_hyphen_values = true)]
    new: String,
    /// How many times the old text must be there.
    #[arg(long, default_value_t = 1, conflicts_with = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Fail unless the file has this version.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Only print what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edited {
    #[serde(flatten)]
    path: PathView,
    etag: String,
    diff: String,
    diff_is_cut: bool,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: EditArgs) -> Result<(), Failure> {
    let change = match (args.old, args.lines) {
        (Some(old), _) => Change::Replace(TextReplace { old: old.into(), new: args.new.into(), expected: args.count }),
        (None, Some((first, Some(last)))) => {
            Change::Lines(LinesReplace { first, last, new: whole_lines(args.new).into() })
        }
        (None, _) => {
            return Err(Failure::usage("--lines needs a last line here", "write FIRST:LAST or LINE"));
        }
    };
    let edit = FileEdit {
        path: wire_path(args.path),
        if_match: args.if_match.unwrap_or_default(),
        changes: vec![TextChange { change: Some(change) }],
    };
    let request = EditRequest { edits: vec![edit], dry_run: args.dry_run };
    Edit::try_from(request.clone())?;
    let mut files = clients::files(context, &args.name).await?;
    let answer = files.edit(request).await?.into_inner();
    let file = answer.files.into_iter().next();
    let FileEdited { path, etag, diff, truncated } =
        file.ok_or_else(|| Fault::new(Reason::Internal, "the agent answered for no file"))?;
    let edited = Edited { path: path.to_vec().into(), etag, diff, diff_is_cut: truncated.is_some() };
    print_one(args.output.format, &edited, edited.etag.as_bytes(), |text| {
        text.write_all(shown(&edited.diff, stdout_is_terminal(), stdout_takes_colour()).as_bytes())
    })?;
    if edited.diff_is_cut {
        note("remora: the difference is longer than what is shown; the file has all of it");
    }
    Ok(())
}

/// Lines with an end: `new` takes the place of whole ones.
fn whole_lines(mut new: String) -> String {
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    new
}

/// A unified diff: as it is for programs, harmless and in colours for a person.
fn shown(diff: &str, terminal: bool, colour: bool) -> String {
    if !terminal {
        return diff.to_owned();
    }
    let mut text = String::with_capacity(diff.len());
    for line in diff.lines() {
        let parts: Vec<_> = line.split('\t').map(|part| escape_bytes(part.as_bytes())).collect();
        let line = parts.join("\t");
        let code = match line.as_bytes().first() {
            Some(b'+') => "32",
            Some(b'-') => "31",
            Some(b'@') => "36",
            _ => "",
        };
        match (colour, code) {
            (true, code) if !code.is_empty() => text.push_str(&format!("\x1b[{code}m{line}\x1b[0m\n")),
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_exact_in_a_pipe_and_harmless_on_a_terminal() {
        let diff = "@@ -1 +1 @@\n-a\x1b[2J\n+\tb\n";
        assert_eq!(shown(diff, false, false), diff);
        assert_eq!(shown(diff, true, false), "@@ -1 +1 @@\n-a\\x1b[2J\n+\tb\n");
        assert_eq!(shown("+b\n", true, true), "\x1b[32m+b\x1b[0m\n");
    }

    #[test]
    fn lines_are_whole() {
        assert_eq!(whole_lines("a".to_owned()), "a\n");
        assert_eq!(whole_lines("a\n".to_owned()), "a\n");
        assert_eq!(whole_lines(String::new()), "");
    }
}
