//! [`Fault`] over gRPC: a `google.rpc.Status` with `ErrorInfo` (domain
//! `remora.dev`; effect, hint, errno and stage as its metadata) and `RetryInfo`.
//! The rules are those of <https://google.aip.dev/193>.

use std::{collections::HashMap, time::Duration};

use remora_proto_model::{Effect, Fault, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `ErrorInfo.domain` of every error of ours.
pub const DOMAIN: &str = "remora.dev";

/// Longest message that is sent, in bytes: headers are bounded at 16 KiB and
/// carry the text twice (percent-encoded and in the details).
const MAX_TEXT_BYTES: usize = 2_000;

/// The status that carries `fault`.
pub fn to_status(fault: &Fault) -> Status {
    let mut metadata = HashMap::from([
        ("effect".to_owned(), fault.effect.as_str().to_owned()),
        ("retryable".to_owned(), fault.retryable().to_string()),
    ]);
    if !fault.hint.is_empty() {
        metadata.insert("hint".to_owned(), clip(&fault.hint));
    }
    if let Some(errno) = fault.errno {
        metadata.insert("errno".to_owned(), errno.to_string());
    }
    if let Some(stage) = &fault.stage {
        metadata.insert("stage".to_owned(), clip(stage));
    }
    let mut details = ErrorDetails::with_error_info(fault.reason.as_str(), DOMAIN, metadata);
    if let Some(wait) = fault.retry_after {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(Code::from(fault.reason.grpc() as i32), clip(&fault.message), details)
}

/// The fault that `status` carries, or what can be said of a status that is not
/// of our making (a transport failure, another server's error).
pub fn from_status(status: &Status) -> Fault {
    // Of a newer peer's word its code is the best we have.
    carried(status).unwrap_or_else(|| foreign(status))
}

/// The fault that `status` carries; `None` where it is not of our making.
pub fn carried(status: &Status) -> Option<Fault> {
    let details = status.get_error_details();
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
    let reason = info.reason.parse::<Reason>().ok()?;
    Some(Fault {
        reason,
        message: status.message().to_owned().into(),
        hint: info.metadata.get("hint").cloned().unwrap_or_default().into(),
        effect: info.metadata.get("effect").and_then(|word| Effect::parse(word)).unwrap_or(Effect::NotApplied),
        errno: info.metadata.get("errno").and_then(|number| number.parse().ok()),
        stage: info.metadata.get("stage").cloned().map(Into::into),
        retry_after,
    })
}

fn foreign(status: &Status) -> Fault {
    let (reason, effect) = match status.code() {
        Code::Cancelled => (Reason::Cancelled, Effect::MayHaveApplied),
        Code::InvalidArgument => (Reason::InvalidArgument, Effect::NotApplied),
        Code::DeadlineExceeded => (Reason::DeadlineExceeded, Effect::MayHaveApplied),
        Code::NotFound => (Reason::NotFound, Effect::NotApplied),
        Code::AlreadyExists => (Reason::AlreadyExists, Effect::NotApplied),
        Code::PermissionDenied => (Reason::VerbNotGranted, Effect::NotApplied),
        Code::ResourceExhausted => (Reason::LimitReached, Effect::NotApplied),
        Code::FailedPrecondition => (Reason::FailedPrecondition, Effect::NotApplied),
        Code::Aborted => (Reason::Conflict, Effect::MayHaveApplied),
        Code::OutOfRange => (Reason::OutOfRange, Effect::NotApplied),
        Code::Unimplemented => (Reason::Unimplemented, Effect::NotApplied),
        Code::Unauthenticated => (Reason::CredentialsInvalid, Effect::NotApplied),
        // The connection broke: whether the call took effect is unknown.
        Code::Unavailable | Code::Unknown => (Reason::Unavailable, Effect::MayHaveApplied),
        Code::DataLoss | Code::Internal | Code::Ok => (Reason::Internal, Effect::MayHaveApplied),
    };
    Fault::new(reason, status.message().to_owned()).effect(effect)
}

fn clip(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let mut end = MAX_TEXT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}

/// Waits shorter than this are not worth a caller's sleep.
pub const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_crosses_the_wire_whole() {
        for reason in Reason::ALL {
            let fault = Fault::new(*reason, "what was wrong")
                .hint("what to do")
                .effect(Effect::Applied)
                .errno(28)
                .stage("upload")
                .retry_after(Duration::from_secs(2));
            assert_eq!(from_status(&to_status(&fault)), fault);
        }
    }

    #[test]
    fn a_long_text_is_clipped_on_a_character() {
        let status = to_status(&Fault::new(Reason::Internal, "é".repeat(5_000)));
        assert!(status.message().len() < 2_100);
        assert!(status.message().ends_with("(10000 bytes in all)"));
    }

    #[test]
    fn a_broken_connection_may_have_applied() {
        let fault = from_status(&Status::unavailable("connection reset"));
        assert_eq!((fault.reason, fault.effect), (Reason::Unavailable, Effect::MayHaveApplied));
    }
}
