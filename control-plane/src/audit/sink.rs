//! Where records are written: a file that is renamed when it is large, or the
//! standard output.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use crate::limits::{AUDIT_QUEUE, AUDIT_ROTATED_FILES, MAX_AUDIT_FILE_BYTES};

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Nowhere,
    StandardOutput,
    File(PathBuf),
}

impl std::str::FromStr for Destination {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Destination::Nowhere,
            "-" => Destination::StandardOutput,
            path => Destination::File(path.into()),
        })
    }
}

/// Takes records, in the order in which calls end.
pub(crate) struct Sink(Kind);

enum Kind {
    File(Mutex<Rotated>),
    Output(Output),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink(..)")
    }
}

impl Sink {
    /// The sink of a destination that is somewhere.
    pub(crate) fn open(destination: &Destination) -> io::Result<Self> {
        Ok(Sink(match destination {
            Destination::File(path) => Kind::File(Mutex::new(Rotated::open(path)?)),
            Destination::StandardOutput | Destination::Nowhere => Kind::Output(Output::start()?),
        }))
    }

    /// Writes one record. A call does not fail for want of room for its record; that one is missing is an error in the log.
    pub(super) fn write(&self, record: &[u8]) {
        let mut line = Vec::with_capacity(record.len() + 1);
        line.extend_from_slice(record);
        line.push(b'\n');
        match &self.0 {
            // Handed to the system before the answer ends: it outlives this process.
            Kind::File(file) => {
                let written = file.lock().unwrap_or_else(PoisonError::into_inner).write(&line);
                if let Err(error) = written {
                    tracing::error!(%error, "an audit record is lost: its file cannot be written");
                }
            }
            Kind::Output(output) => output.write(line),
        }
    }
}

/// A file that becomes `NAME.1` when it is full, as that becomes `NAME.2`; the oldest goes.
struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Rotated {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Rotated { path: path.to_owned(), file, bytes })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > MAX_AUDIT_FILE_BYTES {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..AUDIT_ROTATED_FILES).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))?;
        *self = Rotated::open(&self.path)?;
        Ok(())
    }
}

/// The standard output, written by a thread: whoever reads it may be slow, and calls do not wait for that.
struct Output {
    queue: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    fn start() -> io::Result<Self> {
        let (queue, lines) = sync_channel::<Vec<u8>>(AUDIT_QUEUE);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || {
            let mut output = io::stdout();
            while let Ok(line) = lines.recv() {
                if let Err(error) = output.write_all(&line).and_then(|()| output.flush()) {
                    tracing::error!(%error, "an audit record is lost: the standard output cannot be written");
                }
            }
        })?;
        Ok(Output { queue: Some(queue), thread: Some(thread) })
    }

    fn write(&self, line: Vec<u8>) {
        let sent = self.queue.as_ref().map(|queue| queue.try_send(line));
        if let Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) = sent {
            tracing::error!(waiting = AUDIT_QUEUE, "an audit record is lost: nobody reads the standard output");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // What waits is written before the process ends.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut rotated = Rotated::open(&path).unwrap();
        for round in 0..AUDIT_ROTATED_FILES + 2 {
            rotated.write(format!("{round}\n").as_bytes()).unwrap();
            rotated.bytes = MAX_AUDIT_FILE_BYTES;
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let last = AUDIT_ROTATED_FILES + 1;
        assert_eq!(read("audit.jsonl"), format!("{last}\n"));
        assert_eq!(read("audit.jsonl.1"), format!("{}\n", last - 1));
        assert_eq!(read(&format!("audit.jsonl.{AUDIT_ROTATED_FILES}")), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), AUDIT_ROTATED_FILES + 1);
        // What is there is gone on with.
        drop(rotated);
        Rotated::open(&path).unwrap().write(b"more\n").unwrap();
        assert_eq!(read("audit.jsonl"), format!("{last}\nmore\n"));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
