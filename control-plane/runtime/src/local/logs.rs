//! Logs of processes that outlive the server: each writes to its own file, and
//! whoever watches it keeps that file bounded.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::limits::{KEPT_LOG_BYTES, MAX_LOG_BYTES};

/// Characters of a last line that go into a status.
const SHOWN: usize = 300;

/// Opens a log to append to; private.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Cuts a log that has grown too large: its end goes to `<name>.1`. The process
/// appends, so it goes on at the new end; lines of the moment between are lost.
pub(crate) fn bound(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let length = file.metadata()?.len();
    if length <= MAX_LOG_BYTES {
        return Ok(());
    }
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT_LOG_BYTES)))?;
    (&mut file).take(KEPT_LOG_BYTES).read_to_end(&mut end)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    let _ = fs::remove_file(&name);
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(&name)?.write_all(&end)?;
    file.set_len(0)
}

/// What a log says last, for a person who wants to know why a process ended; empty where it says nothing.
pub(crate) fn last_words(path: &Path) -> String {
    // Our own lines are JSON; their point is the error or the message.
    let said = |line: &str| Some(own(line).unwrap_or_else(|| line.to_owned()));
    last(path, said)
}

/// What a container's command said last: of its log the lines that are not ours.
pub(crate) fn last_words_of_command(path: &Path) -> String {
    last(path, |line| own(line).is_none().then(|| line.to_owned()))
}

/// The error or the message of one of our own lines.
fn own(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    ["error", "message"].iter().find_map(|key| line["fields"][key].as_str()).map(str::to_owned)
}

/// The last line of a log for which there are words.
fn last(path: &Path, words: impl Fn(&str) -> Option<String>) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4_096)))?;
        let mut text = Vec::new();
        file.take(4_096).read_to_end(&mut text)?;
        io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let said = text.lines().rev().filter(|line| !line.trim().is_empty()).find_map(words).unwrap_or_default();
    said.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_bounded_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut log = append(&path).unwrap();
        let line = [b'x'; 1_023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        for _ in 0..=MAX_LOG_BYTES / 1_024 {
            log.write_all(&line).unwrap();
        }
        bound(&path).unwrap();
        log.write_all(b"{\"fields\":{\"message\":\"the end\"}}\n").unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 100);
        assert_eq!(fs::metadata(folder.path().join("web.log.1")).unwrap().len(), KEPT_LOG_BYTES);
        assert_eq!(last_words(&path), "the end");
        assert_eq!(last_words_of_command(&path), "");
        log.write_all(b"sh: 1: nmp: not found\n\n{\"fields\":{\"message\":\"the command has ended\"}}\n").unwrap();
        assert_eq!(last_words(&path), "the command has ended");
        assert_eq!(last_words_of_command(&path), "sh: 1: nmp: not found");
        assert_eq!(last_words(&folder.path().join("none")), "");
    }
}
