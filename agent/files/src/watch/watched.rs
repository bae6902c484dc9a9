//! The directories of one watch, by number and by path: pure.

use std::collections::{BTreeMap, HashMap};

use super::hub::{DirId, Wd};

#[derive(Debug, Default)]
pub(super) struct Watched {
    by_id: HashMap<DirId, (Vec<u8>, Wd)>,
    by_path: BTreeMap<Vec<u8>, DirId>,
    last: DirId,
}

impl Watched {
    /// A number that no directory had before.
    pub(super) fn next(&mut self) -> DirId {
        self.last += 1;
        self.last
    }

    /// The directory that is known at `path`.
    pub(super) fn at(&self, path: &[u8]) -> Option<(DirId, Wd)> {
        let id = *self.by_path.get(path)?;
        self.by_id.get(&id).map(|(_, wd)| (id, *wd))
    }

    pub(super) fn insert(&mut self, id: DirId, path: Vec<u8>, wd: Wd) {
        self.by_path.insert(path.clone(), id);
        self.by_id.insert(id, (path, wd));
    }

    pub(super) fn path(&self, id: DirId) -> Option<&[u8]> {
        self.by_id.get(&id).map(|(path, _)| path.as_slice())
    }

    pub(super) fn forget(&mut self, id: DirId) {
        if let Some((path, _)) = self.by_id.remove(&id)
            && self.by_path.get(&path) == Some(&id)
        {
            self.by_path.remove(&path);
        }
    }

    /// Takes out the directory at `path` and all below it.
    pub(super) fn remove(&mut self, path: &[u8]) -> Vec<(DirId, Wd)> {
        if path.is_empty() {
            return self.clear();
        }
        let mut ids: Vec<DirId> = self.by_path.remove(path).into_iter().collect();
        // What is below begins with the path and a slash, which "0" comes after.
        let (first, behind) = ([path, b"/"].concat(), [path, b"0"].concat());
        let below: Vec<Vec<u8>> = self.by_path.range(first..behind).map(|(path, _)| path.clone()).collect();
        ids.extend(below.iter().filter_map(|path| self.by_path.remove(path)));
        ids.into_iter().filter_map(|id| self.by_id.remove(&id).map(|(_, wd)| (id, wd))).collect()
    }

    pub(super) fn clear(&mut self) -> Vec<(DirId, Wd)> {
        self.by_path.clear();
        self.by_id.drain().map(|(id, (_, wd))| (id, wd)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_what_is_below_and_nothing_else() {
        let mut watched = Watched::default();
        for (number, path) in ["", "a", "a-b", "a/b", "a/b/c", "a0", "ab"].iter().enumerate() {
            let id = watched.next();
            watched.insert(id, path.as_bytes().to_vec(), number as Wd);
        }
        let mut gone: Vec<_> = watched.remove(b"a").into_iter().map(|(_, wd)| wd).collect();
        gone.sort_unstable();
        assert_eq!(gone, [1, 3, 4]);
        assert!(watched.remove(b"a").is_empty());
        assert_eq!(watched.path(3), Some(&b"a-b"[..]));
        watched.forget(3);
        assert_eq!(watched.path(3), None);
        assert_eq!(watched.remove(b"").len(), 3);
    }
}
