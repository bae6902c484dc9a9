//! The system calls of a confinement. Landlock has no wrapper in the C library,
//! and a process can restrict only itself, between fork and exec.
#![expect(
    unsafe_code,
    reason = "no safe call exists for Landlock, seccomp and capset, and a child restricts itself before it runs"
)]

use std::{
    io, mem,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    ptr,
};

use libc::{c_long, c_uint, c_void, sock_filter, sock_fprog, syscall};
use rustix::fs::FileType;

// The same on every architecture (include/uapi/asm-generic/unistd.h).
const LANDLOCK_CREATE_RULESET: c_long = 444;
const LANDLOCK_ADD_RULE: c_long = 445;
const LANDLOCK_RESTRICT_SELF: c_long = 446;
// include/uapi/linux/landlock.h
const CREATE_RULESET_VERSION: c_uint = 1;
const RULE_PATH_BENEATH: c_uint = 1;
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Everything of version 6.
const ALL: u64 = (1 << 16) - 1;
/// What can be allowed for what is no directory.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
const NET_BIND_TCP: u64 = 1 << 0;
const NET_CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
const SCOPE_SIGNAL: u64 = 1 << 1;

#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// What is allowed below a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Everything but making devices.
    Own,
    /// Read and run.
    Read,
    /// Read, write and ask.
    Device,
}

impl Access {
    const fn bits(self) -> u64 {
        match self {
            Access::Own => ALL & !(MAKE_CHAR | MAKE_BLOCK),
            Access::Read => EXECUTE | READ_FILE | READ_DIR,
            Access::Device => READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV,
        }
    }
}

/// The version of the kernel's Landlock; 0 is none.
pub(super) fn abi() -> i64 {
    // SAFETY: with this flag the kernel takes no attributes and only answers with a number.
    let version = unsafe { syscall(LANDLOCK_CREATE_RULESET, ptr::null::<c_void>(), 0_usize, CREATE_RULESET_VERSION) };
    version.max(0)
}

/// What a process that takes it on may do.
#[derive(Debug)]
pub(super) struct Ruleset(OwnedFd);

impl Ruleset {
    /// Allows nothing of what Landlock knows.
    pub(super) fn new() -> io::Result<Self> {
        let attributes = RulesetAttributes {
            handled_access_fs: ALL,
            handled_access_net: NET_BIND_TCP | NET_CONNECT_TCP,
            scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
        };
        // SAFETY: the attributes live as long as the call, which is told their size.
        let fd = unsafe {
            syscall(
                LANDLOCK_CREATE_RULESET,
                ptr::from_ref(&attributes),
                mem::size_of::<RulesetAttributes>(),
                0 as c_uint,
            )
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, closed on exec, for us alone.
        Ok(Ruleset(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Allows `access` at what `place` is open on, and below it.
    pub(super) fn allow(&self, place: BorrowedFd<'_>, access: Access) -> io::Result<()> {
        let stat = rustix::fs::fstat(place)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let allowed_access = if is_directory { access.bits() } else { access.bits() & OF_FILES };
        let rule = PathBeneath { allowed_access, parent_fd: place.as_raw_fd() };
        // SAFETY: the rule lives as long as the call, and both descriptors are open.
        let added = unsafe {
            syscall(LANDLOCK_ADD_RULE, self.0.as_raw_fd(), RULE_PATH_BENEATH, ptr::from_ref(&rule), 0 as c_uint)
        };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3 (include/uapi/linux/capability.h).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Makes the child of `command` take on `ruleset` and `filter`, without capabilities and with no way to new ones.
pub(super) fn restrict(command: &mut Command, ruleset: Ruleset, filter: Vec<sock_filter>) {
    let prepare = move || -> io::Result<()> {
        let check = |done: c_long| if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        let none = CapabilityData { effective: 0, permitted: 0, inheritable: 0 };
        let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let capabilities = [none; 2];
        let program = sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: each call reads what is on this stack or in `filter`, which the closure owns, and
        // changes this process alone.
        unsafe {
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
            check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).into())?;
            check(syscall(libc::SYS_capset, ptr::from_ref(&header), capabilities.as_ptr()))?;
            check(syscall(LANDLOCK_RESTRICT_SELF, ruleset.0.as_raw_fd(), 0 as c_uint))?;
            check(syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0 as c_uint, ptr::from_ref(&program)))
        }
    };
    // SAFETY: the closure only makes system calls and allocates nothing, as the
    // child of a process with threads may do.
    unsafe {
        command.pre_exec(prepare);
    }
}
