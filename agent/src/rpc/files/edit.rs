//! Edit: changes to one or several files.

use remora_agent_files::{Change, FileEdit, edit as apply, limits::MAX_DIFF_BYTES};
use remora_agent_root::{RelPath, Root};
use remora_proto::{
    agent::v1::{EditRequest, EditResponse, FileEdited, Truncated, truncated},
    convert::files::{Change as Wanted, Edit, FileChanges},
    model::Fault,
};

pub(super) fn edit(root: &Root, request: EditRequest) -> Result<EditResponse, Fault> {
    let request = Edit::try_from(request)?;
    let edits = request.files.into_iter().map(file).collect::<Result<Vec<_>, Fault>>()?;
    let edited = apply(root, &edits, request.dry_run)?.into_iter().map(|file| FileEdited {
        path: file.path.as_bytes().to_vec().into(),
        etag: file.etag,
        diff: file.diff,
        truncated: file.diff_cut.then(|| Truncated {
            reason: truncated::Reason::Bytes.into(),
            limit: MAX_DIFF_BYTES as u64,
            total: 0,
        }),
    });
    Ok(EditResponse { files: edited.collect() })
}

fn file(changes: FileChanges) -> Result<FileEdit, Fault> {
    let change = |change| match change {
        Wanted::Replace { old, new, expected } => Change::Replace { old: old.into(), new: new.into(), expected },
        Wanted::Lines { first, last, new } => Change::Lines { first, last, new: new.into() },
    };
    Ok(FileEdit {
        path: RelPath::new(&changes.path)?,
        if_match: changes.if_match,
        changes: changes.changes.into_iter().map(change).collect(),
    })
}
