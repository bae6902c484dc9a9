//! Write: the messages of an upload go to the engine one by one, so that a slow
//! client holds no thread; whatever ends the upload early drops the writer, and
//! with it what was written.

use std::sync::Arc;

use bytes::Bytes;
use remora_agent_files::{Condition, WriteOptions, Writer};
use remora_agent_root::RelPath;
use remora_proto::{
    agent::v1::{WriteRequest, WriteResponse, write_request::Part},
    convert::files::{WriteCondition, WriteStart, check_chunk},
    model::{Fault, Reason},
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::Streaming;

use super::{View, blocking};
use crate::limits::UPLOAD_STALL;

pub(super) async fn write(
    calls: &Arc<Semaphore>,
    view: View,
    mut upload: Streaming<WriteRequest>,
) -> Result<WriteResponse, Fault> {
    let Some(WriteRequest { part: Some(Part::Head(head)) }) = next(&mut upload).await? else {
        return Err(Fault::invalid("head", "is not the first message").hint("begin with a head, then send the bytes"));
    };
    let start = WriteStart::try_from(head)?;
    let mut writer = blocking(calls, move || {
        let options = WriteOptions {
            condition: match start.condition {
                WriteCondition::Overwrite => Condition::Overwrite,
                WriteCondition::Create => Condition::Create,
                WriteCondition::IfMatch(version) => Condition::IfMatch(version),
            },
            parents: start.parents,
            mode: start.mode,
            length: start.length,
        };
        Ok(Writer::begin(&view.root()?, &RelPath::new(&start.path)?, options)?)
    })
    .await?;
    while let Some(data) = data(&mut upload, |message| message.part.map(Into::into)).await? {
        writer = blocking(calls, move || {
            writer.write(&data)?;
            Ok(writer)
        })
        .await?;
    }
    let written = blocking(calls, move || Ok(writer.commit()?)).await?;
    Ok(WriteResponse { etag: written.etag, size: written.size, created: written.created })
}

/// What a message of an upload may hold after the head.
pub(super) enum After {
    Head,
    Data(Bytes),
    End(bool),
}

impl From<Part> for After {
    fn from(part: Part) -> Self {
        match part {
            Part::Head(_) => Self::Head,
            Part::Data(data) => Self::Data(data),
            Part::End(end) => Self::End(end),
        }
    }
}

/// The next bytes of an upload; `None` once its client has said that it is whole.
/// A stream that just ends is no such word: HTTP/2 clients may close the body of
/// a call that was cancelled before they reset it.
pub(super) async fn data<M>(
    upload: &mut Streaming<M>,
    part: impl FnOnce(M) -> Option<After>,
) -> Result<Option<Bytes>, Fault> {
    let Some(message) = next(upload).await? else {
        return Err(Fault::new(
            Reason::Cancelled,
            "the upload ended without its `end`, so it may be a part of the file",
        )
        .hint("send it again from its start, with `end` as the last message"));
    };
    match part(message) {
        Some(After::Data(data)) => {
            check_chunk(&data)?;
            Ok(Some(data))
        }
        Some(After::End(true)) => match next(upload).await? {
            None => Ok(None),
            Some(_) => Err(Fault::invalid("end", "is not the last message").hint("close the stream after it")),
        },
        Some(After::End(false)) => Err(Fault::invalid("end", "is false").hint("send it as true, last")),
        Some(After::Head) | None => {
            Err(Fault::invalid("part", "is a second head or empty").hint("send one head, then data, then `end`"))
        }
    }
}

/// The next message; an upload that was cut is an error and never an end.
pub(super) async fn next<M>(upload: &mut Streaming<M>) -> Result<Option<M>, Fault> {
    match timeout(UPLOAD_STALL, upload.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(Fault::new(Reason::Cancelled, format!("the upload broke off: {}", status.message()))
            .hint("send it again from its start")),
        Err(_) => Err(Fault::new(
            Reason::DeadlineExceeded,
            format!("no byte of the upload came for {} s", UPLOAD_STALL.as_secs()),
        )
        .hint("send it again from its start")),
    }
}
