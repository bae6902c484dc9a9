//! Archives on their way out of the store or into it, for which URLs are signed. They
//! lie beside the lineages, under names that begin with their end: one listing finds
//! what is over, of all projects.

use aws_sdk_s3::operation::{get_object::GetObjectError, head_object::HeadObjectError};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use remora_proto_model::{Fault, ProjectId, Reason};
use uuid::Uuid;

use super::{Store, failure};
use crate::limits::URL_GRACE;

/// Which way an archive goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A snapshot that somebody may download.
    Out,
    /// A project's source that somebody may bring.
    In,
}

impl Way {
    const ALL: [Way; 2] = [Way::Out, Way::In];

    fn folder(self) -> &'static str {
        match self {
            Way::Out => "exports",
            Way::In => "uploads",
        }
    }
}

/// One archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) way: Way,
    /// When its URL ends, in milliseconds since the epoch.
    pub(crate) ends_ms: u64,
    pub(crate) project: ProjectId,
    pub(crate) id: Uuid,
    /// Whether the tar is in a zstd stream.
    pub(crate) zstd: bool,
}

impl Transfer {
    pub(crate) fn new(way: Way, ends_ms: u64, project: ProjectId, zstd: bool) -> Transfer {
        Transfer { way, ends_ms, project, id: Uuid::new_v4(), zstd }
    }

    /// Its object, below the prefix of all lineages.
    pub(crate) fn key(&self, prefix: &str) -> String {
        let Transfer { way, ends_ms, project, id, zstd } = self;
        // With as many digits as any time until the year 2286, so that names sort by it.
        format!("{}{ends_ms:013}-{project}-{id}.{}", folder(prefix, *way), suffix(*zstd))
    }

    /// What names it to whoever brings it: all but its project, which a caller names anyway.
    pub(crate) fn name(&self) -> String {
        format!("{:013}-{}.{}", self.ends_ms, self.id, suffix(self.zstd))
    }

    /// The one of `project` that has this name; `None` where none can.
    pub(crate) fn named(way: Way, project: ProjectId, name: &str) -> Option<Transfer> {
        let (ends, rest) = name.split_at_checked(13)?;
        let rest = rest.strip_prefix('-')?;
        let (id, suffix) = rest.split_once('.')?;
        let transfer = Transfer { way, ends_ms: number(ends)?, project, id: id.parse().ok()?, zstd: zstd(suffix)? };
        (transfer.name() == name).then_some(transfer)
    }

    fn of_key(way: Way, prefix: &str, key: &str) -> Option<Transfer> {
        let file = key.strip_prefix(&folder(prefix, way))?;
        let (ends, rest) = file.split_at_checked(13)?;
        let (project, rest) = rest.strip_prefix('-')?.split_at_checked(36)?;
        let (id, suffix) = rest.strip_prefix('-')?.split_once('.')?;
        Some(Transfer {
            way,
            ends_ms: number(ends)?,
            project: project.parse().ok()?,
            id: id.parse().ok()?,
            zstd: zstd(suffix)?,
        })
    }

    /// Whether nobody can be at it any more.
    fn is_over(&self, now_ms: u64) -> bool {
        let grace = u64::try_from(URL_GRACE.as_millis()).unwrap_or(u64::MAX);
        self.ends_ms.saturating_add(grace) < now_ms
    }
}

fn folder(prefix: &str, way: Way) -> String {
    match prefix {
        "" => format!("{}/", way.folder()),
        prefix => format!("{prefix}/{}/", way.folder()),
    }
}

fn suffix(zstd: bool) -> &'static str {
    if zstd { "tar.zst" } else { "tar" }
}

fn zstd(suffix: &str) -> Option<bool> {
    match suffix {
        "tar" => Some(false),
        "tar.zst" => Some(true),
        _ => None,
    }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// An object as it was found.
pub(crate) struct Found {
    pub(crate) bytes: u64,
    /// Names this content of it.
    etag: String,
}

impl Store {
    /// How many archives of `project` there are whose URL has not ended.
    pub(crate) async fn count_transfers(
        &self,
        prefix: &str,
        way: Way,
        project: ProjectId,
        now_ms: u64,
    ) -> Result<usize, Fault> {
        let mut count = 0;
        self.each_transfer(prefix, way, |_, transfer| {
            count += usize::from(transfer.project == project && transfer.ends_ms > now_ms);
            true
        })
        .await?;
        Ok(count)
    }

    /// Removes what is over, of all projects; how many objects that were.
    pub(crate) async fn sweep_transfers(&self, prefix: &str, now_ms: u64) -> Result<usize, Fault> {
        let mut over = Vec::new();
        for way in Way::ALL {
            self.each_transfer(prefix, way, |key, transfer| {
                let is_over = transfer.is_over(now_ms);
                if is_over {
                    over.push(key.to_owned());
                }
                // They are in the order of their ends.
                is_over
            })
            .await?;
        }
        for key in &over {
            self.remove(key).await?;
        }
        Ok(over.len())
    }

    /// Removes every archive of `project`.
    pub(crate) async fn remove_transfers(&self, prefix: &str, project: ProjectId) -> Result<(), Fault> {
        let mut its = Vec::new();
        for way in Way::ALL {
            self.each_transfer(prefix, way, |key, transfer| {
                if transfer.project == project {
                    its.push(key.to_owned());
                }
                true
            })
            .await?;
        }
        for key in &its {
            self.remove(key).await?;
        }
        Ok(())
    }

    /// Removes one.
    pub(crate) async fn remove_transfer(&self, prefix: &str, transfer: &Transfer) -> Result<(), Fault> {
        self.remove(&transfer.key(prefix)).await
    }

    /// Shows each in the order of its end, until `more` says that it is enough.
    async fn each_transfer(
        &self,
        prefix: &str,
        way: Way,
        mut more: impl FnMut(&str, &Transfer) -> bool,
    ) -> Result<(), Fault> {
        let folder = folder(prefix, way);
        let mut after: Option<String> = None;
        loop {
            let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(&folder).set_start_after(after);
            let listed = list.send().await.map_err(|error| failure("list", &folder, &error))?;
            for key in listed.contents().iter().filter_map(|object| object.key()) {
                if let Some(transfer) = Transfer::of_key(way, prefix, key)
                    && !more(key, &transfer)
                {
                    return Ok(());
                }
            }
            after = listed.contents().last().and_then(|object| object.key()).map(str::to_owned);
            if after.is_none() || !listed.is_truncated().unwrap_or(false) {
                return Ok(());
            }
        }
    }

    /// Looks for the object of a transfer.
    pub(crate) async fn find_transfer(&self, prefix: &str, transfer: &Transfer) -> Result<Option<Found>, Fault> {
        let key = transfer.key(prefix);
        match self.client.head_object().bucket(&self.bucket).key(&key).send().await {
            Ok(found) => Ok(Some(Found {
                bytes: found.content_length().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
                etag: found.e_tag().unwrap_or_default().to_owned(),
            })),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(failure("look at", &key, &error)),
        }
    }

    /// Its bytes, all of that content of it which was found.
    pub(crate) async fn read_transfer(
        &self,
        prefix: &str,
        transfer: &Transfer,
        found: &Found,
    ) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault> {
        let key = transfer.key(prefix);
        let get = self.client.get_object().bucket(&self.bucket).key(&key).if_match(&found.etag).send().await;
        let object = get.map_err(|error| match error.as_service_error() {
            Some(GetObjectError::NoSuchKey(_)) => {
                Fault::new(Reason::NotFound, "the archive was removed from the store meanwhile")
                    .hint("begin another upload")
            }
            _ => failure("read", &key, &error),
        })?;
        Ok(Box::pin(stream::unfold(Some(object.body), move |body| {
            let key = key.clone();
            async move {
                let mut body = body?;
                match body.try_next().await {
                    Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
                    Ok(None) => None,
                    Err(error) => {
                        let text = format!("the store broke off while {key} was read: {error}");
                        Some((Err(Fault::new(Reason::StoreUnavailable, text)), None))
                    }
                }
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_and_sorts_by_its_end() {
        let project = ProjectId::new();
        for (prefix, way, zstd) in [("", Way::Out, true), ("a/b", Way::In, false)] {
            let transfer = Transfer::new(way, 1_790_000_000_000, project, zstd);
            let key = transfer.key(prefix);
            assert_eq!(Transfer::of_key(way, prefix, &key).as_ref(), Some(&transfer));
            assert_eq!(Transfer::of_key(way, "other", &key), None);
            assert_eq!(Transfer::named(way, project, &transfer.name()).as_ref(), Some(&transfer));
            let earlier = Transfer { ends_ms: 999_999_999_999, ..transfer };
            assert!(earlier.key(prefix) < key);
        }
        for bad in ["", "x", "../x", "1790000000000-x.tar", "1790000000000/../../projects/x.tar", "é790000000000-x.tar"]
        {
            assert_eq!(Transfer::named(Way::In, project, bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_over_is_over_for_whoever_began_late_too() {
        let transfer = Transfer::new(Way::Out, 1_000_000, ProjectId::new(), true);
        assert!(!transfer.is_over(1_000_000) && !transfer.is_over(4_600_000));
        assert!(transfer.is_over(4_600_001));
    }
}
