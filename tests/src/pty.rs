//! A program at a terminal, as a person has it: its three streams are one PTY.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{agent::PATIENCE, eventually::eventually};

/// Starts `command` at a terminal of 80 by 24: its other end and the process, which is
/// killed when dropped.
pub fn at_terminal(mut command: Command) -> (OwnedFd, Child) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a PTY is free");
    grantpt(&master).expect("the PTY is ours");
    unlockpt(&master).expect("the PTY is ours");
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).expect("a PTY has a size");
    let name = ptsname(&master, Vec::new()).expect("a PTY has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).expect("the other end opens");
    let end = || Stdio::from(slave.try_clone().expect("there are descriptors left"));
    let child = command.stdin(end()).stdout(end()).stderr(end()).kill_on_drop(true).spawn();
    // The command keeps its copies of the other end for a further start; they go with it.
    (master, child.expect("the program starts"))
}

/// A program with a terminal. Killed when dropped.
pub struct AtTerminal {
    master: File,
    child: Child,
    printed: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

impl AtTerminal {
    /// Starts `command` at a terminal of 80 by 24.
    pub fn start(command: Command) -> AtTerminal {
        let (master, child) = at_terminal(command);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (mut output, kept) =
            (File::from(master.as_fd().try_clone_to_owned().expect("a copy")), Arc::clone(&printed));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 65_536];
            // EIO is how a PTY says that nobody holds the other end.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        AtTerminal { master: File::from(master), child, printed, reader }
    }

    /// Types `keys`.
    pub fn type_keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).expect("the program's terminal is there");
    }

    /// Everything that was printed so far.
    pub fn printed(&self) -> Vec<u8> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `text` was printed.
    pub async fn expect(&self, text: &str) {
        let began = Instant::now();
        eventually(|| {
            let printed = self.printed();
            // A little before the common deadline, which knows nothing of what was printed.
            assert!(
                began.elapsed() < PATIENCE - Duration::from_secs(1),
                "no {text:?} in {:?}",
                String::from_utf8_lossy(&printed)
            );
            printed.windows(text.len()).any(|window| window == text.as_bytes()).then_some(())
        })
        .await;
    }

    /// Waits for its end: the exit code and everything that it printed.
    pub async fn ended(mut self) -> (i32, String) {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("it does not end: {:?}", String::from_utf8_lossy(&self.printed())));
        let code = status.expect("it is our child").code().expect("it ends by itself");
        // The reader ends with the last copy of the other end, after the last byte.
        eventually(|| self.reader.is_finished().then_some(())).await;
        (code, String::from_utf8_lossy(&self.printed()).into_owned())
    }
}
