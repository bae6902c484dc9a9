//! A [`Store`] in a folder of a local file system.
//!
//! An object appears whole and durable or not at all: it is written and synced
//! under a temporary name, then gets its key by link(2) (which fails where the
//! key exists, so of many writers exactly one wins, across processes too) or by
//! rename(2).

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use rustix::io::Errno;
use uuid::Uuid;

use super::{
    LIST_PAGE_OBJECTS, ListPage, ObjectInfo, PutCondition, PutOutcome, Store, StoreError, check_key, check_range,
};

/// Where objects are while they are written. Keys have no leading full stop, so
/// no listing shows it.
const INCOMING: &str = ".incoming";

/// Age after which an unfinished object belongs to a writer that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Clone, Debug)]
pub struct DirStore {
    folder: Arc<Path>,
}

impl DirStore {
    /// The store in `folder`, which must exist. What writers that died more than
    /// a day ago left unfinished is removed.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        if !folder.is_dir() {
            return Err(StoreError::BucketMissing { bucket: folder.display().to_string() });
        }
        let incoming = folder.join(INCOMING);
        fs::create_dir_all(&incoming).map_err(|error| failure("OPEN", INCOMING, &error))?;
        sweep(&incoming).map_err(|error| failure("OPEN", INCOMING, &error))?;
        Ok(DirStore { folder: folder.into() })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let folder = Arc::clone(&self.folder);
        async move {
            tokio::task::spawn_blocking(move || work(&folder)).await.unwrap_or_else(|error| {
                Err(StoreError::Unavailable { action: "RUN", key: String::new(), detail: error.to_string() })
            })
        }
        .boxed()
    }
}

impl Store for DirStore {
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>> {
        let key = key.to_owned();
        self.run(move |folder| put(folder, &key, &body, condition))
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let key = key.to_owned();
        self.run(move |folder| get(folder, &key, range))
    }

    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>> {
        let key = key.to_owned();
        self.run(move |folder| {
            check_key(&key)?;
            match fs::metadata(folder.join(&key)) {
                Ok(meta) if meta.is_file() => Ok(Some(info(key, &meta))),
                Ok(_) => Ok(None),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(failure("HEAD", &key, &error)),
            }
        })
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        let prefix = prefix.to_owned();
        let start_after = start_after.map(str::to_owned);
        self.run(move |folder| list(folder, &prefix, start_after.as_deref()))
    }

    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let key = key.to_owned();
        self.run(move |folder| {
            check_key(&key)?;
            match fs::remove_file(folder.join(&key)) {
                Ok(()) => Ok(()),
                Err(error) if is_absent(&error) => Ok(()),
                Err(error) => Err(failure("DELETE", &key, &error)),
            }
        })
    }
}

fn put(folder: &Path, key: &str, body: &[u8], condition: PutCondition) -> Result<PutOutcome, StoreError> {
    check_key(key)?;
    let target = folder.join(key);
    let parent = target.parent().unwrap_or(folder);
    if condition == PutCondition::IfAbsent && target.exists() {
        return Ok(PutOutcome::Exists);
    }
    let incoming = folder.join(INCOMING).join(Uuid::new_v4().simple().to_string());
    let staged = stage(&incoming, body).and_then(|()| make_folder(folder, parent));
    let placed = staged.and_then(|()| match condition {
        PutCondition::Always => fs::rename(&incoming, &target),
        PutCondition::IfAbsent => fs::hard_link(&incoming, &target),
    });
    // Gone already after a rename; a link leaves the temporary name behind.
    let _ = fs::remove_file(&incoming);
    match placed {
        Ok(()) => {}
        Err(error) if condition == PutCondition::IfAbsent && error.kind() == io::ErrorKind::AlreadyExists => {
            return Ok(PutOutcome::Exists);
        }
        Err(error) => return Err(failure("PUT", key, &error)),
    }
    // The name must be as durable as the bytes before anybody is told.
    sync_folder(parent).map_err(|error| StoreError::OutcomeUnknown {
        key: key.to_owned(),
        detail: format!("syncing the folder: {error}"),
    })?;
    Ok(PutOutcome::Stored)
}

fn stage(incoming: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(incoming)?;
    file.write_all(body)?;
    file.sync_all()
}

fn make_folder(folder: &Path, parent: &Path) -> io::Result<()> {
    if parent.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(parent)?;
    // Each new folder's name is an entry of the one above it.
    for above in parent.ancestors().skip(1).take_while(|above| above.starts_with(folder)) {
        sync_folder(above)?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn get(folder: &Path, key: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
    check_key(key)?;
    let fail = |error: io::Error| {
        if is_absent(&error) { StoreError::NotFound { key: key.to_owned() } } else { failure("GET", key, &error) }
    };
    let mut file = File::open(folder.join(key)).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return Err(StoreError::NotFound { key: key.to_owned() });
    }
    let range = range.unwrap_or(0..meta.len());
    check_range(key, &range, meta.len())?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
    file.read_exact(&mut bytes).map_err(fail)?;
    Ok(bytes.into())
}

fn list(folder: &Path, prefix: &str, start_after: Option<&str>) -> Result<ListPage, StoreError> {
    // Only the folder that the prefix names is walked, and nothing above it.
    let below = match prefix.rsplit_once('/') {
        Some((head, _)) => {
            check_key(head)?;
            head
        }
        None => "",
    };
    let mut found = Vec::new();
    walk(folder, below, &mut |key, meta| {
        if key.starts_with(prefix) && start_after.is_none_or(|after| key.as_str() > after) {
            found.push(info(key, meta));
        }
    })
    .map_err(|error| failure("LIST", prefix, &error))?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let more = found.len() > LIST_PAGE_OBJECTS;
    found.truncate(LIST_PAGE_OBJECTS);
    Ok(ListPage { objects: found, more })
}

fn walk(folder: &Path, below: &str, visit: &mut impl FnMut(String, &fs::Metadata)) -> io::Result<()> {
    let entries = match fs::read_dir(folder.join(below)) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let key = if below.is_empty() { name } else { format!("{below}/{name}") };
        if check_key(&key).is_err() {
            continue;
        }
        // Deleted by somebody else between the two calls: not listed.
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        if meta.is_dir() {
            walk(folder, &key, visit)?;
        } else if meta.is_file() {
            visit(key, &meta);
        }
    }
    Ok(())
}

fn sweep(incoming: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in fs::read_dir(incoming)? {
        let entry = entry?;
        let modified = entry.metadata().and_then(|meta| meta.modified());
        if modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > ABANDONED_AFTER)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn info(key: String, meta: &fs::Metadata) -> ObjectInfo {
    ObjectInfo { key, size: meta.len(), modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH) }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failure(action: &'static str, key: &str, error: &io::Error) -> StoreError {
    let (key, detail) = (key.to_owned(), error.to_string());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::Full { key, detail },
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StoreError::Denied { action, key, detail },
        _ => StoreError::Unavailable { action, key, detail },
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::Reason;

    use super::*;

    fn open() -> (tempfile::TempDir, DirStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::open(folder.path()).unwrap();
        (folder, store)
    }

    async fn put(store: &DirStore, key: &str, body: &'static [u8], condition: PutCondition) -> PutOutcome {
        store.put(key, Bytes::from_static(body), condition).await.unwrap()
    }

    #[tokio::test]
    async fn an_object_comes_back_whole_and_by_range() {
        let (_folder, store) = open();
        assert_eq!(put(&store, "a/b/c", b"0123456789", PutCondition::IfAbsent).await, PutOutcome::Stored);
        assert_eq!(put(&store, "a/b/c", b"other", PutCondition::IfAbsent).await, PutOutcome::Exists);
        assert_eq!(store.get("a/b/c", None).await.unwrap(), &b"0123456789"[..]);
        assert_eq!(store.get("a/b/c", Some(2..5)).await.unwrap(), &b"234"[..]);
        assert_eq!(store.get("a/b/c", Some(10..10)).await.unwrap(), &b""[..]);
        assert!(matches!(store.get("a/b/c", Some(8..11)).await, Err(StoreError::OutOfRange { .. })));
        assert_eq!(put(&store, "a/b/c", b"new", PutCondition::Always).await, PutOutcome::Stored);
        assert_eq!(store.head("a/b/c").await.unwrap().unwrap().size, 3);
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let (folder, store) = open();
        assert!(store.get("a/b", None).await.unwrap_err().is_not_found());
        assert_eq!(store.head("a/b").await.unwrap(), None);
        store.delete("a/b").await.unwrap();
        let missing = DirStore::open(folder.path().join("none")).unwrap_err();
        assert_eq!(missing.reason(), Reason::BucketMissing);
        let escape = store.get("../x", None).await.unwrap_err();
        assert_eq!(escape.reason(), Reason::InvalidArgument);
    }

    #[tokio::test]
    async fn a_listing_is_ordered_paged_and_blind_to_unfinished_objects() {
        let (folder, store) = open();
        for number in (0..LIST_PAGE_OBJECTS + 5).rev() {
            // Placed by hand: a thousand syncs are not what this test is about.
            fs::create_dir_all(folder.path().join("roots")).unwrap();
            fs::write(folder.path().join(format!("roots/{number:05}")), b"x").unwrap();
        }
        put(&store, "packs/1", b"x", PutCondition::Always).await;
        fs::write(folder.path().join(INCOMING).join("half"), b"x").unwrap();
        let first = store.list("roots/", None).await.unwrap();
        assert!(first.more);
        assert_eq!(first.objects.len(), LIST_PAGE_OBJECTS);
        assert!(first.objects.is_sorted_by_key(|object| object.key.clone()));
        let rest = store.list("roots/", Some(&first.objects.last().unwrap().key)).await.unwrap();
        assert_eq!((rest.objects.len(), rest.more), (5, false));
        assert_eq!(store.list("roots/0000", None).await.unwrap().objects.len(), 10);
        assert_eq!(store.list("", None).await.unwrap().objects[0].key, "packs/1");
        assert_eq!(store.list("nothing/", None).await.unwrap(), ListPage::default());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_64_racing_writers_exactly_one_wins() {
        let (_folder, store) = open();
        let race = (0..64_u8).map(|number| store.put("roots/1", vec![number].into(), PutCondition::IfAbsent));
        let outcomes = futures_util::future::join_all(race).await;
        let won: Vec<_> = (0..64).filter(|at| outcomes[*at] == Ok(PutOutcome::Stored)).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(store.get("roots/1", None).await.unwrap(), &[won[0] as u8][..]);
    }

    #[test]
    fn what_a_dead_writer_left_is_swept_after_a_day() {
        let (folder, _store) = open();
        let (old, young) = (folder.path().join(INCOMING).join("old"), folder.path().join(INCOMING).join("young"));
        for path in [&old, &young] {
            fs::write(path, b"x").unwrap();
        }
        let file = File::options().write(true).open(&old).unwrap();
        file.set_modified(SystemTime::now() - ABANDONED_AFTER - Duration::from_secs(60)).unwrap();
        DirStore::open(folder.path()).unwrap();
        assert!(!old.exists() && young.exists());
    }
}
