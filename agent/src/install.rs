//! The role `install`: the agent's own binary into a volume that the user's
//! container mounts, and the secret that its shim and the agent share.
//!
//! It runs before the containers of a pod, and again whenever the pod's sandbox is
//! made anew: what is there already is either replaced in one step or kept.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use remora_proto::model::{Fault, Reason, errno_reason};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::shims::Secret;

/// This program's file, also where its name is gone by now.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// Everybody in the container may run it, nobody may change it.
const EXECUTABLE_MODE: u32 = 0o555;
/// The secret is for the user of the pod alone.
const SECRET_MODE: u32 = 0o600;
/// Bytes of a secret before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;
/// Longest file that is read as a secret, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 4_096;

/// The command line of `remora-agent install`.
#[derive(clap::Args, Clone, Debug)]
pub struct InstallArgs {
    /// Where this program is copied to; what is there is replaced in one step
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Where a random secret is written for the shims and the agent; one that is there is kept
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Installs; 0 or the exit code of what went wrong.
pub fn install(args: InstallArgs) -> ExitCode {
    let InstallArgs { to, secret_file } = args;
    let installed = place_executable(&to).and_then(|()| secret_file.as_deref().map_or(Ok(()), keep_secret));
    match installed {
        Ok(()) => {
            tracing::info!(to = %to.display(), role = "install", "done");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            tracing::error!(reason = %fault.reason, "install failed: {fault}");
            ExitCode::from(fault.reason.exit_code())
        }
    }
}

fn place_executable(to: &Path) -> Result<(), Fault> {
    let mut own = File::open(OWN_EXECUTABLE).map_err(|error| refused("read", Path::new(OWN_EXECUTABLE), &error))?;
    let fresh = Fresh::write(to, EXECUTABLE_MODE, |file| io::copy(&mut own, file).map(drop))?;
    fresh.replace()
}

/// Writes a secret where none is that a shim would take. A shim that read one lives on
/// when this role runs again, so the one that is there stays.
fn keep_secret(path: &Path) -> Result<(), Fault> {
    let found = read_secret(path)?;
    if found == Found::Usable {
        return Ok(());
    }
    let mut secret = [0; SECRET_BYTES];
    getrandom(&mut secret, GetRandomFlags::empty()).map_err(|errno| {
        Fault::new(Reason::Unavailable, format!("the system gives no random bytes: {errno}"))
            .errno(errno.raw_os_error())
    })?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let fresh = Fresh::write(path, SECRET_MODE, |file| io::Write::write_all(file, text.as_bytes()))?;
    if found == Found::Nothing {
        return fresh.place_where_nothing_is();
    }
    tracing::warn!(path = %path.display(), "what is there is no secret that a shim takes; it is replaced");
    fresh.replace()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Usable,
    Unusable,
}

fn read_secret(path: &Path) -> Result<Found, Fault> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_file() => {}
        Ok(_) => {
            return Err(Fault::new(
                Reason::NotARegularFile,
                format!("--secret-file {}: it is no file", path.display()),
            )
            .hint("remove it, or name another file"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(refused("look at", path, &error)),
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| refused("read", path, &error))?;
    let usable = bytes.len() as u64 <= MAX_SECRET_FILE_BYTES && Secret::new(&bytes).is_ok();
    Ok(if usable { Found::Usable } else { Found::Unusable })
}

/// A whole file under a name that nobody looks for, on its way to its own.
struct Fresh<'a> {
    temporary: PathBuf,
    folder: PathBuf,
    path: &'a Path,
}

impl<'a> Fresh<'a> {
    fn write(path: &'a Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Self, Fault> {
        let Some(name) = path.file_name() else {
            return Err(Fault::invalid("the file to write", format!("{} names no file", path.display())));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| refused("make the folder", folder, &error))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let fresh = Fresh { temporary: folder.join(hidden), folder: folder.to_owned(), path };
        // In a container every process has the same few numbers: it may be what a killed one left.
        let _ = fs::remove_file(&fresh.temporary);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh.temporary)
            .and_then(|mut file| {
                fill(&mut file)?;
                file.set_permissions(Permissions::from_mode(mode))?;
                file.sync_all()
            })
            .map_err(|error| refused("write", &fresh.temporary, &error))?;
        Ok(fresh)
    }

    fn replace(self) -> Result<(), Fault> {
        fs::rename(&self.temporary, self.path).map_err(|error| refused("replace", self.path, &error))?;
        self.settle()
    }

    /// Whoever was first keeps the name.
    fn place_where_nothing_is(self) -> Result<(), Fault> {
        match fs::hard_link(&self.temporary, self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(refused("write", self.path, &error)),
            _ => self.settle(),
        }
    }

    fn settle(&self) -> Result<(), Fault> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| refused("flush", &self.folder, &error))
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn refused(action: &str, path: &Path, error: &io::Error) -> Fault {
    let errno = error.raw_os_error();
    let reason = errno.map_or(Reason::IoError, errno_reason);
    let mut fault = Fault::new(reason, format!("cannot {action} {}: {error}", path.display()))
        .hint("name a file in a folder that this user may write to, with room for this program");
    fault.errno = errno;
    fault
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_program_replaces_what_is_there_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a/b/remora-agent");
        place_executable(&to).unwrap();
        let own = fs::read(OWN_EXECUTABLE).unwrap();
        assert!(fs::read(&to).unwrap() == own);
        let first = fs::metadata(&to).unwrap().ino();
        place_executable(&to).unwrap();
        assert!(fs::read(&to).unwrap() == own);
        assert_ne!(fs::metadata(&to).unwrap().ino(), first, "in one step: whoever runs the old one keeps it");
        assert_eq!((mode(&to), names(to.parent().unwrap())), (0o555, vec!["remora-agent".to_owned()]));
    }

    #[test]
    fn a_secret_is_written_once_and_one_that_nobody_could_have_used_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/shim.secret");
        keep_secret(&path).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!((first.len(), mode(&path)), (2 * SECRET_BYTES, 0o600));
        keep_secret(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first, "shims that live know this one");
        for unusable in ["", "short", "sixteen bytes\nand a line break"] {
            fs::write(&path, unusable).unwrap();
            keep_secret(&path).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!((text.len(), text != first), (2 * SECRET_BYTES, true), "{unusable:?}");
        }
        assert_eq!(names(path.parent().unwrap()), ["shim.secret"]);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let below = place_executable(&folder.path().join("file/remora-agent")).unwrap_err();
        assert_eq!(below.reason, Reason::AlreadyExists, "{below}");
        let onto = place_executable(folder.path()).unwrap_err();
        assert_eq!(onto.reason, Reason::IsADirectory, "{onto}");
        let nothing = place_executable(Path::new("/")).unwrap_err();
        assert_eq!(nothing.reason, Reason::InvalidArgument, "{nothing}");
        let secret = keep_secret(folder.path()).unwrap_err();
        assert_eq!(secret.reason, Reason::NotARegularFile, "{secret}");
    }
}
