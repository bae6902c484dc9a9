//! One server a data folder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use remora_proto_model::{Fault, Reason};

use super::StateError;

/// Longest note of a holder that is shown, in bytes.
const NOTE_BYTES: u64 = 200;

/// Takes the lock; the kernel drops it with the process, however that ends.
pub(super) fn take(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("server.lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Whatever stands there is only for the message.
            let _ = (&mut file).take(NOTE_BYTES).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another server".to_owned(),
                note => note.to_owned(),
            };
            return Err(StateError::Fault(
                Fault::new(Reason::FailedPrecondition, format!("{} is in use by {holder}", folder.display()))
                    .hint("use that server, or end it first, or give another data folder"),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "process {}", std::process::id())?;
    Ok(file)
}
