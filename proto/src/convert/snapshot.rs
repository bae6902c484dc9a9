//! The requests of `SnapshotService`, validated.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use remora_proto_model::{Fault, Generation};

use super::files::Packing;
use crate::agent::v1::{
    CreateSnapshotRequest, ExportSnapshotRequest, ListSnapshotsRequest, PruneSnapshotsRequest, RestoreSnapshotRequest,
    SnapshotConsistency,
};

/// Longest time that processes may stay stopped after a commit: as long as the
/// longest lease of `Freeze`.
pub const MAX_HOLD: Duration = Duration::from_millis(300_000);
/// Most labels of a snapshot: they live in every root, which every listing reads.
pub const MAX_LABELS: usize = 16;
/// Longest key of a label, in bytes.
pub const MAX_LABEL_KEY_BYTES: usize = 63;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Most snapshots on one page of a listing: each is one request to the store.
pub const MAX_PAGE: u32 = 1_000;
/// Snapshots on a page where the caller does not say.
pub const DEFAULT_PAGE: u32 = 100;

/// The id of a snapshot, `sequence-generation-nonce`: two decimal
/// numbers and lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Longest id, in bytes: two 64-bit numbers and a 32-byte nonce.
    pub const MAX_BYTES: usize = 20 + 1 + 20 + 1 + 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its place in the lineage.
    pub fn sequence(&self) -> u64 {
        self.number(0)
    }

    /// The generation that committed it.
    pub fn generation(&self) -> Generation {
        Generation(self.number(1))
    }

    fn number(&self, part: usize) -> u64 {
        // Checked when it was made.
        self.0.split('-').nth(part).and_then(|digits| digits.parse().ok()).unwrap_or_default()
    }
}

impl FromStr for SnapshotId {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let mut parts = text.split('-');
        let mut number = || parts.next().is_some_and(|part| digits(part) && part.parse::<u64>().is_ok());
        let numbers = number() && number();
        let nonce = parts.next().is_some_and(|nonce| {
            !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
        });
        if numbers && nonce && parts.next().is_none() && text.len() <= Self::MAX_BYTES {
            return Ok(SnapshotId(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Fault::invalid("snapshot", format!("{shown:?} is no snapshot id"))
            .hint("ids are sequence-generation-nonce, as a listing shows them; leave it empty for the newest"))
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The snapshot that `text` names; empty is the newest, `None`.
pub fn optional_id(text: &str) -> Result<Option<SnapshotId>, Fault> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// A checked [`CreateSnapshotRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateSnapshot {
    /// Whether every file is read.
    pub full: bool,
    /// Whether the processes are stopped meanwhile.
    pub quiesced: bool,
    /// How long they stay stopped after the commit.
    pub hold: Duration,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// Whether a tree that the newest snapshot holds makes no other one.
    pub only_changes: bool,
}

impl TryFrom<CreateSnapshotRequest> for CreateSnapshot {
    type Error = Fault;
    fn try_from(request: CreateSnapshotRequest) -> Result<Self, Fault> {
        let quiesced = quiesced(request.consistency)?;
        let hold = Duration::from_millis(request.hold_ms.into());
        if hold > MAX_HOLD {
            return Err(Fault::invalid(
                "hold_ms",
                format!("{} is more than {}", request.hold_ms, MAX_HOLD.as_millis()),
            ));
        }
        if !hold.is_zero() && !quiesced {
            return Err(Fault::invalid("hold_ms", "only processes that were stopped can stay so")
                .hint("ask for QUIESCED, or leave hold_ms at 0"));
        }
        if request.labels.len() > MAX_LABELS {
            return Err(Fault::invalid("labels", format!("{} given; at most {MAX_LABELS}", request.labels.len())));
        }
        for (key, value) in &request.labels {
            label(key, value)?;
        }
        Ok(CreateSnapshot {
            full: request.full,
            quiesced,
            hold,
            labels: request.labels.into_iter().collect(),
            only_changes: request.only_changes,
        })
    }
}

fn label(key: &str, value: &str) -> Result<(), Fault> {
    let shown: String = key.chars().take(80).collect();
    if key.is_empty() || key.len() > MAX_LABEL_KEY_BYTES || key.chars().any(char::is_control) {
        return Err(Fault::invalid(
            "labels",
            format!("the key {shown:?} must have 1 to 63 bytes, none of them a control"),
        ));
    }
    if value.len() > MAX_LABEL_VALUE_BYTES {
        return Err(Fault::invalid("labels", format!("the value of {shown:?} has {} bytes; at most 255", value.len())));
    }
    Ok(())
}

fn quiesced(consistency: i32) -> Result<bool, Fault> {
    match SnapshotConsistency::try_from(consistency) {
        Ok(SnapshotConsistency::Unspecified | SnapshotConsistency::Online) => Ok(false),
        Ok(SnapshotConsistency::Quiesced) => Ok(true),
        Err(_) => Err(Fault::invalid("consistency", format!("{consistency} is neither ONLINE (1) nor QUIESCED (2)"))),
    }
}

/// A checked [`RestoreSnapshotRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreSnapshot {
    /// The snapshot; `None` is the newest.
    pub snapshot: Option<SnapshotId>,
    /// Whether the processes are stopped meanwhile.
    pub quiesced: bool,
}

impl TryFrom<RestoreSnapshotRequest> for RestoreSnapshot {
    type Error = Fault;
    fn try_from(request: RestoreSnapshotRequest) -> Result<Self, Fault> {
        Ok(RestoreSnapshot { snapshot: optional_id(&request.snapshot)?, quiesced: quiesced(request.consistency)? })
    }
}

/// A checked [`ExportSnapshotRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSnapshot {
    /// The snapshot; `None` is the newest.
    pub snapshot: Option<SnapshotId>,
    /// How its archive is packed.
    pub packing: Packing,
}

impl TryFrom<ExportSnapshotRequest> for ExportSnapshot {
    type Error = Fault;
    fn try_from(request: ExportSnapshotRequest) -> Result<Self, Fault> {
        let ExportSnapshotRequest { snapshot, format } = request;
        Ok(ExportSnapshot { snapshot: optional_id(&snapshot)?, packing: Packing::of(format)? })
    }
}

/// A checked [`ListSnapshotsRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSnapshots {
    /// How many at most.
    pub page_size: usize,
    /// The last snapshot of the page before.
    pub after: Option<SnapshotId>,
}

impl TryFrom<ListSnapshotsRequest> for ListSnapshots {
    type Error = Fault;
    fn try_from(request: ListSnapshotsRequest) -> Result<Self, Fault> {
        let size = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size };
        if size > MAX_PAGE {
            return Err(Fault::invalid("page_size", format!("{size} is more than {MAX_PAGE}")));
        }
        let after = optional_id(&request.page_token)
            .map_err(|_| Fault::invalid("page_token", "is none that List gave").hint("begin again without one"))?;
        Ok(ListSnapshots { page_size: size as usize, after })
    }
}

/// A checked [`PruneSnapshotsRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneSnapshots {
    /// How many of the newest stay.
    pub keep_last: usize,
    /// Of how many hours the newest stays.
    pub keep_hourly: usize,
    /// Of how many days the newest stays.
    pub keep_daily: usize,
    /// Snapshots with one of these labels stay.
    pub keep_labels: Vec<String>,
    /// Whether nothing is removed.
    pub dry_run: bool,
}

impl TryFrom<PruneSnapshotsRequest> for PruneSnapshots {
    type Error = Fault;
    fn try_from(request: PruneSnapshotsRequest) -> Result<Self, Fault> {
        if request.keep_last == 0 {
            return Err(Fault::invalid("keep_last", "is 0; at least the newest snapshot stays").hint("give 1 or more"));
        }
        if request.keep_labels.len() > MAX_LABELS {
            return Err(Fault::invalid("keep_labels", format!("{} given; at most 16", request.keep_labels.len())));
        }
        for key in &request.keep_labels {
            label(key, "")?;
        }
        Ok(PruneSnapshots {
            keep_last: request.keep_last as usize,
            keep_hourly: request.keep_hourly as usize,
            keep_daily: request.keep_daily as usize,
            keep_labels: request.keep_labels,
            dry_run: request.dry_run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_grammar() {
        let id: SnapshotId = "00000000000000000012-3-0a1b".parse().unwrap();
        assert_eq!((id.sequence(), id.generation()), (12, Generation(3)));
        let long = format!("1-1-{}", "a".repeat(200));
        for bad in [
            "",
            "1",
            "1-1",
            "1-1-",
            "1-1-g",
            "1-1-A",
            "-1-a",
            "1--a",
            "1-1-a-b",
            "+1-1-a",
            "1-1-../a",
            "18446744073709551616-1-a",
            &long,
        ] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad:?}");
        }
        assert_eq!(optional_id("").unwrap(), None);
    }

    #[test]
    fn what_a_create_may_not_ask_for_is_named() {
        let good = CreateSnapshotRequest { consistency: 2, hold_ms: 1_000, ..Default::default() };
        let checked = CreateSnapshot::try_from(good.clone()).unwrap();
        assert!(checked.quiesced && checked.hold == Duration::from_secs(1));
        let labelled = |key: &str, value: &str| CreateSnapshotRequest {
            labels: [(key.to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        let many = (0..17).map(|number| (number.to_string(), String::new())).collect();
        for (field, bad) in [
            ("consistency", CreateSnapshotRequest { consistency: 9, ..good.clone() }),
            ("hold_ms", CreateSnapshotRequest { hold_ms: 300_001, ..good.clone() }),
            ("hold_ms", CreateSnapshotRequest { consistency: 1, ..good }),
            ("labels", labelled("", "x")),
            ("labels", labelled("a\nb", "x")),
            ("labels", labelled(&"k".repeat(64), "x")),
            ("labels", labelled("k", &"v".repeat(256))),
            ("labels", CreateSnapshotRequest { labels: many, ..Default::default() }),
        ] {
            let fault = CreateSnapshot::try_from(bad).unwrap_err();
            assert!(fault.message.starts_with(field), "{fault}");
        }
    }

    #[test]
    fn pages_and_retention_are_bounded() {
        let page = |page_size, token: &str| {
            ListSnapshots::try_from(ListSnapshotsRequest { page_size, page_token: token.to_owned() })
        };
        assert_eq!(page(0, "").unwrap().page_size, 100);
        assert!(page(1_001, "").is_err() && page(1, "x").is_err());
        assert!(PruneSnapshots::try_from(PruneSnapshotsRequest::default()).is_err());
        let keep =
            PruneSnapshotsRequest { keep_last: 1, keep_labels: vec!["release".to_owned()], ..Default::default() };
        assert_eq!(PruneSnapshots::try_from(keep).unwrap().keep_last, 1);
        let stray = RestoreSnapshotRequest { snapshot: "../x".to_owned(), consistency: 1 };
        assert!(RestoreSnapshot::try_from(stray).is_err());
    }
}
