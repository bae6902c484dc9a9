//! The filter of system calls (seccomp, classic BPF): what Landlock does not keep
//! in. A refused call fails with an errno that programs know how to say.

use libc::{EACCES, ENOSYS, EPERM, c_long, sock_filter};

// include/uapi/linux/seccomp.h
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}
const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

// include/uapi/linux/audit.h
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

// Opcodes of classic BPF.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Numbers from here on are another ABI of the same machine (x32).
const OTHER_ABI: u32 = 0x4000_0000;

/// Calls of which there is no harmless use in a folder: by path they change what Landlock does not ask about
/// (modes, owners, times, attributes), by an id they reach what others share, or they make Landlock's walls
/// somebody else's business.
fn refused() -> Vec<c_long> {
    let mut calls = vec![
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_inotify_add_watch,
        libc::SYS_fanotify_init,
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        // Later ones have one number everywhere: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick,
        // pidfd_getfd, process_madvise, mount_setattr, fchmodat2, setxattrat, removexattrat, open_tree_attr,
        // file_setattr.
        428,
        429,
        430,
        431,
        432,
        433,
        438,
        440,
        442,
        452,
        463,
        466,
        467,
        469,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
    ]);
    calls
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on with the next `skip` instructions left out where the value is not `k`.
fn unless_equal(k: u32, skip: u8) -> sock_filter {
    sock_filter { code: EQUAL, jt: 0, jf: skip, k }
}

/// The same where it is.
fn if_equal(k: u32, skip: u8) -> sock_filter {
    sock_filter { code: EQUAL, jt: skip, jf: 0, k }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn fails(errno: i32) -> sock_filter {
    statement(RETURN, ERRNO | errno.unsigned_abs())
}

/// The filter.
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![
        statement(LOAD, ARCHITECTURE),
        if_equal(NATIVE, 1),
        fails(ENOSYS),
        statement(LOAD, NUMBER),
        // Skips the refusal of the other ABI.
        sock_filter { code: AT_LEAST, jt: 0, jf: 1, k: OTHER_ABI },
        fails(ENOSYS),
    ];
    // As if the kernel did not have it: programs have another way. It would get by this filter.
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        program.extend([unless_equal(number(call), 1), fails(ENOSYS)]);
    }
    program.extend([unless_equal(number(libc::SYS_socket), 1), fails(EACCES)]);
    for call in refused() {
        program.extend([unless_equal(number(call), 1), fails(EPERM)]);
    }
    // A pair of sockets is a pipe, unless it can send elsewhere: SOCK_DGRAM is 2.
    program.extend([
        unless_equal(number(libc::SYS_socketpair), 5),
        statement(LOAD, low(1)),
        statement(AND, 0xf),
        unless_equal(2, 1),
        fails(EPERM),
        statement(RETURN, ALLOW),
    ]);
    // Times by descriptor: without a path.
    program.extend([
        unless_equal(number(libc::SYS_utimensat), 6),
        statement(LOAD, low(1)),
        unless_equal(0, 3),
        statement(LOAD, high(1)),
        unless_equal(0, 1),
        statement(RETURN, ALLOW),
        fails(EPERM),
    ]);
    // Limits of its own alone.
    program.extend([
        unless_equal(number(libc::SYS_prlimit64), 4),
        statement(LOAD, low(0)),
        unless_equal(0, 1),
        statement(RETURN, ALLOW),
        fails(EPERM),
    ]);
    program.push(statement(RETURN, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let program = program();
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&call.to_ne_bytes());
        data[4..8].copy_from_slice(&architecture.to_ne_bytes());
        for (at, argument) in arguments.iter().enumerate() {
            data[16 + 8 * at..24 + 8 * at].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD => value = u32::from_ne_bytes(data[step.k as usize..step.k as usize + 4].try_into().unwrap()),
                AND => value &= step.k,
                EQUAL => at += usize::from(if value == step.k { step.jt } else { step.jf }),
                AT_LEAST => at += usize::from(if value >= step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn of(call: c_long, arguments: [u64; 6]) -> u32 {
        verdict(NATIVE, number(call), arguments)
    }

    #[test]
    fn what_leads_out_is_refused_and_what_does_not_is_not() {
        for call in
            [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_fchmod, libc::SYS_kill, libc::SYS_connect]
        {
            assert_eq!(of(call, [1; 6]), ALLOW, "{call}");
        }
        assert_eq!(of(libc::SYS_socket, [1, 1, 0, 0, 0, 0]), ERRNO | 13);
        assert_eq!(of(libc::SYS_io_uring_setup, [0; 6]), ERRNO | 38);
        for call in refused() {
            assert_eq!(of(call, [0; 6]), ERRNO | 1, "{call}");
        }
        assert_eq!(verdict(NATIVE ^ 1, number(libc::SYS_read), [0; 6]), ERRNO | 38, "another architecture");
        assert_eq!(verdict(NATIVE, OTHER_ABI | 1, [0; 6]), ERRNO | 38, "another ABI");
    }

    #[test]
    fn arguments_decide_where_they_can() {
        const CLOEXEC: u64 = 0o2_000_000;
        for (kind, allowed) in [(1, true), (5, true), (2, false), (1 | CLOEXEC, true), (2 | CLOEXEC, false)] {
            assert_eq!(of(libc::SYS_socketpair, [1, kind, 0, 0, 0, 0]) == ALLOW, allowed, "{kind}");
        }
        assert_eq!(of(libc::SYS_utimensat, [3, 0, 0, 0, 0, 0]), ALLOW);
        for path in [1, 0x7fff_0000_1000, 1 << 32] {
            assert_eq!(of(libc::SYS_utimensat, [3, path, 0, 0, 0, 0]), ERRNO | 1, "{path:#x}");
        }
        assert_eq!(of(libc::SYS_prlimit64, [0, 7, 0, 0, 0, 0]), ALLOW);
        assert_eq!(of(libc::SYS_prlimit64, [1, 7, 0, 0, 0, 0]), ERRNO | 1);
    }
}
