//! Streams that come from the server.

use std::{io, path::Path};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use remora_proto::agent::v1::{
    ArchiveChunk, ArchiveFormat, ArchiveGetRequest, ArchiveSummary, ByteRange, ReadRequest, ReadResponse,
    archive_chunk::Part, read_request::Range,
};
use remora_proto_model::{Fault, Reason};

use super::{
    chunks::channel,
    unpack::{Unpacked, unpack},
};
use crate::{
    Failure,
    clients::Files,
    limits::{CHUNK_BYTES, PAGES_IN_FLIGHT},
    progress::Progress,
};

/// Gives a whole file to `take`, page by page. All pages are of one version of
/// it: where somebody writes it meanwhile, that is a failure and no mixture.
pub(crate) async fn read_file(
    files: &mut Files,
    path: Bytes,
    progress: &Progress,
    mut take: impl AsyncFnMut(Bytes) -> Result<(), Failure>,
) -> Result<ReadResponse, Failure> {
    let page = |offset: u64, etag: &str| ReadRequest {
        path: path.clone(),
        range: Some(Range::Bytes(ByteRange { offset, length: CHUNK_BYTES as u32 })),
        if_match: etag.to_owned(),
    };
    let mut first = files.read(page(0, "")).await?.into_inner();
    let data = std::mem::take(&mut first.data);
    let read = data.len() as u64;
    progress.add(read);
    take(data).await?;
    let Some(next) = first.next else { return Ok(first) };
    let etag = first.etag.clone();
    let step = next.max(1);
    let size = first.size;
    let offsets = (1..).map(|number: u64| number * step).take_while(move |offset| *offset < size);
    let mut pages = stream::iter(offsets)
        .map(|offset| {
            let (mut files, request) = (files.clone(), page(offset, &etag));
            async move { files.read(request).await.map(|answer| (offset, answer.into_inner())) }
        })
        .buffered(PAGES_IN_FLIGHT);
    let mut position = read;
    while let Some(answer) = pages.next().await {
        let (offset, answer) = answer?;
        if offset != position || answer.data.is_empty() {
            return Err(incomplete("pages of the file do not meet"));
        }
        position += answer.data.len() as u64;
        progress.add(answer.data.len() as u64);
        take(answer.data).await?;
    }
    if position != first.size {
        return Err(incomplete("the file ended early"));
    }
    Ok(first)
}

/// Unpacks the folder `path` of the project into the folder `target`.
pub(crate) async fn get_folder(
    files: &mut Files,
    path: Bytes,
    target: &Path,
    progress: &Progress,
) -> Result<(Unpacked, ArchiveSummary), Failure> {
    let request = ArchiveGetRequest { path, format: ArchiveFormat::TarZstd.into(), exclude: Vec::new() };
    let mut chunks = files.archive_get(request).await?.into_inner();
    let (bytes, reader) = channel();
    let (target, shown) = (target.to_owned(), progress.clone());
    let unpacker = tokio::task::spawn_blocking(move || unpack(reader, &target, &shown));
    let received: Result<Option<ArchiveSummary>, Failure> = loop {
        match chunks.message().await {
            Ok(Some(ArchiveChunk { part: Some(Part::Data(data)) })) => {
                if !bytes.data(data).await {
                    // The unpacker failed; its own words say why.
                    break Ok(None);
                }
            }
            Ok(Some(ArchiveChunk { part: Some(Part::Done(summary)) })) => {
                bytes.end().await;
                break Ok(Some(summary));
            }
            Ok(Some(ArchiveChunk { part: None })) => {}
            Ok(None) => break Err(incomplete("the archive ended without its last message")),
            Err(status) => break Err(status.into()),
        }
    };
    let unpacked = unpacker
        .await
        .map_err(|error| Failure::Local { what: "unpacking".to_owned(), error: io::Error::other(error) })?;
    match (received, unpacked) {
        // The stream's own error is the cause; the unpacker only found it cut.
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        (Ok(Some(summary)), Ok(unpacked)) => Ok((unpacked, summary)),
        (Ok(None), Ok(_)) => Err(incomplete("the archive was not read to its end")),
    }
}

fn incomplete(what: &'static str) -> Failure {
    Failure::Fault(Fault::new(Reason::Unavailable, what).hint("try again"))
}
