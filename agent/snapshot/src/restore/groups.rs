//! [`Groups`]: the inodes of a snapshot that have several names, by the first one.
//!
//! A snapshot may hold a million hard links, with paths of any length. So a first
//! name is kept as a hash, under a key of this run: nobody can make two of them equal.

use rand::RngCore as _;

use crate::{SnapshotError, format::Class, limits::MAX_LINKED_NAMES};

/// An inode with several names.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    first: u128,
    /// Device and inode where the first is in place already.
    pub(crate) in_place: Option<(u64, u64)>,
    /// How many names it has.
    pub(crate) names: u32,
    /// Class of the first.
    pub(crate) class: Class,
    /// Whether the first came by and is what can have several names.
    pub(crate) met: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    key: [u8; 32],
    ascending: Vec<Group>,
}

/// First names as they are met, one for each further name.
#[derive(Debug)]
pub(crate) struct Gathered {
    key: [u8; 32],
    firsts: Vec<u128>,
}

impl Gathered {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Gathered { key, firsts: Vec::new() }
    }

    /// Takes the first name that a further name, at `path`, is of.
    pub(crate) fn add(&mut self, first: &[u8], path: &[u8]) -> Result<(), SnapshotError> {
        if self.firsts.len() >= MAX_LINKED_NAMES {
            return Err(SnapshotError::TooLarge {
                what: "the number of hard links in the snapshot",
                found: self.firsts.len() as u64 + 1,
                limit: MAX_LINKED_NAMES as u64,
                path: crate::shown(path),
            });
        }
        self.firsts.push(hash(&self.key, first));
        Ok(())
    }

    pub(crate) fn groups(mut self) -> Groups {
        self.firsts.sort_unstable();
        let runs = self.firsts.chunk_by(|a, b| a == b);
        let ascending = runs
            .map(|run| Group {
                first: run[0],
                in_place: None,
                names: run.len() as u32 + 1,
                class: Class::Keep,
                met: false,
            })
            .collect();
        Groups { key: self.key, ascending }
    }
}

impl Groups {
    /// The inode whose first name is `path`; `None` where it has no other.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Group> {
        self.find(path).map(|at| &self.ascending[at])
    }

    /// As [`Groups::get`], to note something about it.
    pub(crate) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Group> {
        self.find(path).map(|at| &mut self.ascending[at])
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        if self.ascending.is_empty() {
            return None;
        }
        let first = hash(&self.key, path);
        self.ascending.binary_search_by_key(&first, |group| group.first).ok()
    }
}

fn hash(key: &[u8; 32], path: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    blake3::Hasher::new_keyed(key).update(path).finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_by_their_first() {
        let mut gathered = Gathered::new();
        for first in ["b", "a", "b", "b", "c/d"] {
            gathered.add(first.as_bytes(), b"x").unwrap();
        }
        let mut groups = gathered.groups();
        let names = |groups: &Groups, path: &str| groups.get(path.as_bytes()).map(|group| group.names);
        assert_eq!(["a", "b", "c/d", "d"].map(|path| names(&groups, path)), [Some(2), Some(4), Some(2), None]);
        groups.get_mut(b"b").unwrap().met = true;
        assert!(groups.get(b"b").unwrap().met && !groups.get(b"a").unwrap().met);
        assert_eq!(names(&Groups::default(), "a"), None);
    }
}
