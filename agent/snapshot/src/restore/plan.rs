//! [`Plan`]: what is to be done about each entry of a manifest. Made from the
//! manifest and from what is there; nothing is changed while it is made.

use std::{cmp::Ordering, sync::Arc};

use remora_agent_root::EntryKind;
use rustix::fs::readlinkat;

use super::{
    Living, Restorer,
    compare::Comparison,
    groups::{Gathered, Groups},
    is_ours_or_the_systems, until,
};
use crate::{
    Counts, SnapshotError, Stage,
    format::{Class, Content, Entry, Node, path_order},
    manifest::{Order, continues},
    tree::{Cursor, Found, Step, Walk, same_stat},
};

/// What is to be done about one record of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is there.
    Keep,
    /// A file with this content is there; owner, mode, time or attributes differ.
    Adjust,
    /// A file whose content has to be fetched.
    Write,
    /// Anything else that has to be made: directory, symbolic link, FIFO, further name.
    Make,
}

/// Files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// See the module. Indexed as the manifest is: page, then record.
#[derive(Debug, Default)]
pub(super) struct Plan {
    actions: Vec<Vec<Action>>,
    groups: Groups,
    keep: Amount,
    derived: Amount,
}

impl Plan {
    pub(super) fn action(&self, page: usize, record: usize) -> Action {
        self.actions[page][record]
    }

    /// Whether anything on this page has to be written.
    pub(super) fn writes(&self, page: usize) -> bool {
        self.actions[page].contains(&Action::Write)
    }

    /// What has to be fetched of `class`.
    pub(super) fn wanted(&self, class: Class) -> Amount {
        match class {
            Class::Keep => self.keep,
            Class::Derived => self.derived,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            stage: Stage::Fetch,
            files_total: self.keep.files + self.derived.files,
            bytes_total: self.keep.bytes + self.derived.bytes,
            ..Counts::default()
        }
    }

    /// When the name `entry` of the inode `first` can be given: with the later of both.
    pub(super) fn class_of_name(&self, entry: &Entry, first: &[u8]) -> Class {
        self.groups.get(first).map_or(entry.class, |group| group.class.max(entry.class))
    }

    fn want(&mut self, class: Class, amount: Amount) {
        let wanted = match class {
            Class::Keep => &mut self.keep,
            Class::Derived => &mut self.derived,
        };
        wanted.files += amount.files;
        wanted.bytes += amount.bytes;
    }
}

/// Bytes of a record that are no hole.
pub(super) fn stored_bytes(content: &Content) -> u64 {
    content.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
}

impl Restorer {
    /// The plan for an empty workspace.
    pub(super) fn plan_empty(&mut self) -> Result<Plan, SnapshotError> {
        let mut plan = Plan { groups: self.groups()?, ..Plan::default() };
        for at in 0..self.manifest.len() {
            let page = self.page(at)?;
            let (mut actions, mut wanted) = (Vec::with_capacity(page.entries.len()), Vec::new());
            for entry in &page.entries {
                self.meet(&mut plan.groups, entry)?;
                actions.push(match &entry.node {
                    Node::File(content) => {
                        let files = u64::from(content.start == 0);
                        wanted.push((entry.class, Amount { files, bytes: stored_bytes(content) }));
                        Action::Write
                    }
                    _ if entry.path.is_empty() => Action::Keep,
                    _ => Action::Make,
                });
            }
            plan.actions.push(actions);
            wanted.into_iter().for_each(|(class, amount)| plan.want(class, amount));
        }
        Ok(plan)
    }

    /// The plan for a workspace that holds something.
    pub(super) fn plan_living(&mut self) -> Result<Plan, SnapshotError> {
        let mut plan = Plan { groups: self.groups()?, ..Plan::default() };
        let keep_out = Arc::clone(&self.keep_out);
        let ignored = move |path: &[u8], kind: EntryKind| is_ours_or_the_systems(path) || keep_out(path, kind);
        let mut living = Living::new(Walk::new(self.root.clone(), &ignored)?)?;
        let mut running: Option<Running> = None;
        for at in 0..self.manifest.len() {
            let (page, dedup) = until(&self.runtime, &self.cancel, self.manifest.whole_page(at))?;
            plan.actions.push(vec![Action::Keep; page.entries.len()]);
            let mut blobs = dedup.blobs.as_slice();
            for (record, entry) in page.entries.iter().enumerate() {
                self.check_cancelled()?;
                self.meet(&mut plan.groups, entry)?;
                let found = if continues(entry) { None } else { advance(&mut living, &entry.path)? };
                let Node::File(content) = &entry.node else {
                    plan.actions[at][record] = decide(&mut plan.groups, &mut self.cursor, entry, found.as_ref())?;
                    continue;
                };
                if content.start == 0 {
                    let names = plan.groups.get(&entry.path).map_or(1, |group| group.names.into());
                    let clock = &self.snapshot.root.clock;
                    let comparison = Comparison::begin(
                        &mut self.cursor,
                        entry,
                        found.as_ref(),
                        names,
                        (&dedup.observed[record], clock),
                    )?;
                    running = Some(Running { comparison, records: Vec::new(), bytes: 0 });
                }
                let (of_record, rest) = blobs.split_at(content.chunks.len());
                blobs = rest;
                let Some(file) = &mut running else { continue };
                file.records.push((at, record));
                file.bytes += stored_bytes(content);
                file.comparison.add(self.lineage.crypt(), content, of_record, &self.cancel)?;
                if !content.more
                    && let Some(file) = running.take()
                {
                    let action = file.comparison.conclude(entry)?;
                    file.records.iter().for_each(|(page, record)| plan.actions[*page][*record] = action);
                    match (action, plan.groups.get_mut(&entry.path), file.comparison.identity()) {
                        (Action::Write, _, _) => plan.want(entry.class, Amount { files: 1, bytes: file.bytes }),
                        (_, Some(group), identity) => group.in_place = identity,
                        _ => {}
                    }
                }
            }
        }
        Ok(plan)
    }

    /// How many names each inode with several has. Checks the shape of the manifest.
    fn groups(&self) -> Result<Groups, SnapshotError> {
        let mut gathered = Gathered::new();
        let mut order = Order::default();
        for at in 0..self.manifest.len() {
            for entry in &self.page(at)?.entries {
                order.next(entry).map_err(|problem| self.misshapen(problem))?;
                if let Node::Hardlink { first } = &entry.node {
                    gathered.add(first, &entry.path)?;
                }
            }
        }
        order.end().map_err(|problem| self.misshapen(problem))?;
        Ok(gathered.groups())
    }

    /// Takes note of the first name of an inode, and refuses a further one whose
    /// first is none.
    fn meet(&self, groups: &mut Groups, entry: &Entry) -> Result<(), SnapshotError> {
        let group = match &entry.node {
            Node::Hardlink { first } => groups.get(first),
            Node::Directory => return Ok(()),
            _ => {
                if let Some(group) = groups.get_mut(&entry.path) {
                    group.met = true;
                    group.class = entry.class;
                }
                return Ok(());
            }
        };
        match group {
            Some(group) if group.met => Ok(()),
            _ => Err(self.misshapen("a further name is of nothing that can have one")),
        }
    }
}

/// A file whose records are being compared.
struct Running {
    comparison: Comparison,
    /// Page and record of each.
    records: Vec<(usize, usize)>,
    bytes: u64,
}

/// Goes on to `path`, past all that lies before it, and returns what is there.
fn advance(living: &mut Living<'_>, path: &[u8]) -> Result<Option<Found>, SnapshotError> {
    loop {
        match living.peek() {
            None => return Ok(None),
            Some(Step::Leave(_)) => {}
            Some(Step::Entry(found)) => match path_order(&found.path, path) {
                Ordering::Less => {}
                Ordering::Greater => return Ok(None),
                Ordering::Equal => {
                    return Ok(match living.take()? {
                        Some(Step::Entry(found)) => Some(found),
                        _ => None,
                    });
                }
            },
        }
        living.take()?;
    }
}

/// What is to be done about an entry that is no regular file.
fn decide(
    groups: &mut Groups,
    cursor: &mut Cursor,
    entry: &Entry,
    found: Option<&Found>,
) -> Result<Action, SnapshotError> {
    let Some(found) = found else {
        return Ok(if entry.path.is_empty() { Action::Keep } else { Action::Make });
    };
    let identity = (found.stat.st_dev, found.stat.st_ino);
    let names = groups.get(&entry.path).map_or(1, |group| group.names.into());
    let in_place = match &entry.node {
        Node::Directory => found.kind() == EntryKind::Directory,
        Node::Hardlink { first } => groups
            .get(first)
            .is_some_and(|group| group.in_place == Some(identity) && found.stat.st_nlink == u64::from(group.names)),
        Node::Fifo => {
            found.kind() == EntryKind::Fifo
                && found.stat.st_nlink == names
                && entry.xattrs.is_empty()
                && same_stat(&found.stat, entry, true)
        }
        Node::Symlink { target } => {
            found.kind() == EntryKind::Symlink
                && found.stat.st_nlink == names
                && entry.xattrs.is_empty()
                && same_stat(&found.stat, entry, false)
                && target_is(cursor, &entry.path, target)?
        }
        Node::File(_) => false,
    };
    if in_place
        && !matches!(entry.node, Node::Hardlink { .. })
        && let Some(group) = groups.get_mut(&entry.path)
    {
        group.in_place = Some(identity);
    }
    Ok(if in_place { Action::Keep } else { Action::Make })
}

fn target_is(cursor: &mut Cursor, path: &[u8], target: &[u8]) -> Result<bool, SnapshotError> {
    let (directory, name) = cursor.parent(path)?;
    Ok(readlinkat(directory, name, Vec::new()).is_ok_and(|there| there.as_bytes() == target))
}
