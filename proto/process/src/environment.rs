//! What processes carry in their environment, so that a mark there is not overlooked.
//!
//! execve(2) gives a process new memory some steps before it writes its environment there.
//! Between the two `/proc/PID/environ` is empty, as if the process had none; and of one that
//! is read in parts what remained when the program was called is missing. Who looks for a
//! mark just then would call something ended that is about to run.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    limits::{EXEC_SETTLE, MAX_ENVIRONMENT_BYTES},
    stat::{Memory, Stat, look},
};

/// Time between two looks at processes that are within execve(2).
const LOOK: Duration = Duration::from_millis(1);
/// The first buffer, in bytes: few environments are larger.
const BUFFER: usize = 64 << 10;

/// Tells of each process of `of` its environment as it was when its program was called: see
/// [`variables`]. Of those that have ended, are the kernel's or may not be read it tells
/// nothing. Blocks while one of them calls a program, for [`EXEC_SETTLE`] at most.
pub fn environments(of: &[Stat], mut tell: impl FnMut(&Stat, &[u8])) {
    let deadline = Instant::now() + EXEC_SETTLE;
    let mut left: Vec<Stat> = of.to_vec();
    let mut buffer = vec![0; BUFFER];
    loop {
        left.retain(|stat| match read(stat, &mut buffer) {
            Seen::Is(environment) => {
                tell(stat, environment);
                false
            }
            Seen::None => false,
            Seen::NotYet => true,
        });
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        pause();
    }
}

/// The variables of an environment, each as `NAME=value`.
pub fn variables(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty())
}

enum Seen<'a> {
    Is(&'a [u8]),
    /// It has none, or it is not ours to read.
    None,
    NotYet,
}

fn read<'a>(stat: &Stat, buffer: &'a mut Vec<u8>) -> Seen<'a> {
    let pid = stat.identity.pid;
    let read = at_once(Path::new(&format!("/proc/{pid}/environ")), buffer);
    if let Ok(bytes @ 1..) = read {
        return Seen::Is(&buffer[..bytes]);
    }
    let Some(now) = look(pid).filter(|now| now.identity == stat.identity && !now.kernel) else { return Seen::None };
    if now.first_thread_ended() {
        return of_a_thread(pid, buffer);
    }
    match now.memory {
        // Whoever may not read the one may not read the other.
        _ if read.is_err() => Seen::None,
        Memory { code: 0, .. } => Seen::NotYet,
        // It has got one since it was read.
        Memory { environment: (start, end), .. } if start < end => Seen::NotYet,
        Memory { .. } => Seen::None,
    }
}

/// The memory of a process is told by its first thread, and where that has ended by any other.
fn of_a_thread(pid: i32, buffer: &mut Vec<u8>) -> Seen<'_> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Seen::None };
    let read = |thread: fs::DirEntry| at_once(&thread.path().join("environ"), buffer).ok().filter(|bytes| *bytes > 0);
    match threads.flatten().find_map(read) {
        Some(bytes) => Seen::Is(&buffer[..bytes]),
        None => Seen::None,
    }
}

/// Reads a file into `buffer`, which grows, with a single read(2): during one the kernel holds
/// on to the memory that the file is about. Returns how many bytes.
fn at_once(path: &Path, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let bytes = File::open(path)?.read(buffer)?;
        if bytes < buffer.len() || bytes >= MAX_ENVIRONMENT_BYTES {
            return Ok(bytes);
        }
        buffer.resize(bytes * 2, 0);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "who looks at processes blocks anyway, and an execve(2) of others gives no event"
)]
fn pause() {
    std::thread::sleep(LOOK);
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::stat::all;

    /// What makes an environment larger than the first buffer, and than a page.
    const LONG: usize = 100_000;
    const MARK: &str = "REMORA_TEST_OF_ENVIRONMENTS";

    fn marked(with: &str) -> Vec<i32> {
        let wanted = format!("{MARK}={with}");
        let mut found = Vec::new();
        environments(&all(), |stat, environment| {
            if variables(environment).any(|variable| variable == wanted.as_bytes()) {
                found.push(stat.identity.pid);
            }
        });
        found
    }

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_calls_program_after_program_is_seen_at_each_look() {
        let code = r#"exec sh -c "$CODE""#;
        let mut command = Command::new("sh");
        command.args(["-c", code]).env("CODE", code).env("A_LONG_ONE", "x".repeat(LONG)).env(MARK, "calls");
        let child = Ended(command.spawn().unwrap());
        let pid = i32::try_from(child.0.id()).unwrap();
        for round in 0..500 {
            assert_eq!(marked("calls"), [pid], "in look {round}");
        }
    }

    #[test]
    fn who_has_no_environment_is_not_waited_for() {
        let child = Ended(Command::new("/bin/sleep").arg("600").env_clear().spawn().unwrap());
        let stat = look(i32::try_from(child.0.id()).unwrap()).unwrap();
        let mut buffer = vec![0; BUFFER];
        // Until its execve(2) is over.
        let deadline = Instant::now() + Duration::from_secs(60);
        while matches!(read(&stat, &mut buffer), Seen::NotYet) {
            assert!(Instant::now() < deadline, "it is waited for");
            std::thread::yield_now();
        }
        assert!(matches!(read(&stat, &mut buffer), Seen::None));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_seen() {
        let code = "import ctypes, threading, time\n\
                    threading.Thread(target=time.sleep, args=(600,)).start()\n\
                    ctypes.CDLL(None).pthread_exit(None)";
        let child = Command::new("python3").args(["-c", code]).env(MARK, "first").spawn().unwrap();
        let child = Ended(child);
        let pid = i32::try_from(child.0.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !look(pid).unwrap().first_thread_ended() {
            assert!(Instant::now() < deadline, "its first thread goes on");
            std::thread::yield_now();
        }
        assert_eq!(marked("first"), [pid]);
    }
}
