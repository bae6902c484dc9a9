//! Move: another name for an entry, in one step.

use remora_agent_root::{RelPath, Root};
use remora_proto_model::Reason;
use rustix::{
    fs::{RenameFlags, renameat_with},
    io::Errno,
};

use crate::{FileError, write::exists};

/// Renames the entry at `from` to `to`. A link is moved, not what it names.
/// With `overwrite` a file at `to`, or an empty directory, is replaced.
pub fn move_entry(root: &Root, from: &RelPath, to: &RelPath, overwrite: bool) -> Result<(), FileError> {
    let (from_dir, from_name) = root.open_parent(from)?;
    let (to_dir, to_name) = root.open_parent(to)?;
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    renameat_with(from_dir, from_name, to_dir, to_name, flags).map_err(|errno| match errno {
        Errno::EXIST if !overwrite => exists(to),
        Errno::INVAL => FileError::refused(
            Reason::InvalidArgument,
            format!("\"{from}\" cannot move to \"{to}\", which lies inside it"),
            "name a target outside of the directory that moves",
        ),
        Errno::XDEV => FileError::refused(
            Reason::FailedPrecondition,
            format!("\"{from}\" and \"{to}\" are on different file systems"),
            "use Copy and then Remove",
        ),
        errno => FileError::system("move", from, errno),
    })
}
