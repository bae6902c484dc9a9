//! The content of one file: read in parts or whole, written, removed.

use std::io;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use remora_proto::agent::v1::{
    ByteRange, LineRange, ReadRequest, ReadResponse, RemoveRequest, WriteHead, WriteRequest, read_request, write_head,
    write_request::Part,
};
use remora_proto_model::{Fault, Reason};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    agent::{Agent, Target, answer},
    shown::{Content, Cut, Encoding, ShownPath, unfinished_character},
};
use crate::{
    limits::{BODY_STALL_TIMEOUT, MAX_WRITE_CHUNK_BYTES},
    rest::{
        Shared,
        extract::{Asked, json},
        problem::{Problem, Refused},
    },
};

/// What a client sends who wants the bytes and not JSON.
const OCTETS: &str = "application/octet-stream";

/// Which part of a file.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct WhichPart {
    /// First byte. Not together with lines.
    offset: Option<u64>,
    /// Bytes, at most 262,144, which is also the default.
    length: Option<u32>,
    /// First line, from 1.
    line: Option<u64>,
    /// Lines, at most 2,000, which is also the default.
    lines: Option<u64>,
    /// Puts each line's number and a tab before it.
    numbered: bool,
    /// auto (text where it is UTF-8, else base64), text or base64.
    #[param(inline)]
    encoding: Encoding,
}

/// A part of a file.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct FilePart {
    #[serde(flatten)]
    path: ShownPath,
    #[serde(flatten)]
    content: Content,
    /// The file's version: send it as If-Match to write or edit only what was read.
    etag: String,
    /// The file's length in bytes.
    size: u64,
    /// Whether it has a NUL byte near its start.
    binary: bool,
    /// Offset or line of the next part; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// Lines over 2,000 characters that were clipped.
    #[serde(skip_serializing_if = "is_zero")]
    clipped_lines: u64,
    /// Present where this is not the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A part of a file, by bytes or by lines, as JSON. With `Accept: application/octet-stream` the bytes themselves, whole
/// or the one range that the header Range names.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/files/{path}",
    operation_id = "readFile",
    tag = "files",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("path" = String, Path, description = "Path from the workspace, or from the folder that the token is limited to; with its slashes"),
        ("If-Match" = Option<String>, Header, description = "The version that is expected, in quotes"),
        ("Range" = Option<String>, Header, description = "Only for the bytes themselves: one range, bytes=FIRST-LAST"),
        WhichPart
    ),
    responses(
        (status = 200, description = "The part, or all of the bytes", content((FilePart = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = 206, description = "The range of bytes", content_type = "application/octet-stream"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(in crate::rest) async fn read(
    State(_): State<Shared>,
    agent: Agent,
    Target(path): Target,
    Asked(wanted): Asked<WhichPart>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let if_match = expected(&headers)?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains(OCTETS) {
        return bytes(agent, path, if_match, headers.get(header::RANGE)).await;
    }
    let WhichPart { offset, length, line, lines, numbered, encoding } = wanted;
    let by_lines = line.is_some() || lines.is_some() || numbered;
    if by_lines && (offset.is_some() || length.is_some()) {
        return Err(Refused(
            Fault::invalid("line", "cannot be given together with offset or length").hint("read by bytes or by lines"),
        ));
    }
    let range = if by_lines {
        read_request::Range::Lines(LineRange { first: line.unwrap_or(0), count: lines.unwrap_or(0), numbered })
    } else {
        read_request::Range::Bytes(ByteRange { offset: offset.unwrap_or(0), length: length.unwrap_or(0) })
    };
    let request = ReadRequest { path: path.clone(), range: Some(range), if_match };
    let ReadResponse { mut data, etag, size, binary, mut next, clipped_lines } =
        answer(agent.files().read(request).await)?;
    // A character that the range cuts in two is left to the next part.
    let cut = unfinished_character(&data);
    if let (Some(at), true) = (next.as_mut(), !by_lines && encoding == Encoding::Auto && cut < data.len()) {
        data.truncate(data.len() - cut);
        *at -= cut as u64;
    }
    let parameter = if by_lines { "line" } else { "offset" };
    let truncated =
        next.map(|at| Cut::bytes(data.len(), format!("this is not the end of the file; go on with {parameter}={at}")));
    let etag_header = quoted(&etag);
    let part = FilePart {
        path: path.into(),
        content: Content::of(&data, encoding),
        etag,
        size,
        binary,
        next,
        clipped_lines,
        truncated,
    };
    let mut response = json(StatusCode::OK, &part);
    response.headers_mut().extend(etag_header.map(|value| (header::ETAG, value)));
    Ok(response)
}

fn quoted(etag: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{etag}\"")).ok()
}

/// The version in `If-Match`; empty takes any.
fn expected(headers: &HeaderMap) -> Result<String, Fault> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(String::new()) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(String::new());
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|inner| !inner.contains('"'));
    inner.filter(|inner| !inner.is_empty()).map(str::to_owned).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        Fault::invalid("if-match", format!("{shown:?} is no ETag of a file"))
            .hint("send the etag that was read, in quotes")
    })
}

/// `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT` of a file of `size` bytes, as first and behind the last.
fn byte_range(value: &HeaderValue, size: u64) -> Result<(u64, u64), Fault> {
    let text = value.to_str().unwrap_or_default();
    let bad = || {
        let shown: String = text.chars().take(80).collect();
        Fault::invalid("range", format!("{shown:?} is not one range of bytes")).hint("send for example: bytes=0-1023")
    };
    let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(bad)?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| bad());
    let (from, to) = match (first, last) {
        ("", count) => (size.saturating_sub(number(count)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => (number(first)?, number(last)?.checked_add(1).ok_or_else(bad)?.min(size)),
    };
    if from >= size || from >= to {
        return Err(Fault::new(Reason::OutOfRange, format!("range: the file has {size} bytes")));
    }
    Ok((from, to))
}

/// The bytes themselves. One version of the file: where it changes while it is
/// sent, the body breaks off and is not taken for whole.
async fn bytes(agent: Agent, path: Bytes, if_match: String, range: Option<&HeaderValue>) -> Result<Response, Refused> {
    let request = |offset, length, if_match: String| ReadRequest {
        path: path.clone(),
        range: Some(read_request::Range::Bytes(ByteRange { offset, length })),
        if_match,
    };
    // The least part of it tells its size and its version.
    let looked = answer(agent.files().read(request(0, 1, if_match)).await)?;
    let (status, from, to) = match range {
        Some(range) => {
            let (from, to) = byte_range(range, looked.size)?;
            (StatusCode::PARTIAL_CONTENT, from, to)
        }
        None => (StatusCode::OK, 0, looked.size),
    };
    let etag = looked.etag;
    let first = if from < to {
        let length = u32::try_from(to - from).unwrap_or(u32::MAX).min(MAX_PART);
        answer(agent.files().read(request(from, length, etag.clone())).await)?.data
    } else {
        Bytes::new()
    };
    let etag_header = quoted(&etag);
    let parts = Parts { agent, path, etag, at: from, to, first: Some(first) };
    let mut response = Body::from_stream(parts.stream()).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What a project holds is never a page of this server's.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(etag_header.map(|value| (header::ETAG, value)));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::try_from(format!("bytes {from}-{}/{}", to - 1, looked.size))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// Most bytes of one read.
const MAX_PART: u32 = remora_proto::convert::files::MAX_READ_BYTES;

struct Parts {
    agent: Agent,
    path: Bytes,
    etag: String,
    at: u64,
    to: u64,
    first: Option<Bytes>,
}

impl Parts {
    fn stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
        stream::try_unfold(self, |mut parts| async {
            if parts.at >= parts.to {
                return Ok(None);
            }
            let data = match parts.first.take() {
                Some(first) => first,
                None => parts.next().await.map_err(io::Error::other)?,
            };
            if data.is_empty() {
                return Err(io::Error::other("the file became shorter while it was sent"));
            }
            parts.at += data.len() as u64;
            Ok(Some((data, parts)))
        })
    }

    async fn next(&self) -> Result<Bytes, Fault> {
        let length = u32::try_from(self.to - self.at).unwrap_or(u32::MAX).min(MAX_PART);
        let request = ReadRequest {
            path: self.path.clone(),
            range: Some(read_request::Range::Bytes(ByteRange { offset: self.at, length })),
            if_match: self.etag.clone(),
        };
        Ok(answer(self.agent.files().read(request).await)?.data)
    }
}

/// How to write.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Writing {
    /// Make missing directories above it; true where nothing is said.
    #[serde(default = "yes")]
    parents: bool,
    /// Permission bits in octal, for example 0755; absent keeps those of the file that is replaced, else 0644.
    mode: Option<String>,
}

fn yes() -> bool {
    true
}

/// A file that was written.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Written {
    #[serde(flatten)]
    path: ShownPath,
    /// Its version now.
    etag: String,
    size: u64,
    /// Whether there was no such file before.
    created: bool,
}

/// Writes a file whole: the body is its content, byte for byte. The new content replaces the old in one step once all of
/// it is on disk; where the body breaks off, nothing is changed.
#[utoipa::path(
    put,
    path = "/api/v1/projects/{name}/files/{path}",
    operation_id = "writeFile",
    tag = "files",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("path" = String, Path, description = "Path from the workspace, or from the folder that the token is limited to; with its slashes"),
        ("If-Match" = Option<String>, Header, description = "Only if it is this version, in quotes"),
        ("If-None-Match" = Option<String>, Header, description = "With *, only if there is no such file"),
        Writing
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The content"),
    responses(
        (status = 200, body = Written, description = "It was replaced"),
        (status = 201, body = Written, description = "It is new"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(in crate::rest) async fn write(
    State(_): State<Shared>,
    agent: Agent,
    Target(path): Target,
    Asked(Writing { parents, mode }): Asked<Writing>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let condition = match headers.get(header::IF_NONE_MATCH) {
        None => match expected(&headers)? {
            any if any.is_empty() => write_head::Condition::Overwrite(true),
            version => write_head::Condition::IfMatch(version),
        },
        Some(value) if value == "*" && !headers.contains_key(header::IF_MATCH) => write_head::Condition::Create(true),
        Some(_) => return Err(Refused(Fault::invalid("if-none-match", "is not * alone"))),
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let head = WriteHead {
        path: path.clone(),
        condition: Some(condition),
        parents,
        mode: mode.as_deref().map(octal).transpose()?,
        length,
    };
    let written = answer(agent.files().write(messages(head, body)).await)?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let etag = quoted(&written.etag);
    let written = Written { path: path.into(), etag: written.etag, size: written.size, created: written.created };
    let mut response = json(status, &written);
    response.headers_mut().extend(etag.map(|value| (header::ETAG, value)));
    Ok(response)
}

/// Permission bits as chmod(1) takes them.
pub(super) fn octal(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let digits = Some(digits).filter(|digits| digits.len() <= 5 && digits.bytes().all(|digit| digit.is_ascii_digit()));
    digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Fault::invalid("mode", format!("{shown:?} are no permission bits"))
            .hint("write them in octal, for example 0644")
    })
}

/// The head, the body in pieces that a message takes, and the end only where the
/// body came whole: without it the agent changes nothing.
fn messages(head: WriteHead, body: Body) -> impl Stream<Item = WriteRequest> + Send {
    let data = stream::unfold(Some(body.into_data_stream()), |body| async {
        let mut body = body?;
        match timeout(BODY_STALL_TIMEOUT, body.next()).await {
            Ok(Some(Ok(bytes))) => {
                let pieces: Vec<_> = pieces(bytes).map(Part::Data).collect();
                Some((pieces, Some(body)))
            }
            Ok(None) => Some((vec![Part::End(true)], None)),
            Ok(Some(Err(error))) => {
                tracing::info!(%error, "the content of a file broke off; nothing is written");
                None
            }
            Err(_) => {
                tracing::info!("the content of a file stalled; nothing is written");
                None
            }
        }
    });
    let parts = stream::iter([vec![Part::Head(head)]]).chain(data).flat_map(stream::iter);
    parts.map(|part| WriteRequest { part: Some(part) })
}

fn pieces(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    (0..bytes.len().div_ceil(MAX_WRITE_CHUNK_BYTES)).map(move |at| {
        let from = at * MAX_WRITE_CHUNK_BYTES;
        bytes.slice(from..bytes.len().min(from + MAX_WRITE_CHUNK_BYTES))
    })
}

/// How to remove.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Removing {
    /// A directory with entries needs it.
    #[serde(default)]
    recursive: bool,
}

/// Removes a file, link or directory; a link is removed and not what it names.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{name}/files/{path}",
    operation_id = "removeFile",
    tag = "files",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("path" = String, Path, description = "Path from the workspace, or from the folder that the token is limited to; with its slashes"),
        Removing
    ),
    responses((status = 204, description = "It is gone"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn remove(
    State(_): State<Shared>,
    agent: Agent,
    Target(path): Target,
    Asked(Removing { recursive }): Asked<Removing>,
) -> Result<StatusCode, Refused> {
    answer(agent.files().remove(RemoveRequest { path, recursive }).await)?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_and_within_the_file() {
        let of = |text: &str| byte_range(&HeaderValue::from_str(text).unwrap(), 100).map_err(|fault| fault.reason);
        assert_eq!(of("bytes=0-9"), Ok((0, 10)));
        assert_eq!(of("bytes=90-"), Ok((90, 100)));
        assert_eq!(of("bytes=-10"), Ok((90, 100)));
        assert_eq!(of("bytes=50-1000"), Ok((50, 100)));
        assert_eq!(of("bytes=-1000"), Ok((0, 100)));
        for outside in ["bytes=100-", "bytes=9-8", "bytes=-0"] {
            assert_eq!(of(outside), Err(Reason::OutOfRange), "{outside}");
        }
        for bad in
            ["bytes=0-1,3-4", "bytes=", "lines=0-1", "bytes=a-b", "bytes=18446744073709551615-18446744073709551615"]
        {
            assert_eq!(of(bad), Err(Reason::InvalidArgument), "{bad}");
        }
        assert_eq!(byte_range(&HeaderValue::from_static("bytes=0-"), 0).unwrap_err().reason, Reason::OutOfRange);
    }

    #[test]
    fn permission_bits_are_octal() {
        assert_eq!((octal("644").unwrap(), octal("0755").unwrap(), octal("0o4711").unwrap()), (0o644, 0o755, 0o4711));
        for bad in ["", "8", "rwx", "17777", "-1", "+1"] {
            assert!(octal(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_has_no_end() {
        let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err(io::Error::other("gone"))]);
        let sent: Vec<_> = messages(WriteHead::default(), Body::from_stream(broken)).collect().await;
        assert!(matches!(sent[0].part, Some(Part::Head(_))));
        assert!(matches!(&sent[1].part, Some(Part::Data(data)) if data == "ab"));
        assert_eq!(sent.len(), 2, "no end");
        let whole: Vec<_> =
            messages(WriteHead::default(), Body::from(vec![0; MAX_WRITE_CHUNK_BYTES + 1])).collect().await;
        assert_eq!(whole.len(), 4);
        assert!(matches!(whole[3].part, Some(Part::End(true))));
    }
}
