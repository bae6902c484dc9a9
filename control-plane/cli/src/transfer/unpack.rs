//! A tar that comes from a project, into a folder of this machine.

use std::{
    io::{self, Read},
    path::Path,
};

use remora_proto_model::{Fault, Reason};
use tar::{Archive, Entry, EntryType};

use super::local_tree::{LocalTree, ModifiedAt};
use crate::{Failure, progress::Progress};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) content_bytes: u64,
}

/// A folder whose mode and time are still to be set.
struct Open {
    path: Vec<Vec<u8>>,
    mode: u32,
    modified: Option<ModifiedAt>,
}

/// Unpacks the zstd stream `bytes` of a tar into the folder at `target`.
pub(crate) fn unpack(bytes: impl Read, target: &Path, progress: &Progress) -> Result<Unpacked, Failure> {
    let local = |error| Failure::Local { what: target.display().to_string(), error };
    let tree = LocalTree::open(target).map_err(local)?;
    let mut archive = Archive::new(zstd::Decoder::new(bytes).map_err(local)?);
    let mut unpacked = Unpacked::default();
    let mut open: Vec<Open> = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = inner_path(&entry.path_bytes())?;
        let at = |error| local_at(target, &path, error);
        // Below a folder of its own the parents are open; others have all they will get.
        while open.last().is_some_and(|folder| !path.starts_with(&folder.path)) {
            finish(&tree, open.pop(), target)?;
        }
        let mode = entry.header().mode().map_err(broken)?;
        let modified = Some(modified_at(&mut entry)?);
        match entry.header().entry_type() {
            EntryType::Directory => {
                tree.folder(&path).map_err(at)?;
                open.push(Open { path: path.clone(), mode, modified });
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut content = Counted { inner: &mut entry, progress };
                unpacked.content_bytes += tree.file(&path, mode, modified, &mut content).map_err(at)?;
            }
            EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                tree.symlink(&path, &link, modified).map_err(at)?;
            }
            EntryType::Link => {
                let original = inner_path(&entry.link_name_bytes().unwrap_or_default())?;
                tree.hard_link(&path, &original).map_err(at)?;
            }
            // Headers for all entries; they carry nothing of their own.
            EntryType::XGlobalHeader => continue,
            other => {
                return Err(refused(format!("holds {:?}, an entry of the kind {other:?}", shown(&path))));
            }
        }
        unpacked.entries += 1;
    }
    while let Some(folder) = open.pop() {
        finish(&tree, Some(folder), target)?;
    }
    // What follows the last entry decides whether the stream was whole.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(unpacked)
}

fn finish(tree: &LocalTree, folder: Option<Open>, target: &Path) -> Result<(), Failure> {
    let Some(Open { path, mode, modified }) = folder else { return Ok(()) };
    tree.finish_folder(&path, mode, modified).map_err(|error| local_at(target, &path, error))
}

/// The names of a path inside the target; `.` and empty names are nothing.
fn inner_path(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    if bytes.starts_with(b"/") || bytes.contains(&0) {
        return Err(refused(format!("names {:?}, which is no path inside it", String::from_utf8_lossy(bytes))));
    }
    let names = bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let path: Vec<_> = names.map(<[u8]>::to_vec).collect();
    if path.iter().any(|name| name == b"..") {
        return Err(refused(format!("names {:?}, which leads out of it", String::from_utf8_lossy(bytes))));
    }
    Ok(path)
}

fn modified_at<R: Read>(entry: &mut Entry<'_, R>) -> Result<ModifiedAt, Failure> {
    let whole = ModifiedAt { seconds: i64::try_from(entry.header().mtime().map_err(broken)?).unwrap_or(0), nanos: 0 };
    let Some(extensions) = entry.pax_extensions().map_err(broken)? else { return Ok(whole) };
    let mut precise = None;
    for extension in extensions {
        let extension = extension.map_err(broken)?;
        if extension.key_bytes() == b"mtime" {
            precise = extension.value().ok().and_then(pax_time);
        }
    }
    Ok(precise.unwrap_or(whole))
}

/// A time as pax writes it: decimal seconds, a fraction behind the point.
fn pax_time(text: &str) -> Option<ModifiedAt> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let mut nanos = 0;
    for digit in digits {
        nanos = nanos * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(match (negative, nanos) {
        (true, 1..) => ModifiedAt { seconds: seconds.checked_sub(1)?, nanos: 1_000_000_000 - nanos },
        _ => ModifiedAt { seconds, nanos },
    })
}

fn shown(path: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}

fn local_at(target: &Path, path: &[Vec<u8>], error: io::Error) -> Failure {
    // A download that broke off comes to light while a file is written.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return broken(error);
    }
    Failure::Local { what: format!("{}/{}", target.display(), shown(path)), error }
}

/// The stream is no archive, or ended too early.
fn broken(error: io::Error) -> Failure {
    refused(format!("is broken: {error}"))
}

fn refused(problem: String) -> Failure {
    Failure::Fault(
        Fault::new(Reason::ArchiveInvalid, format!("the archive that came {problem}"))
            .hint("files that were complete before are there; nothing was written outside of the target"),
    )
}

struct Counted<'a, R> {
    inner: R,
    progress: &'a Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;
    use crate::transfer::pack::{Rules, pack};

    fn quiet() -> Progress {
        Progress::hidden()
    }

    /// An archive with one entry of any name.
    fn archive(name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        builder.append(&header, content).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), vec![9; 100_000]).unwrap();
        fs::set_permissions(from.path().join("d/f"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        symlink("../../etc/passwd", from.path().join("d/l")).unwrap();
        fs::set_permissions(from.path().join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let mut bytes = Vec::new();
        pack(from.path(), &Rules::default(), &quiet(), &mut bytes).unwrap();
        let unpacked = unpack(&bytes[..], to.path(), &quiet()).unwrap();
        assert_eq!(unpacked, Unpacked { entries: 3, content_bytes: 100_000 });
        for path in ["d", "d/f", "d/l"] {
            let [a, b] = [&from, &to].map(|folder| fs::symlink_metadata(folder.path().join(path)).unwrap());
            assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()), "{path}");
        }
        assert_eq!(fs::read(to.path().join("d/f")).unwrap(), vec![9; 100_000]);
        assert_eq!(fs::read_link(to.path().join("d/l")).unwrap(), Path::new("../../etc/passwd"));
    }

    #[test]
    fn archives_that_reach_out_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir(&target).unwrap();
        for (name, kind, link) in [
            (&b"../x"[..], EntryType::Regular, &b""[..]),
            (b"/tmp/remora-x", EntryType::Regular, b""),
            (b"a/../../x", EntryType::Directory, b""),
            (b"x", EntryType::Link, b"../outside"),
            (b"x", EntryType::Link, b"/etc/passwd"),
            (b"x", EntryType::Char, b""),
            (b"x", EntryType::Fifo, b""),
        ] {
            let failure = unpack(&archive(name, kind, link, b"")[..], &target, &quiet()).unwrap_err();
            assert!(matches!(&failure, Failure::Fault(fault) if fault.reason == Reason::ArchiveInvalid), "{failure}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }

    #[test]
    fn a_stream_that_is_cut_is_no_success_and_leaves_no_half_file() {
        let target = tempfile::tempdir().unwrap();
        let noise: Vec<u8> = (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let bytes = archive(b"f", EntryType::Regular, b"", &noise);
        for end in [0, 1, 50, bytes.len() / 2, bytes.len() - 1] {
            assert!(unpack(&bytes[..end], target.path(), &quiet()).is_err(), "cut at {end}");
        }
        let names: Vec<_> = fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.is_empty() || names == ["f"], "{names:?}");
    }

    #[test]
    fn times_before_the_epoch_and_fractions_are_read() {
        let time = |text| pax_time(text).map(|time| (time.seconds, time.nanos));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-0.75"), Some((-1, 250_000_000)));
        assert_eq!(time("-2"), Some((-2, 0)));
        assert_eq!(time("7.0000000009"), Some((7, 0)));
        assert_eq!((time("x"), time("1.x")), (None, None));
    }
}
