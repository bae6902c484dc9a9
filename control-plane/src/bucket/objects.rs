//! Objects as files: `<folder>/remora/<key>`. What is acknowledged is on the
//! disk, whole, under its name, whatever happens next.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use uuid::Uuid;

use super::BUCKET;
use crate::private_file;

/// Longest key, in bytes (Amazon S3, "Naming objects").
const MAX_KEY_BYTES: usize = 1_024;
/// Longest part of a key between slashes, in bytes: NAME_MAX of Linux.
const MAX_PART_BYTES: usize = 255;

/// The folder.
#[derive(Debug)]
pub(super) struct Objects {
    root: PathBuf,
    incoming: PathBuf,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is there.
    Written,
    /// It should be new and was there already; nothing was changed.
    Exists,
}

/// An object in a listing.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) metadata: Metadata,
}

/// One page of a listing, in the order of the keys' bytes.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// Whether there is more.
    pub(super) truncated: bool,
}

/// A file on its way in; gone when dropped before it was placed.
pub(super) struct Incoming {
    path: PathBuf,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.path);
    }
}

impl Incoming {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Objects {
    /// Opens `folder`; what a killed process had half written is removed.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let (root, incoming) = (folder.join(BUCKET), folder.join("incoming"));
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        private_file::folder(&root)?;
        private_file::folder(&incoming)?;
        sync_folder(folder)?;
        Ok(Objects { root, incoming })
    }

    /// Where the object `key` is, or what is wrong with the key. A part that the
    /// file system gives a meaning of its own is refused, never rewritten.
    pub(super) fn path(&self, key: &str) -> Result<PathBuf, String> {
        let shown: String = key.chars().take(80).collect();
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("the key has {} bytes; at most {MAX_KEY_BYTES}", key.len()));
        }
        if key.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > MAX_PART_BYTES) {
            return Err(format!(
                "{shown:?} has an empty part, '.', '..' or one of more than {MAX_PART_BYTES} bytes; this bucket keeps objects as files"
            ));
        }
        if key.contains('\0') {
            return Err(format!("{shown:?} has a NUL"));
        }
        Ok(self.root.join(key))
    }

    /// A name for a file that is on its way in.
    pub(super) fn incoming(&self) -> Incoming {
        Incoming { path: self.incoming.join(Uuid::new_v4().simple().to_string()) }
    }

    /// Gives `incoming`, whose bytes are on the disk, its place. The kernel
    /// decides between racers: link(2) fails where the name is taken.
    pub(super) fn place(&self, incoming: &Incoming, path: &Path, only_new: bool) -> io::Result<Stored> {
        let folder = path.parent().unwrap_or(&self.root);
        loop {
            self.make_folder(folder)?;
            let placed =
                if only_new { fs::hard_link(incoming.path(), path) } else { fs::rename(incoming.path(), path) };
            match placed {
                Ok(()) => break,
                Err(error) if only_new && error.kind() == io::ErrorKind::AlreadyExists => return Ok(Stored::Exists),
                // A deletion took the empty folder away in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound && incoming.path().exists() => {}
                Err(error) => return Err(error),
            }
        }
        sync_folder(folder)?;
        Ok(Stored::Written)
    }

    /// Makes `folder` and what is above it; each name is on the disk before it is used.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.root);
        loop {
            self.make_folder(above)?;
            match fs::create_dir(folder) {
                Ok(()) => return sync_folder(above),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes an object; one that is not there is removed already. Folders that
    /// are empty then go with it.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut folder = path.parent();
        while let Some(at) = folder.filter(|at| *at != self.root && at.starts_with(&self.root)) {
            if fs::remove_dir(at).is_err() {
                return sync_folder(at).or_else(|error| if absent(&error) { Ok(()) } else { Err(error) });
            }
            folder = at.parent();
        }
        sync_folder(&self.root)
    }

    /// At most `limit` objects whose keys begin with `prefix` and come after `after`.
    pub(super) fn list(&self, prefix: &str, after: &str, limit: usize) -> io::Result<Page> {
        let mut page = Page::default();
        self.walk("", prefix, after, limit, &mut page)?;
        Ok(page)
    }

    fn walk(&self, folder: &str, prefix: &str, after: &str, limit: usize, page: &mut Page) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            // Removed since its name was read.
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Every name that came in through a key is UTF-8.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            let key = format!("{folder}{name}{slash}");
            let may_match = key.starts_with(prefix) || (!slash.is_empty() && prefix.starts_with(&key));
            let comes_after = key.as_str() > after || (!slash.is_empty() && after.starts_with(&key));
            if may_match && comes_after {
                names.push(key);
            }
        }
        // With its slash a folder stands where its keys stand.
        names.sort_unstable();
        for key in names {
            if page.truncated {
                break;
            }
            if key.ends_with('/') {
                self.walk(&key, prefix, after, limit, page)?;
                continue;
            }
            if page.entries.len() >= limit {
                page.truncated = true;
                break;
            }
            match fs::metadata(self.root.join(&key)) {
                Ok(metadata) => page.entries.push(Entry { key, metadata }),
                Err(error) if absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the error says that there is no such object: a part of its key may
/// also be an object where a folder would have to be.
pub(super) fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

/// Opaque, and another one for each write: each write makes a new file.
pub(super) fn etag(metadata: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}{:08x}", metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // A file system that cannot sync folders keeps names by itself (fsync(2)).
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => other,
    }
}
