//! What keeps a program in one folder: the kernel, by Landlock and a filter of
//! system calls. For callers whose whole world is a folder, and who may run
//! something in it.
//!
//! The program, and everything it starts, reads and writes below its folder and a
//! temporary folder of its own; reads and runs what the system's folders hold
//! (the programs of the image); and has no network, no sockets, no signals to
//! processes beyond its own, and none of the calls that Landlock lets pass by a
//! path (modes, owners, times and attributes of files: those work by descriptor).
//! What remains visible beyond the folder: that a guessed path exists with its
//! size and times, and which processes there are.
//!
//! Nothing of it is best effort: where the kernel cannot do all of it, the
//! program is not started.

mod filter;
mod kernel;

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use self::kernel::{Access, Ruleset};
use crate::error::TermError;

/// Landlock that keeps signals and abstract sockets in, too (Linux 6.12).
const LEAST_ABI: i64 = 6;

/// Folders of programs and libraries: an image's, or a machine's.
const PROGRAMS: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/opt", "/nix"];

/// What programs need of the system's settings. Not all of /etc: it may hold keys.
const SETTINGS: [&str; 30] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/terminfo",
    "/etc/inputrc",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/bash.bashrc",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/gitconfig",
];

/// Processes, and what the kernel tells of the machine. What belongs to a process beyond the program's own
/// is kept back by Landlock's rule for ptrace(2).
const KERNEL: &str = "/proc";

/// Devices without memory.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// A folder in which a program is kept.
#[derive(Clone, Debug)]
pub struct Confinement {
    folder: Arc<OwnedFd>,
    /// Where it is, for the working directory and the names of things.
    path: PathBuf,
    /// What must not be read although it may be below a folder of programs.
    hidden: Vec<PathBuf>,
}

/// A temporary folder that goes with whoever holds it.
#[derive(Debug)]
pub(crate) struct OwnTemporary(PathBuf);

impl Drop for OwnTemporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, folder = %self.0.display(), "a temporary folder stays");
        }
    }
}

impl Confinement {
    /// The folder that `folder` is open on. `hidden` is what it must not reach: the tree around it, and what is
    /// kept from programs.
    pub fn new(folder: OwnedFd, hidden: Vec<PathBuf>) -> Result<Self, TermError> {
        let path = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).map_err(failed("find the folder"))?;
        let hidden = hidden.iter().filter_map(|hidden| real(hidden).transpose()).collect::<io::Result<_>>();
        let hidden = hidden.map_err(failed("find what is hidden"))?;
        Ok(Confinement { folder: Arc::new(folder), path, hidden })
    }

    /// Where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `command` run in the folder alone. The temporary folder must be held as long as it runs.
    pub(crate) fn apply(&self, command: &mut Command, id: &str) -> Result<OwnTemporary, TermError> {
        let abi = kernel::abi();
        if abi < LEAST_ABI {
            return Err(TermError::CannotConfine {
                problem: format!("this kernel's Landlock has version {abi}, and {LEAST_ABI} is needed (Linux 6.12)"),
            });
        }
        let temporary = std::env::temp_dir().join(format!("remora-{id}"));
        DirBuilder::new().mode(0o700).create(&temporary).map_err(failed("make a temporary folder"))?;
        let temporary = OwnTemporary(temporary);
        let ruleset = self.ruleset(&temporary.0).map_err(failed("keep the program in its folder"))?;
        command.env("HOME", &temporary.0).env("TMPDIR", &temporary.0);
        kernel::restrict(command, ruleset, filter::program());
        Ok(temporary)
    }

    fn ruleset(&self, temporary: &Path) -> io::Result<Ruleset> {
        let ruleset = Ruleset::new()?;
        ruleset.allow(self.folder.as_fd(), Access::Own)?;
        allow(&ruleset, temporary, Access::Own)?;
        for path in PROGRAMS.iter().map(Path::new) {
            self.allow_around(&ruleset, path)?;
        }
        for path in SETTINGS.iter().map(Path::new).chain([Path::new(KERNEL)]) {
            allow(&ruleset, path, Access::Read)?;
        }
        for path in DEVICES.iter().map(Path::new) {
            allow(&ruleset, path, Access::Device)?;
        }
        Ok(ruleset)
    }

    /// Allows to read what is below `path`. Where that holds something hidden (some images have their workspace
    /// below /usr), only those of its entries that do not.
    fn allow_around(&self, ruleset: &Ruleset, path: &Path) -> io::Result<()> {
        // Whatever the name leads to is looked at by where it is.
        let Some(real) = real(path)? else { return Ok(()) };
        let holds_hidden = |place: &Path| self.hidden.iter().any(|hidden| hidden.starts_with(place));
        if !holds_hidden(&real) {
            return allow(ruleset, &real, Access::Read);
        }
        for entry in fs::read_dir(&real)? {
            let entry = entry?;
            // A link is no place of its own: where it leads is allowed by itself, or not.
            if !entry.file_type()?.is_symlink() && !holds_hidden(&entry.path()) {
                allow(ruleset, &entry.path(), Access::Read)?;
            }
        }
        Ok(())
    }
}

fn failed(stage: &'static str) -> impl FnOnce(io::Error) -> TermError {
    move |source| TermError::System { stage, source }
}

/// Where a path leads; `None` where there is nothing.
fn real(path: &Path) -> io::Result<Option<PathBuf>> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map(Some),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Allows what there is at `path`.
fn allow(ruleset: &Ruleset, path: &Path, access: Access) -> io::Result<()> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => ruleset.allow(fd.as_fd(), access),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
