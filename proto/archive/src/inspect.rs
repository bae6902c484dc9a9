//! [`inspect`]: whether an archive is one that a workspace can begin with, told from the
//! archive alone and before anything is unpacked. What only the place can tell, such as
//! a disk that is full, is told there.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use crate::{
    Broken, Kind, Member, Members, UnpackFault, Unpacked,
    limits::{MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_INSPECTED_LINK_BYTES},
    shown,
};

/// Longest name and longest path, in bytes (NAME_MAX, and PATH_MAX without its NUL).
const MAX_NAME_BYTES: usize = 255;
const MAX_PATH_BYTES: usize = 4_095;
/// Bytes that are held of a link besides its path and its target.
const HELD_BYTES: usize = 64;

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files' contents.
    pub content_bytes: u64,
}

/// Why an archive is not taken. The texts go on with "the archive".
#[derive(Debug)]
pub enum Refusal {
    /// It would do harm, or is no archive.
    Invalid(String),
    /// It has something that is not taken, though it is well-formed.
    Unsupported(String),
    /// The input itself failed.
    Input(io::Error),
}

/// Reads the archive that `input` gives to its end.
pub fn inspect(zstd: bool, input: impl Read) -> Result<Inspected, Refusal> {
    let mut members = Members::new(Unpacked::new(zstd, input).map_err(Refusal::Input)?);
    let mut done = Inspected::default();
    let mut links = Links::default();
    while let Some(member) = members.next_member().map_err(refusal)? {
        done.entries += 1;
        if done.entries > MAX_ARCHIVE_ENTRIES {
            return Err(Refusal::Invalid(format!("has more than {MAX_ARCHIVE_ENTRIES} entries")));
        }
        done.content_bytes = done.content_bytes.saturating_add(member.size);
        if done.content_bytes > MAX_ARCHIVE_BYTES {
            let path = shown(&member.path);
            return Err(Refusal::Invalid(format!("holds more than {MAX_ARCHIVE_BYTES} bytes with \"{path}\"")));
        }
        check(&member, &mut links)?;
    }
    Ok(done)
}

fn check(member: &Member, links: &mut Links) -> Result<(), Refusal> {
    let path = plain(&member.path)?;
    links.lead_nowhere_outside(&path, &member.path)?;
    match member.kind {
        Kind::File | Kind::Symlink | Kind::HardLink if path.is_empty() => {
            Err(Refusal::Invalid(format!("has \"{}\", which names no entry", shown(&member.path))))
        }
        Kind::File | Kind::Directory => {
            links.forget(&path);
            Ok(())
        }
        Kind::Symlink if member.link.is_empty() || member.link.contains(&0) => {
            Err(Refusal::Invalid(format!("has the link \"{}\" without a target", shown(&member.path))))
        }
        Kind::Symlink => links.add(path, &member.link),
        Kind::HardLink => {
            let original = plain(&member.link)?;
            links.lead_nowhere_outside(&original, &member.link)?;
            links.forget(&path);
            Ok(())
        }
        Kind::Special => Err(Refusal::Invalid(format!("has \"{}\", a FIFO or a device", shown(&member.path)))),
    }
}

/// The components of a path that leads nowhere but down.
fn plain(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let refused = |why: &str| Err(Refusal::Invalid(format!("has \"{}\", {why}", shown(path))));
    if path.starts_with(b"/") {
        return refused("an absolute path");
    }
    if path.len() > MAX_PATH_BYTES || path.contains(&0) {
        return refused("which is no path that there can be");
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return refused("whose '..' could lead out");
    }
    if parts.iter().any(|part| part.len() > MAX_NAME_BYTES) {
        return refused("which has a name of more than 255 bytes");
    }
    Ok(parts)
}

/// The symbolic links that came, and whether what follows goes through one that leads out.
#[derive(Default)]
struct Links {
    targets: HashMap<Vec<u8>, Vec<u8>>,
    held: usize,
}

impl Links {
    fn add(&mut self, path: Vec<&[u8]>, target: &[u8]) -> Result<(), Refusal> {
        let path = path.join(&b'/');
        self.held += path.len() + target.len() + HELD_BYTES;
        if self.held > MAX_INSPECTED_LINK_BYTES {
            return Err(Refusal::Invalid("has more symbolic links than are taken".to_owned()));
        }
        self.targets.insert(path, target.to_vec());
        Ok(())
    }

    /// Another entry took the place of a link.
    fn forget(&mut self, path: &[&[u8]]) {
        if !self.targets.is_empty() {
            self.targets.remove(&path.join(&b'/'));
        }
    }

    fn lead_nowhere_outside(&self, path: &[&[u8]], named: &[u8]) -> Result<(), Refusal> {
        if self.targets.is_empty() {
            return Ok(());
        }
        for depth in 1..path.len() {
            let link = path[..depth].join(&b'/');
            let Some(target) = self.targets.get(&link) else { continue };
            if leads_out(depth - 1, target) {
                return Err(Refusal::Invalid(format!(
                    "has \"{}\", which goes through its link \"{}\" to \"{}\"",
                    shown(named),
                    shown(&link),
                    shown(target)
                )));
            }
        }
        Ok(())
    }
}

/// Whether a link `depth` folders down, with this target, leads out by its words alone.
fn leads_out(depth: usize, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = depth;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

fn refusal(broken: Broken) -> Refusal {
    let error = match broken {
        Broken::Malformed(problem) => return Refusal::Invalid(format!("cannot be read: {problem}")),
        Broken::Unsupported(problem) => {
            return Refusal::Unsupported(format!("has an entry that is not taken: {problem}"));
        }
        Broken::Input(error) => error,
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(UnpackFault::Undecodable(problem)) => Refusal::Invalid(format!("cannot be read: {problem}")),
        Some(UnpackFault::TooMuch(problem)) => Refusal::Invalid(format!("is too large: {problem}")),
        Some(UnpackFault::Input(_)) | None => Refusal::Input(error),
    }
}

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use super::*;
    use crate::{BLOCK, Time, Written, padding, write_header};

    /// A tar of entries: kind, path, target, content.
    fn archive(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, path, link, content) in entries {
            let header = Written {
                kind: *kind,
                path: path.as_bytes(),
                link: link.as_bytes(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: content.len() as u64,
                modified: Time { seconds: 1, nanos: 0 },
                xattrs: &[],
            };
            write_header(&mut out, &header).unwrap();
            out.extend_from_slice(content);
            out.extend_from_slice(&[0; BLOCK][..padding(content.len() as u64)]);
        }
        out.extend_from_slice(&[0; 2 * BLOCK]);
        out
    }

    const FILE: EntryType = EntryType::Regular;
    const DIRECTORY: EntryType = EntryType::Directory;
    const LINK: EntryType = EntryType::Symlink;

    #[test]
    fn what_a_project_holds_is_taken() {
        let good = archive(&[
            (DIRECTORY, "./", "", b""),
            (DIRECTORY, "src/", "", b""),
            (FILE, "src/main.rs", "", b"fn main() {}"),
            (LINK, "src/link", "../README", b""),
            (LINK, "src/out", "/etc/passwd", b""),
            (LINK, "latest", "src", b""),
            (FILE, "latest/more", "", b"inside"),
            (EntryType::Link, "again", "src/main.rs", b""),
        ]);
        let found = inspect(false, &good[..]).unwrap();
        assert_eq!((found.entries, found.content_bytes), (8, 18));
        let packed = zstd::encode_all(&good[..], 3).unwrap();
        assert_eq!(inspect(true, &packed[..]).unwrap(), found);
    }

    #[test]
    fn what_would_do_harm_is_refused_with_words() {
        let bomb = zstd::encode_all(io::repeat(0).take(300 << 20), 3).unwrap();
        let cut = archive(&[(FILE, "a", "", b"x")]);
        let device = (EntryType::Char, "null", "", &b""[..]);
        for (words, zstd, bytes) in [
            ("an absolute path", false, archive(&[(FILE, "/etc/passwd", "", b"x")])),
            ("'..' could lead out", false, archive(&[(FILE, "a/../../x", "", b"x")])),
            ("'..' could lead out", false, archive(&[(EntryType::Link, "a", "../x", b"")])),
            (
                "goes through its link \"a\" to \"/etc\"",
                false,
                archive(&[(LINK, "a", "/etc", b""), (FILE, "a/x", "", b"x")]),
            ),
            ("goes through its link", false, archive(&[(LINK, "d/a", "../..", b""), (FILE, "d/a/x", "", b"x")])),
            ("a FIFO or a device", false, archive(&[device])),
            ("names no entry", false, archive(&[(FILE, "./.", "", b"x")])),
            ("more than 255 bytes", false, archive(&[(FILE, &"n".repeat(256), "", b"x")])),
            ("cannot be read", false, cut[..cut.len() - 1_100].to_vec()),
            ("cannot be read", false, b"PK\x03\x04 is no tar".repeat(100)),
            ("cannot be read", true, cut),
            ("is too large", true, bomb),
        ] {
            let error = inspect(zstd, &bytes[..]).unwrap_err();
            let (Refusal::Invalid(text) | Refusal::Unsupported(text)) = &error else { panic!("{words}: {error:?}") };
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn an_input_that_fails_is_no_fault_of_the_archive() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        assert!(matches!(inspect(true, Failing), Err(Refusal::Input(_))));
        assert!(matches!(inspect(false, Failing), Err(Refusal::Input(_))));
    }
}
