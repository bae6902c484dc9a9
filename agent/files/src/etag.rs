//! The version of a file, as a short word.

use remora_agent_root::RelPath;
use remora_proto_model::Reason;
use rustix::fs::Stat;

use crate::FileError;

/// The version of the file that `stat` describes. Made of its identity, size
/// and change time, which the kernel moves on with every write: reading a file
/// of gigabytes for its version would cost more than any call that asks.
pub(crate) fn of(stat: &Stat) -> String {
    let words = [
        stat.st_dev as i128,
        stat.st_ino as i128,
        stat.st_size as i128,
        stat.st_mtime as i128,
        stat.st_mtime_nsec as i128,
        stat.st_ctime as i128,
        stat.st_ctime_nsec as i128,
    ];
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    hex::encode(&hasher.finalize().as_bytes()[..12])
}

/// Refuses unless the file is the version `wanted`.
pub(crate) fn check(path: &RelPath, wanted: &str, stat: &Stat) -> Result<(), FileError> {
    let found = of(stat);
    if found == wanted {
        return Ok(());
    }
    Err(FileError::refused(
        Reason::EtagMismatch,
        format!("\"{path}\" has changed: its etag is {found}, not {}", wanted.escape_debug()),
        "read it again and repeat the change on what is there now",
    ))
}
