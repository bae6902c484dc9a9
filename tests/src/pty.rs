//! A program at a terminal, as a person has it: its three streams are one PTY.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub use remora_tests_integration::pty::at_terminal;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{agent::PATIENCE, eventually::eventually};

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
