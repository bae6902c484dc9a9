//! Edit: changes to one or many files, all of them or none.

use std::{fs::File, io::Read as _};

use remora_agent_root::{RelPath, Root};
use remora_proto_model::Reason;
use rustix::{fs::fstat, io::Errno};
use similar::TextDiff;

use crate::{
    Condition, FileError, WriteOptions, Writer, Written, etag,
    limits::{DIFF_BUDGET, MAX_DIFF_BYTES, MAX_EDIT_BYTES, MAX_EDIT_FILES, MAX_EDIT_TOTAL_BYTES},
};

mod apply;

pub use apply::Change;

/// The changes to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdit {
    /// Which file.
    pub path: RelPath,
    /// The version that was read; `None` takes whatever is there.
    pub if_match: Option<String>,
    /// What to change, in order; each sees what those before it made.
    pub changes: Vec<Change>,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdited {
    /// Which file.
    pub path: RelPath,
    /// The version after the edit; of a dry run, the version that is there.
    pub etag: String,
    /// What changed, as a unified diff; bytes that are no UTF-8 are shown replaced.
    pub diff: String,
    /// Whether the diff was cut to its bound.
    pub diff_cut: bool,
}

struct Planned {
    path: RelPath,
    etag: String,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// Makes all `edits`, or none where one does not fit. With `dry_run` only says
/// what would change.
pub fn edit(root: &Root, edits: &[FileEdit], dry_run: bool) -> Result<Vec<FileEdited>, FileError> {
    let plan = plan(root, edits)?;
    let mut results: Vec<FileEdited> = plan.iter().map(result).collect();
    if !dry_run {
        for (result, etag) in results.iter_mut().zip(carry_out(root, &plan)?) {
            result.etag = etag;
        }
    }
    Ok(results)
}

fn plan(root: &Root, edits: &[FileEdit]) -> Result<Vec<Planned>, FileError> {
    if edits.is_empty() || edits.len() > MAX_EDIT_FILES {
        return Err(FileError::refused(
            Reason::InvalidArgument,
            format!("files: {} files in one edit", edits.len()),
            format!("send 1 to {MAX_EDIT_FILES}"),
        ));
    }
    let (mut planned, mut total) = (Vec::<Planned>::new(), 0);
    for edit in edits {
        if planned.iter().any(|earlier| earlier.path == edit.path) {
            return Err(FileError::refused(
                Reason::InvalidArgument,
                format!("files: \"{}\" is named twice", edit.path),
                "send all changes to one file together, in order",
            ));
        }
        let (etag, old) = whole(root, edit, &mut total)?;
        let mut new = old.clone();
        for change in &edit.changes {
            new = apply::apply(&edit.path, &new, change)?;
        }
        planned.push(Planned { path: edit.path.clone(), etag, old, new });
    }
    Ok(planned)
}

/// The file's version and content.
fn whole(root: &Root, edit: &FileEdit, total: &mut u64) -> Result<(String, Vec<u8>), FileError> {
    let path = &edit.path;
    let fd = root.open_read(path)?;
    let stat = fstat(&fd).map_err(|errno| FileError::system("look at", path, errno))?;
    if let Some(wanted) = &edit.if_match {
        etag::check(path, wanted, &stat)?;
    }
    let mut content = Vec::new();
    let bound = MAX_EDIT_BYTES.min(MAX_EDIT_TOTAL_BYTES.saturating_sub(*total));
    File::from(fd)
        .take(bound + 1)
        .read_to_end(&mut content)
        .map_err(|error| FileError::system("read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    if content.len() as u64 > bound {
        return Err(FileError::refused(
            Reason::TooLarge,
            format!("\"{path}\" is too large to edit"),
            format!(
                "an edit takes files up to {MAX_EDIT_BYTES} bytes, {MAX_EDIT_TOTAL_BYTES} in all; use Write for larger ones"
            ),
        ));
    }
    *total += content.len() as u64;
    Ok((etag::of(&stat), content))
}

/// Writes every file aside before the first one is replaced, so that what can
/// fail has mostly failed by then; a later failure puts the replaced ones back.
fn carry_out(root: &Root, plan: &[Planned]) -> Result<Vec<String>, FileError> {
    let mut writers = Vec::with_capacity(plan.len());
    for file in plan {
        writers.push(prepare(root, &file.path, file.etag.clone(), &file.new)?);
    }
    let mut done: Vec<Written> = Vec::with_capacity(plan.len());
    for writer in writers {
        match writer.commit() {
            Ok(written) => done.push(written),
            Err(error) => return Err(put_back(root, plan, &done, error)),
        }
    }
    Ok(done.into_iter().map(|written| written.etag).collect())
}

fn prepare(root: &Root, path: &RelPath, etag: String, content: &[u8]) -> Result<Writer, FileError> {
    let options = WriteOptions { condition: Condition::IfMatch(etag), ..WriteOptions::default() };
    let mut writer = Writer::begin(root, path, options)?;
    writer.write(content)?;
    Ok(writer)
}

fn put_back(root: &Root, plan: &[Planned], done: &[Written], cause: FileError) -> FileError {
    let left: Vec<String> = plan
        .iter()
        .zip(done)
        .filter(|(file, written)| {
            prepare(root, &file.path, written.etag.clone(), &file.old).and_then(Writer::commit).is_err()
        })
        .map(|(file, _)| file.path.to_string())
        .collect();
    if left.is_empty() {
        return cause;
    }
    FileError::refused(
        cause.reason(),
        format!("{cause}; the edit could not be undone in {}", left.join(", ")),
        "read these files again before you go on",
    )
}

fn result(file: &Planned) -> FileEdited {
    let (old, new) = (String::from_utf8_lossy(&file.old), String::from_utf8_lossy(&file.new));
    let name = file.path.to_string();
    // Of two files without a line in common the shortest diff is not worth its time.
    let mut diff = TextDiff::configure()
        .timeout(DIFF_BUDGET)
        .diff_lines(old.as_ref(), new.as_ref())
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string();
    let diff_cut = diff.len() > MAX_DIFF_BYTES;
    if diff_cut {
        let mut end = MAX_DIFF_BYTES;
        while !diff.is_char_boundary(end) {
            end -= 1;
        }
        diff.truncate(end);
    }
    FileEdited { path: file.path.clone(), etag: file.etag.clone(), diff, diff_cut }
}
