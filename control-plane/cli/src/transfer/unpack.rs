//! A tar that comes from a project, into a folder of this machine.

use std::{
    io::{self, Read},
    path::Path,
};

use remora_proto_archive::{Broken, Content, Kind, Members};
use remora_proto_model::{Fault, Reason};

use super::local_tree::{LocalTree, ModifiedAt};
use crate::{Failure, progress::Progress};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) content_bytes: u64,
    /// Extended attributes that the file system here did not take.
    pub(crate) xattrs_refused: u64,
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
    let mut members = Members::new(zstd::Decoder::new(bytes).map_err(local)?);
    let mut unpacked = Unpacked::default();
    let mut open: Vec<Open> = Vec::new();
    while let Some(member) = members.next_member().map_err(broken)? {
        let path = inner_path(&member.path)?;
        let at = |error| local_at(target, &path, error);
        // Below a folder of its own the parents are open; others have all they will get.
        while open.last().is_some_and(|folder| !path.starts_with(&folder.path)) {
            finish(&tree, open.pop(), target)?;
        }
        let mode = member.mode;
        let modified = Some(ModifiedAt { seconds: member.modified.seconds, nanos: member.modified.nanos.into() });
        match member.kind {
            Kind::Directory => {
                unpacked.xattrs_refused += tree.folder(&path, &member.xattrs).map_err(at)?;
                open.push(Open { path: path.clone(), mode, modified });
            }
            Kind::File => {
                let mut content = Counted { inner: members.content(), progress };
                let written = tree.file(&path, mode, modified, &member.xattrs, &mut content).map_err(at)?;
                unpacked.content_bytes += written.bytes;
                unpacked.xattrs_refused += written.xattrs_refused;
            }
            Kind::Symlink => tree.symlink(&path, &member.link, modified).map_err(at)?,
            Kind::HardLink => {
                let original = inner_path(&member.link)?;
                tree.hard_link(&path, &original).map_err(at)?;
            }
            Kind::Special => return Err(refused(format!("holds {:?}, a pipe or a device", shown(&path)))),
        }
        unpacked.entries += 1;
    }
    while let Some(folder) = open.pop() {
        finish(&tree, Some(folder), target)?;
    }
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

fn shown(path: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}

fn local_at(target: &Path, path: &[Vec<u8>], error: io::Error) -> Failure {
    // A download that broke off comes to light while a file is written.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return broken(error.into());
    }
    Failure::Local { what: format!("{}/{}", target.display(), shown(path)), error }
}

/// The stream is no archive, or ended too early.
fn broken(broken: Broken) -> Failure {
    refused(match broken {
        Broken::Malformed(problem) => format!("is broken: {problem}"),
        Broken::Unsupported(problem) => format!("holds what is not taken: {problem}"),
        Broken::Input(error) => format!("is broken: {error}"),
    })
}

fn refused(problem: String) -> Failure {
    Failure::Fault(
        Fault::new(Reason::ArchiveInvalid, format!("the archive that came {problem}"))
            .hint("files that were complete before are there; nothing was written outside of the target"),
    )
}

struct Counted<'a, R> {
    inner: Content<'a, R>,
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

    use remora_proto_archive::EntryType;
    use rustix::fs::XattrFlags;

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
        for (path, name, value) in [("d/f", "user.note", &b"\0=\xff\n"[..]), ("d", "user.a=b", b"")] {
            rustix::fs::setxattr(from.path().join(path), name, value, XattrFlags::empty()).unwrap();
        }
        fs::hard_link(from.path().join("d/f"), from.path().join("d/again")).unwrap();
        fs::hard_link(from.path().join("d/f"), from.path().join("again")).unwrap();
        symlink("../../etc/passwd", from.path().join("d/l")).unwrap();
        fs::set_permissions(from.path().join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let mut bytes = Vec::new();
        pack(from.path(), &Rules::default(), &quiet(), &mut bytes).unwrap();
        let unpacked = unpack(&bytes[..], to.path(), &quiet()).unwrap();
        assert_eq!(unpacked, Unpacked { entries: 5, content_bytes: 100_000, xattrs_refused: 0 });
        for path in ["d", "d/f", "d/l", "again", "d/again"] {
            let [a, b] = [&from, &to].map(|folder| fs::symlink_metadata(folder.path().join(path)).unwrap());
            assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()), "{path}");
        }
        assert_eq!(fs::read(to.path().join("d/f")).unwrap(), vec![9; 100_000]);
        let file = fs::metadata(to.path().join("d/f")).unwrap();
        assert_eq!(file.nlink(), 3);
        assert_eq!(file.ino(), fs::metadata(to.path().join("d/again")).unwrap().ino());
        let attribute = |path: &str, name: &str| {
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(to.path().join(path), name, &mut value[..]).unwrap();
            value[..length].to_vec()
        };
        assert_eq!((attribute("d/f", "user.note"), attribute("d", "user.a=b")), (b"\0=\xff\n".to_vec(), Vec::new()));
        // Once more over what is there.
        assert_eq!(unpack(&bytes[..], to.path(), &quiet()).unwrap(), unpacked);
        let names = fs::read_dir(to.path().join("d")).unwrap().count();
        assert_eq!(names, 3, "something was left behind");
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
}
