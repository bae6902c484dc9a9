//! Create: a snapshot of a workspace, committed.
//!
//! One walk in path order, beside the manifest of the head: what is proven to be
//! unchanged is taken over as it stands there; everything else is read, cut,
//! compressed and sent. Then the pages that are new, and last the root.

mod clock;
mod cut;
mod frame_table;
mod links;
mod packs;
mod pages;
mod parent;
mod reading;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use remora_agent_root::{EntryKind, Root, limits::MAX_PATH_BYTES};
use rustix::{
    fs::{Mode, OFlags, Stat, fstat, openat, readlinkat},
    io::Errno,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    Counts, Lineage, Progress, SnapshotError, Stage, StoredRoot,
    format::{Class, Content, Entry, Node, Observed, Root as RootObject, SnapshotId, Statistics, Timestamp},
    limits::{
        COMMIT_WITHIN, MAX_FILE_BYTES, MAX_FUZZY_PATHS, MAX_TREE_BYTES, MAX_TREE_ENTRIES, MAX_XATTRS, MAX_XATTRS_BYTES,
    },
    lineage::now_ms,
    rules::{Rules, Tally, is_tagged},
    shown,
    tree::{Cursor, Found, Step, Walk, extended, extended_of_link},
};
use links::{First, Links};
use packs::Packs;
use pages::{Pages, Part, Places};
use parent::Parent;

/// How a snapshot is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Whether every file is read, even one that seems unchanged.
    pub full: bool,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// How large the workspace may be.
    pub bounds: TreeBounds,
    /// Whether a workspace that the head holds as it is makes no other snapshot: the head is the answer.
    pub only_changes: bool,
    /// The folder for a file without a name that is needed meanwhile; the system's own
    /// for temporary files where none is given.
    pub scratch: Option<PathBuf>,
}

/// How large a workspace may be. One that is larger is refused by the scan, before
/// anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeBounds {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files, holes not counted.
    pub bytes: u64,
}

impl Default for TreeBounds {
    fn default() -> Self {
        TreeBounds { entries: MAX_TREE_ENTRIES, bytes: MAX_TREE_BYTES }
    }
}

/// Makes a snapshot of what is below `workspace` and commits it. An error that does
/// not say otherwise committed nothing.
pub async fn create(
    lineage: &Lineage,
    workspace: &Root,
    rules: &Rules,
    options: CreateOptions,
    progress: Arc<dyn Progress>,
    cancel: &CancellationToken,
) -> Result<StoredRoot, SnapshotError> {
    let cancel = cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    lineage.check_owned()?;
    let began = Instant::now();
    let head = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(SnapshotError::Cancelled),
        head = lineage.head() => head?,
    };
    if let Some(head) = &head {
        lineage.see_generation(head.root.id.generation)?;
    }
    let scratch = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let creator = Creator {
        runtime: Handle::current(),
        lineage: lineage.clone(),
        cancel: cancel.clone(),
        progress: Arc::clone(&progress),
        root: workspace.clone(),
        cursor: Cursor::new(workspace.clone()),
        rules: rules.clone(),
        tally: Tally::default(),
        full: options.full,
        bounds: options.bounds,
        links: Links::new(links::Names::default(), &scratch),
        scratch,
        statistics: Statistics::default(),
        fuzzy: Vec::new(),
        counts: Counts::default(),
    };
    let parent = head.clone();
    let made = tokio::task::spawn_blocking(move || creator.run(parent.as_ref()))
        .await
        .unwrap_or(Err(SnapshotError::Defect { what: "the thread of a snapshot ended early" }))?;
    if began.elapsed() > COMMIT_WITHIN {
        return Err(SnapshotError::TooSlow { hours: COMMIT_WITHIN.as_secs() / 3_600 });
    }
    if options.only_changes
        && let Some(head) = head.filter(|head| holds(head, &made.root))
    {
        return Ok(head);
    }
    progress.report(Counts { stage: Stage::Commit, ..made.counts });
    // Whether a commit that is under way took place is worth waiting for.
    if cancel.is_cancelled() {
        return Err(SnapshotError::Cancelled);
    }
    lineage.commit(RootObject { labels: options.labels, ..made.root }).await
}

/// Whether `head` holds what `made` would. Equal pages are equal trees: they are named by their content.
fn holds(head: &StoredRoot, made: &RootObject) -> bool {
    !head.root.removed && head.root.pages == made.pages && head.root.fuzzy.is_empty() && made.fuzzy.is_empty()
}

/// A snapshot whose packs and pages are in the store.
struct Made {
    root: RootObject,
    counts: Counts,
}

/// A snapshot on its blocking thread.
struct Creator {
    runtime: Handle,
    lineage: Lineage,
    cancel: CancellationToken,
    progress: Arc<dyn Progress>,
    root: Root,
    cursor: Cursor,
    rules: Rules,
    tally: Tally,
    full: bool,
    bounds: TreeBounds,
    links: Links,
    scratch: PathBuf,
    statistics: Statistics,
    fuzzy: Vec<Vec<u8>>,
    counts: Counts,
}

impl Creator {
    fn run(mut self, head: Option<&StoredRoot>) -> Result<Made, SnapshotError> {
        let created_ms = now_ms();
        let mut clock = clock::now();
        self.count()?;
        let mut packs = Packs::new(&self.runtime, &self.lineage, &self.cancel);
        let mut pages = Pages::new(&self.runtime, &self.lineage, &self.cancel);
        let mut parent = Parent::open(&self, head, &clock, &mut packs, &mut pages)?;
        if parent.clock_was_set {
            // What was written just before the clock was set may look old by now, so
            // the next scan can tell nothing by these times either.
            clock.racy_since = Timestamp { seconds: i64::MIN, nanos: 0 };
        }

        let (rules, tally) = (self.rules.clone(), std::mem::take(&mut self.tally));
        let ignored = |path: &[u8], kind: EntryKind| {
            let dropped = rules.dropped(path, kind);
            if let Some(dropped) = &dropped {
                tally.add(dropped, path);
            }
            dropped.is_some()
        };
        self.top(&mut parent, &mut packs, &mut pages)?;
        let mut walk = Walk::new(self.root.clone(), &ignored)?;
        // The topmost directory of what can be made again, while the walk is in it.
        let mut derived: Option<Vec<u8>> = None;
        while let Some(step) = walk.step()? {
            if self.cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            match step {
                Step::Leave(path) => {
                    if derived.as_ref() == Some(&path) {
                        derived = None;
                    }
                }
                Step::Entry(found) => {
                    if derived.is_none()
                        && found.kind() == EntryKind::Directory
                        && (Rules::is_derived(&found.path) || self.cursor.directory(&found.path).is_ok_and(is_tagged))
                    {
                        derived = Some(found.path.clone());
                    }
                    let class = if derived.is_some() { Class::Derived } else { Class::Keep };
                    self.entry(&found, class, &mut parent, &mut packs, &mut pages)?;
                }
            }
        }
        packs.finish(&mut pages)?;
        let pages = pages.finish(&packs)?;
        let stored = packs.settle()? + pages.stored;
        let (rules, skipped_entries) = tally.reports();
        self.statistics.stored_bytes = stored;
        self.statistics.skipped_entries = skipped_entries;
        Ok(Made {
            root: RootObject {
                // Both come with the commit.
                id: SnapshotId { sequence: 0, generation: self.lineage.generation(), nonce: [0; 16] },
                parent: None,
                claim: false,
                origin: None,
                removed: false,
                created_ms,
                labels: BTreeMap::new(),
                statistics: self.statistics,
                fuzzy: self.fuzzy,
                rules,
                clock,
                pages: pages.references,
            },
            counts: self.counts,
        })
    }

    /// How much there is, for whoever waits; refuses what goes beyond a bound.
    fn count(&mut self) -> Result<(), SnapshotError> {
        let (mut entries, mut bytes, mut names) = (0, 0, links::Names::default());
        let rules = self.rules.clone();
        let ignored = move |path: &[u8], kind: EntryKind| rules.dropped(path, kind).is_some();
        let mut walk = Walk::new(self.root.clone(), &ignored)?;
        while let Some(found) = walk.entry()? {
            if self.cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            let within = |what, found: u64, limit, path: &[u8]| match found <= limit {
                true => Ok(()),
                false => Err(SnapshotError::TooLarge { what, found, limit, path: shown(path) }),
            };
            entries += 1;
            within("the number of entries", entries, self.bounds.entries, &found.path)?;
            within("the length of a path", found.path.len() as u64, MAX_PATH_BYTES as u64, &found.path)?;
            if has_names(&found.stat) {
                names.add((found.stat.st_dev, found.stat.st_ino), &found.path)?;
            }
            if found.kind() == EntryKind::File {
                // Blocks are of 512 bytes, whatever the file system's are.
                let content = (found.stat.st_size as u64).min((found.stat.st_blocks as u64).saturating_mul(512));
                bytes += content;
                within("the content of a file in bytes", content, MAX_FILE_BYTES, &found.path)?;
                within("the content of all files in bytes", bytes, self.bounds.bytes, &found.path)?;
                self.counts.files_total += 1;
                self.counts.bytes_total += found.stat.st_size as u64;
                self.progress.report(Counts {
                    stage: Stage::Scan,
                    files_done: self.counts.files_total,
                    ..Counts::default()
                });
            }
        }
        self.links = Links::new(names, &self.scratch);
        self.counts.stage = Stage::Upload;
        Ok(())
    }

    /// The root of the tree.
    fn top(&mut self, parent: &mut Parent, packs: &mut Packs, pages: &mut Pages) -> Result<(), SnapshotError> {
        let stat = fstat(&self.root).map_err(|errno| SnapshotError::file("look at", b"", errno))?;
        let found = Found { path: Vec::new(), stat };
        self.entry(&found, Class::Keep, parent, packs, pages)
    }

    fn entry(
        &mut self,
        found: &Found,
        class: Class,
        parent: &mut Parent,
        packs: &mut Packs,
        pages: &mut Pages,
    ) -> Result<(), SnapshotError> {
        let before = parent.advance(self, &found.path, packs)?;
        let observed = observed(&found.stat);
        let identity = (found.stat.st_dev, found.stat.st_ino);
        let linked = has_names(&found.stat);
        if linked && let Some(First { path: first, mode, uid, gid, mtime }) = self.links.first(identity)? {
            self.statistics.hardlinks += 1;
            let (path, node) = (found.path.clone(), Node::Hardlink { first });
            let entry = Entry { path, mode, uid, gid, mtime, class, xattrs: Vec::new(), node };
            return pages.push(packs, Part { entry, places: Places::default(), observed });
        }
        let unchanged = before.filter(|before| parent.proves(before, &found.stat) && class == before.entry.class);
        let part = match unchanged {
            Some(before) => before,
            None => match self.look(found, class, packs, pages)? {
                Some(part) => fits(part)?,
                // It went meanwhile.
                None => return Ok(()),
            },
        };
        self.tell(&part);
        if linked {
            self.links.meet(identity, &First::of(&part.entry))?;
        }
        pages.push(packs, part)
    }

    fn tell(&mut self, part: &Part) {
        match &part.entry.node {
            Node::Directory => self.statistics.directories += 1,
            Node::Symlink { .. } => self.statistics.symlinks += 1,
            Node::Fifo => self.statistics.fifos += 1,
            Node::Hardlink { .. } => {}
            Node::File(content) => {
                self.statistics.files += 1;
                self.statistics.content_bytes +=
                    part.places.iter().map(|(_, place)| u64::from(place.length)).sum::<u64>();
                self.counts.files_done += 1;
                self.counts.bytes_done += content.size;
                self.progress.report(self.counts);
            }
        }
    }

    /// An entry as it is now.
    fn look(
        &mut self,
        found: &Found,
        class: Class,
        packs: &mut Packs,
        pages: &mut Pages,
    ) -> Result<Option<Part>, SnapshotError> {
        let path = &found.path;
        let failed = |action| move |errno| SnapshotError::file(action, path, errno);
        let blank = |stat: &Stat, node| Entry {
            path: path.clone(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            class,
            xattrs: Vec::new(),
            node,
        };
        match found.kind() {
            EntryKind::Directory => {
                // One that went meanwhile is kept as it was seen: what the walk finds in
                // it later must not lie in a directory that the manifest lacks.
                let Ok(fd) = self.cursor.directory(path) else {
                    let entry = blank(&found.stat, Node::Directory);
                    return Ok(Some(Part { entry, places: Places::default(), observed: Observed::default() }));
                };
                let stat = fstat(fd).map_err(failed("look at"))?;
                let xattrs = extended(fd).map_err(failed("read the attributes of"))?;
                let entry = Entry { xattrs, ..blank(&stat, Node::Directory) };
                Ok(Some(Part { entry, places: Places::default(), observed: observed(&stat) }))
            }
            EntryKind::Symlink => {
                let (directory, name) = self.cursor.parent(path)?;
                let Ok(target) = readlinkat(directory, name, Vec::new()) else { return Ok(None) };
                let mut entry = blank(&found.stat, Node::Symlink { target: target.into_bytes() });
                entry.mode = 0o777;
                entry.xattrs = extended_of_link(directory, name).map_err(failed("read the attributes of"))?;
                Ok(Some(Part { entry, places: Places::default(), observed: observed(&found.stat) }))
            }
            EntryKind::Fifo => {
                let (directory, name) = self.cursor.parent(path)?;
                let mut entry = blank(&found.stat, Node::Fifo);
                entry.xattrs = extended_of_link(directory, name).map_err(failed("read the attributes of"))?;
                Ok(Some(Part { entry, places: Places::default(), observed: observed(&found.stat) }))
            }
            EntryKind::File => {
                let (directory, name) = self.cursor.parent(path)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let fd = match openat(directory, name, flags, Mode::empty()) {
                    Ok(fd) => fd,
                    Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
                    Err(errno) => return Err(failed("open")(errno)),
                };
                let read = reading::read(&fd, path, packs, pages, &self.cancel)?;
                let Some(read) = read else { return Ok(None) };
                if read.fuzzy {
                    self.statistics.fuzzy_files += 1;
                    if self.fuzzy.len() < MAX_FUZZY_PATHS {
                        self.fuzzy.push(path.clone());
                    }
                }
                let xattrs = extended(&fd).map_err(failed("read the attributes of"))?;
                let content = Content { size: read.size, ..Content::default() };
                let entry = Entry { xattrs, ..blank(&read.stat, Node::File(content)) };
                // Of a file that never came to rest nothing is proven by its times.
                let observed = if read.fuzzy { Observed::default() } else { observed(&read.stat) };
                Ok(Some(Part { entry, places: read.places.into(), observed }))
            }
            EntryKind::Socket | EntryKind::CharDevice | EntryKind::BlockDevice => Ok(None),
        }
    }
}

fn has_names(stat: &Stat) -> bool {
    stat.st_nlink > 1 && EntryKind::of_mode(stat.st_mode) != EntryKind::Directory
}

/// Refuses an entry with more attributes than a manifest holds.
fn fits(part: Part) -> Result<Part, SnapshotError> {
    let Entry { path, xattrs, .. } = &part.entry;
    let bytes: usize = xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
    for (what, found, limit) in [
        ("the number of extended attributes", xattrs.len(), MAX_XATTRS),
        ("the length of all extended attributes", bytes, MAX_XATTRS_BYTES),
    ] {
        if found > limit {
            return Err(SnapshotError::TooLarge { what, found: found as u64, limit: limit as u64, path: shown(path) });
        }
    }
    Ok(part)
}

fn observed(stat: &Stat) -> Observed {
    Observed { ctime: Timestamp { seconds: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 }, inode: stat.st_ino }
}
