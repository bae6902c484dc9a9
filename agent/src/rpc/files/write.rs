//! Write: the messages of an upload go to the engine one by one, so that a slow
//! client holds no thread; whatever ends the upload early drops the writer, and
//! with it what was written.

use std::sync::Arc;

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
    while let Some(message) = next(&mut upload).await? {
        let Some(Part::Data(data)) = message.part else {
            return Err(Fault::invalid("part", "is a second head or empty").hint("send one head, then only data"));
        };
        check_chunk(&data)?;
        writer = blocking(calls, move || {
            writer.write(&data)?;
            Ok(writer)
        })
        .await?;
    }
    let written = blocking(calls, move || Ok(writer.commit()?)).await?;
    Ok(WriteResponse { etag: written.etag, size: written.size, created: written.created })
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
