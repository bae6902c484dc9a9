//! One record a call: who asked for what, on which surface, and how it ended. As
//! JSON, one object a line.
//!
//! A record names methods, paths, programs and ids. It never has what a file
//! holds, what a command is given or prints, an environment or a secret.
//!
//! ```text
//! begin ─► who ─► project, verb ─► target ─► outcome ─► written when the last part of the call lets go
//! ```

mod observed;
mod sink;
mod target;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use remora_proto_model::{Fault, ProjectId, Verb};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

pub(crate) use self::{
    observed::Observed,
    sink::{Destination, Sink},
    target::{Peeked, Seen, container, names_a_container},
};
use crate::{auth::Identity, limits::MAX_REQUEST_ID_CHARACTERS};

/// Names a call in the records of everybody who sees it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It did what it was asked for.
    Ok,
    /// It was not allowed or made no sense, and did nothing of it.
    Refused,
    /// It was tried and failed.
    Failed,
    /// Its caller left before the end.
    Cancelled,
}

/// The written form. Frozen: fields are added, never renamed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// When it began (RFC 3339).
    time: String,
    request_id: String,
    surface: &'static str,
    method: String,
    /// The name of a key or a ServiceAccount, or for whom a token is.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    /// The id of the key or token.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_id: Option<String>,
    /// key, token or serviceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'static str>,
    /// Who made the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verb: Option<&'static str>,
    /// Paths, a program or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    duration_ms: u64,
}

/// Where records go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Audit(Option<Arc<Sink>>);

impl Audit {
    /// Records go to `sink`; `None` keeps none.
    pub(crate) fn new(sink: Option<Sink>) -> Self {
        Audit(sink.map(Arc::new))
    }

    /// The record of a call that begins.
    pub(crate) fn begin(&self, surface: &'static str, method: String, headers: &HeaderMap) -> Entry {
        let now = OffsetDateTime::now_utc();
        let time = now.replace_millisecond(now.millisecond()).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
        let record = Record {
            time,
            request_id: request_id(headers),
            surface,
            method,
            caller: None,
            caller_id: None,
            credential: None,
            made_by: None,
            project: None,
            verb: None,
            target: None,
            outcome: Outcome::Cancelled,
            reason: None,
            duration_ms: 0,
        };
        Entry(Arc::new(Open { audit: self.clone(), begun: Instant::now(), record: Mutex::new(record) }))
    }
}

/// The caller's own id of the call, where it can be one; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=MAX_REQUEST_ID_CHARACTERS).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
    };
    given.filter(plain).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// The record of one call, while it lasts. Cheap to clone; written when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Entry(Arc<Open>);

#[derive(Debug)]
struct Open {
    audit: Audit,
    begun: Instant,
    record: Mutex<Record>,
}

impl Entry {
    /// The id of the call, for its answer.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.record().request_id.as_str()).ok()
    }

    pub(crate) fn who(&self, identity: &Identity) {
        let mut record = self.record();
        record.caller = Some(identity.name().to_owned());
        record.caller_id = Some(identity.id().to_owned());
        record.credential = Some(identity.kind());
        record.made_by = identity.made_by().map(str::to_owned);
    }

    pub(crate) fn project(&self, project: ProjectId) {
        self.record().project = Some(project);
    }

    pub(crate) fn verb(&self, verb: Verb) {
        self.record().verb = Some(verb.as_str());
    }

    pub(crate) fn target(&self, target: String) {
        self.record().target = Some(target);
    }

    /// It ended as it should.
    pub(crate) fn ok(&self) {
        let mut record = self.record();
        if record.reason.is_none() {
            record.outcome = Outcome::Ok;
        }
    }

    /// It ended with `fault`.
    pub(crate) fn fault(&self, fault: &Fault) {
        self.ended(fault.reason);
    }

    /// It ended with `reason`.
    pub(crate) fn ended(&self, reason: remora_proto_model::Reason) {
        let mut record = self.record();
        record.outcome = outcome(reason);
        record.reason = Some(reason.as_str());
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reason means for the record: the caller's doing, ours, or nobody's.
fn outcome(reason: remora_proto_model::Reason) -> Outcome {
    match reason.http() {
        499 => Outcome::Cancelled,
        400..=498 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(sink) = &self.audit.0 else { return };
        let record = self.record.get_mut().unwrap_or_else(PoisonError::into_inner);
        record.duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Text, numbers and words serialise.
        sink.write(&serde_json::to_vec(record).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::Reason;

    use super::*;

    #[test]
    fn a_callers_id_is_kept_where_it_is_one() {
        let of = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(of("trace-1.2:3/4"), "trace-1.2:3/4");
        for bad in ["", "a b", "a\"b", &"x".repeat(MAX_REQUEST_ID_CHARACTERS + 1)] {
            assert!(Uuid::try_parse(&of(bad)).is_ok(), "{bad:?}");
        }
    }

    #[test]
    fn whose_doing_an_end_was_is_told_by_its_reason() {
        assert_eq!(outcome(Reason::VerbNotGranted), Outcome::Refused);
        assert_eq!(outcome(Reason::NotFound), Outcome::Refused);
        assert_eq!(outcome(Reason::ProjectNotReady), Outcome::Failed);
        assert_eq!(outcome(Reason::Cancelled), Outcome::Cancelled);
    }

    #[test]
    fn a_record_is_one_line_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::new(Some(Sink::open(&Destination::File(path.clone())).unwrap()));
        let entry = audit.begin("rest", "GET /api/v1/projects/{name}/files/{path}".to_owned(), &HeaderMap::new());
        let other = entry.clone();
        entry.verb(Verb::FileRead);
        entry.target("a\nb".to_owned());
        entry.fault(&Fault::new(Reason::NotFound, "secret detail"));
        entry.ok();
        drop(entry);
        assert_eq!(std::fs::read(&path).unwrap(), b"", "it has not ended");
        drop(other);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&record["outcome"], &record["reason"]), (&"refused".into(), &"NOT_FOUND".into()));
        assert_eq!((&record["verb"], &record["target"]), (&"file.read".into(), &"a\nb".into()));
        assert!(!text.contains("secret detail"));
    }
}
