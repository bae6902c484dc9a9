//! [`Manifest`]: the pages of one snapshot, read as often as needed.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use crate::{
    Lineage, SnapshotError, StoredRoot,
    format::{Dedup, Entry, Node, Page, PageRef, path_order},
    limits::{MANIFEST_CACHE_BYTES, MAX_FETCHES},
};

/// See the module. The stored bytes of the first pages stay in memory, up to a
/// bound; what is decoded does not.
#[derive(Debug)]
pub(crate) struct Manifest {
    lineage: Lineage,
    pages: Vec<PageRef>,
    /// Whether whole pages are kept, and not only their restore data.
    whole: bool,
    kept: Mutex<Vec<Option<Bytes>>>,
}

impl Manifest {
    /// The manifest of `snapshot`; with `whole` its dedup index can be read too.
    pub(crate) async fn open(lineage: &Lineage, snapshot: &StoredRoot, whole: bool) -> Result<Self, SnapshotError> {
        let pages = snapshot.root.pages.clone();
        let manifest = Manifest { lineage: lineage.clone(), kept: Mutex::new(vec![None; pages.len()]), pages, whole };
        let mut room = MANIFEST_CACHE_BYTES;
        let kept = manifest.pages.iter().enumerate().take_while(|(_, page)| {
            let length = manifest.length(page);
            let fits = length <= room;
            room -= length.min(room);
            fits
        });
        let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
        let fetches = kept.into_iter().map(|at| {
            let manifest = &manifest;
            async move { (at, manifest.fetch(&manifest.pages[at]).await) }.boxed()
        });
        let mut fetched = stream::iter(fetches).buffer_unordered(MAX_FETCHES);
        while let Some((at, bytes)) = fetched.next().await {
            manifest.keep(at, bytes?);
        }
        drop(fetched);
        Ok(manifest)
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    fn length(&self, page: &PageRef) -> usize {
        (if self.whole { page.stored } else { page.restore_stored }) as usize
    }

    fn keep(&self, at: usize, bytes: Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(|broken| broken.into_inner());
        kept[at] = Some(bytes);
    }

    async fn fetch(&self, page: &PageRef) -> Result<Bytes, SnapshotError> {
        let range = (!self.whole).then(|| 0..u64::from(page.restore_stored));
        self.lineage.object(&page.id.page_key(), range).await
    }

    async fn bytes(&self, at: usize) -> Result<Bytes, SnapshotError> {
        let kept = self.kept.lock().unwrap_or_else(|broken| broken.into_inner())[at].clone();
        match kept {
            Some(bytes) => Ok(bytes),
            None => self.fetch(&self.pages[at]).await,
        }
    }

    /// The restore data of the page at `at`.
    pub(crate) async fn page(&self, at: usize) -> Result<Page, SnapshotError> {
        let (named, bytes) = (&self.pages[at], self.bytes(at).await?);
        let data = bytes.get(..named.restore_stored as usize).unwrap_or(&bytes);
        Page::decode_restore(self.lineage.crypt(), named, data)
    }

    /// The page at `at` with its dedup index. Only of a manifest opened for that.
    pub(crate) async fn whole_page(&self, at: usize) -> Result<(Page, Dedup), SnapshotError> {
        Page::decode(self.lineage.crypt(), &self.pages[at], &self.bytes(at).await?)
    }
}

/// Holds a manifest to what no page can tell by itself: one order over all pages,
/// and every entry in a directory that came before.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The directories on the way to the last entry, the root of the tree first.
    directories: Vec<Vec<u8>>,
    last: Vec<u8>,
    /// Where the file that was not at its end goes on, and its length.
    unfinished: Option<(u64, u64)>,
}

impl Order {
    /// Takes the next entry; an error says what is wrong with it.
    pub(crate) fn next(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let more = match &entry.node {
            Node::File(content) if content.more => content.end().map(|end| (end, content.size)),
            _ => None,
        };
        if let Some((end, size)) = std::mem::replace(&mut self.unfinished, more) {
            let goes_on = matches!(&entry.node, Node::File(content) if content.start == end && content.size == size);
            return if goes_on && entry.path == self.last { Ok(()) } else { Err("a file ends in the middle") };
        }
        if matches!(&entry.node, Node::File(content) if content.start > 0) {
            return Err("a file begins in the middle");
        }
        if self.directories.is_empty() {
            if !entry.path.is_empty() || entry.node != Node::Directory {
                return Err("it does not begin with the root of the tree");
            }
            self.directories.push(Vec::new());
            return Ok(());
        }
        if path_order(&self.last, &entry.path).is_ge() {
            return Err("its entries are out of order");
        }
        let above = crate::tree::split(&entry.path).0;
        while self.directories.last().is_some_and(|directory| directory != above) {
            self.directories.pop();
        }
        if self.directories.is_empty() {
            return Err("an entry lies in no directory");
        }
        if entry.node == Node::Directory {
            self.directories.push(entry.path.clone());
        }
        self.last.clone_from(&entry.path);
        Ok(())
    }

    /// After the last entry.
    pub(crate) fn end(&self) -> Result<(), &'static str> {
        match self.unfinished {
            Some(_) => Err("a file ends in the middle"),
            None if self.directories.is_empty() => Err("it does not begin with the root of the tree"),
            None => Ok(()),
        }
    }
}

/// Whether `entry` goes on with the file of the entry before it.
pub(crate) fn continues(entry: &Entry) -> bool {
    matches!(&entry.node, Node::File(content) if content.start > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Class, Content, Timestamp};

    fn entry(path: &str, node: Node) -> Entry {
        Entry {
            path: path.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            class: Class::Keep,
            xattrs: Vec::new(),
            node,
        }
    }

    fn file(start: u64, more: bool) -> Node {
        Node::File(Content { size: 9, start, more, chunks: Vec::new() })
    }

    fn check(entries: &[(&str, Node)]) -> Result<(), &'static str> {
        let mut order = Order::default();
        for (path, node) in entries {
            order.next(&entry(path, node.clone()))?;
        }
        order.end()
    }

    #[test]
    fn only_a_tree_in_order_is_one() {
        let d = || Node::Directory;
        check(&[("", d())]).unwrap();
        check(&[("", d()), ("a", d()), ("a/b", d()), ("a/b/c", file(0, false)), ("a/d", file(0, false)), ("b", d())])
            .unwrap();
        for bad in [
            &[][..],
            &[("a", d())],
            &[("", file(0, false))],
            &[("", d()), ("b", d()), ("a", d())],
            &[("", d()), ("a", d()), ("a", d())],
            &[("", d()), ("a/b", d())],
            &[("", d()), ("a", file(0, false)), ("a/b", d())],
            &[("", d()), ("a", Node::Symlink { target: b"/etc".to_vec() }), ("a/b", d())],
            &[("", d()), ("a", file(3, false))],
            &[("", d()), ("a", file(0, true))],
            &[("", d()), ("a", file(0, true)), ("b", file(0, false))],
        ] {
            check(bad).unwrap_err();
        }
    }
}
