//! An independent record of a folder: what a person would check with `find`,
//! `stat`, `getfattr` and `sha256sum`. It shares no code with the snapshot
//! engine, so that a defect there cannot hide itself here.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

/// Everything that must survive about one entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    /// Hash of a file's bytes, target of a link; empty otherwise.
    content: Vec<u8>,
    /// The smallest path of the same inode, where there are several.
    linked_to: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Entry {
    /// Seconds and nanoseconds of the last change of the content.
    pub fn mtime(&self) -> (i64, i64) {
        self.mtime
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {:o} {}:{} {}.{:09}",
            self.kind, self.mode, self.owner.0, self.owner.1, self.mtime.0, self.mtime.1
        )?;
        match self.kind {
            "file" => write!(f, " {}", hex::encode(&self.content))?,
            "symlink" => write!(f, " -> {}", String::from_utf8_lossy(&self.content))?,
            _ => {}
        }
        if let Some(path) = &self.linked_to {
            write!(f, " = {}", path.display())?;
        }
        if !self.xattrs.is_empty() {
            write!(f, " {:?}", self.xattrs)?;
        }
        Ok(())
    }
}

/// A folder and all below it, by relative path. The folder itself is the empty path.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// Records the folder at `root`.
pub fn record(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut inodes: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            for child in fs::read_dir(&path)? {
                pending.push(relative.join(child?.file_name()));
            }
        } else if metadata.nlink() > 1 {
            // The walk has no order, so the name of a group is settled at the end.
            let name = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| relative.clone());
            if relative < *name {
                name.clone_from(&relative);
            }
        }
        tree.insert(relative, entry(&path, &metadata)?);
    }
    for (relative, entry) in &mut tree {
        let metadata = fs::symlink_metadata(root.join(relative))?;
        entry.linked_to = inodes.get(&(metadata.dev(), metadata.ino())).filter(|name| *name != relative).cloned();
    }
    Ok(tree)
}

fn entry(path: &Path, metadata: &fs::Metadata) -> io::Result<Entry> {
    let kind = metadata.file_type();
    let (kind, content) = if kind.is_file() {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(path)?)?;
        ("file", hasher.finalize().as_bytes().to_vec())
    } else if kind.is_symlink() {
        ("symlink", fs::read_link(path)?.into_os_string().into_vec())
    } else if kind.is_dir() {
        ("directory", Vec::new())
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else if kind.is_socket() {
        ("socket", Vec::new())
    } else {
        ("device", Vec::new())
    };
    Ok(Entry {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        content,
        linked_to: None,
        xattrs: xattrs(path)?,
    })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    // XATTR_LIST_MAX and XATTR_SIZE_MAX of limits.h.
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0_u8; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name.as_os_str(), &mut value)?;
        value.truncate(length);
        found.insert(name, value);
    }
    Ok(found)
}

/// The differences between two records, in words; empty where they are the same.
pub fn differences(before: &Tree, after: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, entry) in before {
        match after.get(path) {
            None => found.push(format!("{}: gone ({entry:?})", path.display())),
            Some(other) if other != entry => found.push(format!("{}: {entry:?} became {other:?}", path.display())),
            Some(_) => {}
        }
    }
    let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
    found.extend(new.map(|(path, entry)| format!("{}: new ({entry:?})", path.display())));
    found
}

/// Fails with every difference (the first twenty) between two records.
#[track_caller]
pub fn assert_same(before: &Tree, after: &Tree) {
    let found = differences(before, after);
    assert!(
        found.is_empty(),
        "{} of {} entries differ:\n{}",
        found.len(),
        before.len(),
        found[..found.len().min(20)].join("\n")
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// The comparer itself must see each kind of difference, or every test that uses it is blind.
    #[test]
    fn each_attribute_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "one").unwrap();
        fs::write(at("b"), "two").unwrap();
        symlink("a", at("link")).unwrap();
        let record = || record(folder.path()).unwrap();
        // The root's own time changes with every entry; what is asked for here is below it.
        let changed = |before: &Tree| {
            differences(before, &record()).into_iter().filter(|line| !line.starts_with(": ")).collect::<Vec<_>>()
        };

        let before = record();
        assert!(changed(&before).is_empty());

        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(changed(&before).len(), 1, "mode");

        let before = record();
        rustix::fs::setxattr(at("a"), "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(changed(&before).len(), 1, "xattr");

        let before = record();
        let time = fs::metadata(at("a")).unwrap().modified().unwrap();
        fs::write(at("a"), "eno").unwrap();
        fs::File::options().write(true).open(at("a")).unwrap().set_modified(time).unwrap();
        assert_eq!(changed(&before).len(), 1, "content under the same time");

        let before = record();
        fs::File::options()
            .write(true)
            .open(at("a"))
            .unwrap()
            .set_modified(time - std::time::Duration::from_nanos(1))
            .unwrap();
        assert_eq!(changed(&before).len(), 1, "one nanosecond");

        let before = record();
        fs::remove_file(at("link")).unwrap();
        symlink("b", at("link")).unwrap();
        assert_eq!(changed(&before).len(), 1, "target");

        let before = record();
        fs::hard_link(at("a"), at("c")).unwrap();
        assert_eq!(changed(&before).len(), 1, "a new name");
        let before = record();
        let time = fs::metadata(at("c")).unwrap().modified().unwrap();
        fs::remove_file(at("c")).unwrap();
        fs::copy(at("a"), at("c")).unwrap();
        fs::File::options().write(true).open(at("c")).unwrap().set_modified(time).unwrap();
        assert!(!changed(&before).is_empty(), "a copy instead of a hard link");
    }
}
