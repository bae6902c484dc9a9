//! `remora fs watch NAME [PATH]`.

use std::ffi::OsString;

use clap::Args;
use remora_proto::{
    agent::v1::{WatchBatch, WatchRequest, watch_change::Kind},
    fault::from_status,
};
use remora_proto_model::ProjectName;
use serde::Serialize;

use super::wire_path;
use crate::{
    Context, Failure, clients,
    output::{Format, OutputArgs, escape_bytes, note, print, stdout_is_terminal},
    patience::Patience,
    project_name::project_name,
    view::file::PathView,
};

/// Flags of `remora fs watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Folder in the workspace; the workspace itself where none is given.
    #[arg(default_value = "")]
    path: OsString,
    /// Only paths that match; repeat for more.
    #[arg(short, long = "glob", value_name = "PATTERN", allow_hyphen_values = true)]
    globs: Vec<String>,
    /// Leave out hidden files and what .gitignore and .ignore leave out.
    #[arg(long)]
    ignore_rules: bool,
    /// Milliseconds within which changes are told together.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    every: u32,
    /// End after the first batch with changes.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A change as a line of JSON.
#[derive(Serialize)]
struct ChangeView {
    kind: &'static str,
    #[serde(flatten)]
    path: PathView,
}

/// Runs the verb. It ends when it is interrupted, or with --once.
pub(crate) async fn run(context: &Context, args: WatchArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let request = WatchRequest {
        path: wire_path(args.path),
        globs: args.globs,
        ignore_rules: args.ignore_rules,
        coalesce_ms: args.every,
    };
    let mut patience = Patience::default();
    let mut again = false;
    loop {
        let cut = match files.watch(request.clone()).await {
            Err(status) => status,
            Ok(response) => {
                let mut batches = response.into_inner();
                loop {
                    match batches.message().await {
                        Ok(Some(mut batch)) => {
                            patience.reset();
                            // What happened between two connections nobody told.
                            batch.resync |= std::mem::take(&mut again);
                            say_state(&batch);
                            print(&lines(&batch, args.output.format, stdout_is_terminal()))?;
                            if args.once && (batch.resync || !batch.changes.is_empty()) {
                                return Ok(());
                            }
                        }
                        Ok(None) => break tonic::Status::unavailable("the watch ended"),
                        Err(status) => break status,
                    }
                }
            }
        };
        again = true;
        patience.wait_or_give_up(from_status(&cut)).await?;
    }
}

fn say_state(batch: &WatchBatch) {
    if batch.cursor != 1 {
        return;
    }
    if batch.polling {
        note("remora: watching by looking every few seconds: the system's budget for watches is used up");
    } else {
        note("remora: watching");
    }
}

/// A line a change; `RESYNC` where something was missed.
fn lines(batch: &WatchBatch, format: Format, terminal: bool) -> Vec<u8> {
    let mut text = Vec::new();
    if batch.resync {
        match format {
            Format::Json => text.extend_from_slice(b"{\"kind\":\"resync\"}\n"),
            Format::Yaml => text.extend_from_slice(b"- kind: resync\n"),
            Format::Name => {}
            Format::Table | Format::Wide => text.extend_from_slice(b"RESYNC\n"),
        }
    }
    for change in &batch.changes {
        let kind = match change.kind() {
            Kind::Created => "created",
            Kind::Modified => "modified",
            Kind::Removed => "removed",
            Kind::Unspecified => "unknown",
        };
        let view = ChangeView { kind, path: change.path.to_vec().into() };
        match format {
            Format::Json => text.extend(serde_json::to_vec(&view).expect("plain values are JSON")),
            Format::Yaml => {
                text.extend(serde_norway::to_string(&[view]).expect("plain values are YAML").trim_end().bytes());
            }
            Format::Name if !terminal => text.extend_from_slice(&change.path),
            Format::Name => text.extend(escape_bytes(&change.path).bytes()),
            Format::Table | Format::Wide => {
                text.extend(format!("{:<9}{}", kind.to_uppercase(), view.path.shown()).bytes());
            }
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::WatchChange;

    use super::*;

    #[test]
    fn each_change_is_a_line() {
        let change = |path: &[u8], kind: Kind| WatchChange { path: path.to_vec().into(), kind: kind.into() };
        let changes = vec![change(b"a\nb", Kind::Created), change(b"c", Kind::Removed)];
        let batch = WatchBatch { cursor: 2, changes, resync: true, polling: false };
        let text = |format| String::from_utf8(lines(&batch, format, true)).unwrap();
        assert_eq!(text(Format::Table), "RESYNC\nCREATED  a\\nb\nREMOVED  c\n");
        assert_eq!(text(Format::Name), "a\\nb\nc\n");
        for line in text(Format::Json).lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        let yaml: serde_json::Value = serde_norway::from_str(&text(Format::Yaml)).unwrap();
        assert_eq!(yaml.as_array().unwrap().len(), 3);
    }
}
