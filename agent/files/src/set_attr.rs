//! SetAttr: permission bits and the time of the last change.

use std::os::fd::AsRawFd as _;

use remora_agent_root::{EntryKind, RelPath, Root, RootError};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, CWD, Mode, Timespec, Timestamps, UTIME_OMIT, chmodat, fstat, utimensat},
    io::Errno,
};

use crate::{FileError, Metadata};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// What to set; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-id and sticky bits.
    pub mode: Option<u32>,
    /// Last change of the content.
    pub modified: Option<Time>,
}

/// Sets attributes of the file or directory at `path`, following a last link.
pub fn set_attr(root: &Root, path: &RelPath, attributes: Attributes) -> Result<Metadata, FileError> {
    if attributes.mode.is_some_and(|mode| mode > 0o7777) {
        return Err(FileError::refused(Reason::InvalidArgument, "mode: more than permission bits", "send 0 to 07777"));
    }
    if attributes.modified.is_some_and(|time| time.nanos >= 1_000_000_000) {
        return Err(FileError::refused(
            Reason::InvalidArgument,
            "modified: nanoseconds past a second",
            "send 0 to 999999999",
        ));
    }
    let fd = root.open_path(path, true)?;
    let system = |errno: Errno| FileError::system("set attributes of", path, errno);
    match EntryKind::of_mode(fstat(&fd).map_err(system)?.st_mode) {
        EntryKind::File | EntryKind::Directory => {}
        kind => return Err(RootError::NotRegular { path: path.to_string(), kind: kind.as_str() }.into()),
    }
    // The kernel takes no O_PATH descriptor for these two; its name under /proc
    // leads to the very same file, also where that may not be opened for reading.
    let same = format!("/proc/self/fd/{}", fd.as_raw_fd());
    if let Some(mode) = attributes.mode {
        chmodat(CWD, &same, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(system)?;
    }
    if let Some(time) = attributes.modified {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
        };
        utimensat(CWD, &same, &times, AtFlags::empty()).map_err(system)?;
    }
    Ok(Metadata::of(&fstat(&fd).map_err(system)?))
}
