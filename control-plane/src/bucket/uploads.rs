//! Objects that are sent in parts. Until they are whole their parts are files on their
//! way in, which nobody sees; they end with the process.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use uuid::Uuid;

use super::objects::Incoming;
use crate::limits::{BUCKET_UPLOAD_IDLE, MAX_BUCKET_PARTS, MAX_BUCKET_UPLOADS};

/// One part that is here.
struct Part {
    file: Incoming,
    etag: String,
}

struct Upload {
    key: String,
    parts: BTreeMap<i32, Part>,
    touched: Instant,
}

/// Why a request about an upload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such upload, of this object.
    Unknown,
    /// There are as many as are held.
    Full,
    /// The number of a part is none that there can be.
    Number,
    /// A part that was named is not here as it was named, or they are not in order.
    Part,
}

/// The uploads that go on.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<String, Upload>>);

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one of the object `key`; its id.
    pub(super) fn begin(&self, key: &str) -> Result<String, Refused> {
        let mut uploads = self.lock();
        uploads.retain(|_, upload| upload.touched.elapsed() < BUCKET_UPLOAD_IDLE);
        if uploads.len() >= MAX_BUCKET_UPLOADS {
            return Err(Refused::Full);
        }
        let id = Uuid::new_v4().simple().to_string();
        let upload = Upload { key: key.to_owned(), parts: BTreeMap::new(), touched: Instant::now() };
        uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Whether a part of that number may come.
    pub(super) fn expects(&self, id: &str, key: &str, number: i32) -> Result<(), Refused> {
        if !(1..=MAX_BUCKET_PARTS).contains(&number) {
            return Err(Refused::Number);
        }
        let mut uploads = self.lock();
        let upload = uploads.get_mut(id).filter(|upload| upload.key == key).ok_or(Refused::Unknown)?;
        upload.touched = Instant::now();
        Ok(())
    }

    /// Takes a part, in the place of one of its number.
    pub(super) fn put(&self, id: &str, key: &str, number: i32, file: Incoming, etag: String) -> Result<(), Refused> {
        self.expects(id, key, number)?;
        if let Some(upload) = self.lock().get_mut(id) {
            upload.parts.insert(number, Part { file, etag });
        }
        Ok(())
    }

    /// Ends an upload; the files of the parts that were named, in order.
    pub(super) fn complete(&self, id: &str, key: &str, named: &[(i32, String)]) -> Result<Vec<Incoming>, Refused> {
        let mut uploads = self.lock();
        let upload = uploads.get(id).filter(|upload| upload.key == key).ok_or(Refused::Unknown)?;
        let ascending = named.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let there = |(number, etag): &(i32, String)| upload.parts.get(number).is_some_and(|part| part.etag == *etag);
        if named.is_empty() || !ascending || !named.iter().all(there) {
            return Err(Refused::Part);
        }
        let Some(Upload { mut parts, .. }) = uploads.remove(id) else { return Err(Refused::Unknown) };
        Ok(named.iter().filter_map(|(number, _)| parts.remove(number)).map(|part| part.file).collect())
    }

    /// Forgets an upload with all that came of it.
    pub(super) fn abort(&self, id: &str, key: &str) -> Result<(), Refused> {
        let mut uploads = self.lock();
        match uploads.get(id) {
            Some(upload) if upload.key == key => {
                uploads.remove(id);
                Ok(())
            }
            _ => Err(Refused::Unknown),
        }
    }
}

/// Writes `parts` one after the other into `whole`, and waits for the disk.
pub(super) fn join(parts: Vec<Incoming>, whole: &Incoming) -> io::Result<fs::Metadata> {
    let mut file = File::create_new(whole.path())?;
    for part in parts {
        io::copy(&mut File::open(part.path())?, &mut file)?;
        // It is removed here: an object need not be on the disk twice.
        drop(part);
    }
    file.sync_all()?;
    file.metadata()
}
