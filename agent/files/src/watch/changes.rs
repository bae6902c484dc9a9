//! What changed since the last batch, one change a path: pure.

use std::collections::BTreeMap;

use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MAX_PENDING_CHANGES};

/// How an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new under its name: made, moved there, or put in the place of another.
    /// Where it is a directory, what was known below is void and all is told anew.
    Created,
    /// Its content, mode or times are others.
    Modified,
    /// It is gone from its name, with all below.
    Removed,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which entry, from the root.
    pub path: Vec<u8>,
    /// What became of it.
    pub kind: ChangeKind,
}

/// The changes that wait for their batch.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_path: BTreeMap<Vec<u8>, ChangeKind>,
    /// More came than are held: the watched tree is to be looked at anew.
    missed: bool,
}

impl Changes {
    pub(super) fn note(&mut self, path: Vec<u8>, kind: ChangeKind) {
        if self.missed {
            return;
        }
        if kind != ChangeKind::Modified {
            self.void_below(&path);
        }
        match (self.by_path.get(&path), kind) {
            // Whoever hears that it is new reads it as it is by then.
            (Some(ChangeKind::Created), ChangeKind::Modified) => {}
            _ => {
                self.by_path.insert(path, kind);
            }
        }
        if self.by_path.len() > MAX_PENDING_CHANGES {
            self.miss();
        }
    }

    /// Forgets what is below `path`: the change there says more.
    fn void_below(&mut self, path: &[u8]) {
        // What is below begins with the path and a slash, which "0" comes after.
        let (first, behind) = ([path, b"/"].concat(), [path, b"0"].concat());
        while let Some((below, _)) = self.by_path.range(first.clone()..behind.clone()).next() {
            let below = below.clone();
            self.by_path.remove(&below);
        }
    }

    /// Something was missed, so that what is known is worth no more than a look.
    pub(super) fn miss(&mut self) {
        self.by_path.clear();
        self.missed = true;
    }

    /// The batches that carry all of it, and whether the first of them says that
    /// something was missed. Nothing is left.
    pub(super) fn take(&mut self) -> (Vec<Vec<Change>>, bool) {
        let missed = std::mem::take(&mut self.missed);
        let mut batches = if missed { vec![Vec::new()] } else { Vec::new() };
        let mut bytes = usize::MAX;
        for (path, kind) in std::mem::take(&mut self.by_path) {
            bytes = bytes.saturating_add(path.len());
            match batches.last_mut() {
                Some(batch) if bytes <= MAX_BATCH_BYTES && batch.len() < MAX_BATCH_CHANGES => {
                    batch.push(Change { path, kind });
                }
                _ => {
                    bytes = path.len();
                    batches.push(vec![Change { path, kind }]);
                }
            }
        }
        (batches, missed)
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeKind::*, *};

    #[test]
    fn the_last_word_on_a_path_counts() {
        for (kinds, told) in [
            (vec![Created, Modified, Modified], Created),
            (vec![Modified, Modified], Modified),
            (vec![Created, Removed], Removed),
            (vec![Removed, Created], Created),
            (vec![Modified, Created], Created),
            (vec![Modified, Removed, Created, Modified], Created),
        ] {
            let mut changes = Changes::default();
            for kind in &kinds {
                changes.note(b"x".to_vec(), *kind);
            }
            let expected = vec![vec![Change { path: b"x".to_vec(), kind: told }]];
            assert_eq!(changes.take(), (expected, false), "{kinds:?}");
            assert_eq!(changes.take(), (Vec::new(), false));
        }
    }

    #[test]
    fn a_directory_that_is_new_or_gone_voids_what_is_below() {
        for kind in [Created, Removed, Modified] {
            let mut changes = Changes::default();
            for path in ["d", "d-x", "d/a", "d/b/c", "d0"] {
                changes.note(path.as_bytes().to_vec(), Modified);
            }
            changes.note(b"d".to_vec(), kind);
            let left: Vec<_> = changes.take().0.concat().into_iter().map(|change| change.path).collect();
            let all: &[&[u8]] = &[b"d", b"d-x", b"d/a", b"d/b/c", b"d0"];
            assert_eq!(left, if kind == Modified { all.to_vec() } else { vec![&b"d"[..], b"d-x", b"d0"] }, "{kind:?}");
        }
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes_and_in_order() {
        let mut changes = Changes::default();
        for number in 0..2_500 {
            changes.note(format!("f{number:05}").into_bytes(), Created);
        }
        for number in 0..300 {
            changes.note(format!("g{number:03}{}", "x".repeat(4_000)).into_bytes(), Created);
        }
        let (batches, missed) = changes.take();
        assert!(!missed && batches.iter().all(|batch| !batch.is_empty() && batch.len() <= MAX_BATCH_CHANGES));
        let bytes = |batch: &Vec<Change>| batch.iter().map(|change| change.path.len()).sum::<usize>();
        assert!(batches.iter().all(|batch| bytes(batch) <= MAX_BATCH_BYTES));
        let all: Vec<_> = batches.concat();
        assert!(all.len() == 2_800 && all.is_sorted_by_key(|change| change.path.clone()));
    }

    #[test]
    fn too_many_changes_become_one_word() {
        let mut changes = Changes::default();
        for number in 0..=MAX_PENDING_CHANGES {
            changes.note(number.to_le_bytes().to_vec(), Modified);
        }
        changes.note(b"later".to_vec(), Modified);
        assert_eq!(changes.take(), (vec![Vec::new()], true));
    }
}
