//! An archive as an object of the store: sent in parts, and there whole or not at all.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use remora_proto_model::Fault;

use super::{Store, failure};
use crate::{
    limits::{MAX_ARCHIVE_PARTS, MAX_SOURCE_BYTES, SOURCE_PART_BYTES},
    local::runtime::{empty, too_large},
};

impl Store {
    /// Keeps the archive of a project's source that `chunks` brings as the object `key`; its length.
    pub async fn put_archive(&self, key: &str, chunks: BoxStream<'_, Result<Bytes, Fault>>) -> Result<u64, Fault> {
        self.put_parts(key, chunks, MAX_SOURCE_BYTES).await
    }

    /// The same of an archive that may be as long as there are parts.
    pub(crate) async fn put_long_archive(
        &self,
        key: &str,
        chunks: BoxStream<'_, Result<Bytes, Fault>>,
    ) -> Result<u64, Fault> {
        self.put_parts(key, chunks, MAX_ARCHIVE_PARTS.unsigned_abs() as u64 * SOURCE_PART_BYTES as u64).await
    }

    async fn put_parts(&self, key: &str, chunks: BoxStream<'_, Result<Bytes, Fault>>, most: u64) -> Result<u64, Fault> {
        let mut parts = Parts { chunks, held: BytesMut::new(), bytes: 0, most, over: false };
        let first = parts.next().await?.ok_or_else(empty)?;
        if parts.over {
            let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(first)).send().await;
            return put.map(|_| parts.bytes).map_err(|error| failure("write", key, &error));
        }
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await;
        let begun = begun.map_err(|error| failure("write", key, &error))?;
        let upload = begun.upload_id().unwrap_or_default();
        match self.send(key, upload, first, &mut parts).await {
            Ok(()) => Ok(parts.bytes),
            Err(fault) => {
                let aborted = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
                // Best effort: a store drops uploads that nobody finishes.
                let _ = aborted.send().await;
                Err(fault)
            }
        }
    }

    async fn send<S: Stream<Item = Result<Bytes, Fault>> + Unpin>(
        &self,
        key: &str,
        upload: &str,
        first: Bytes,
        parts: &mut Parts<S>,
    ) -> Result<(), Fault> {
        let mut done = CompletedMultipartUpload::builder();
        let (mut part, mut number) = (Some(first), 1);
        while let Some(body) = part {
            let sent = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload).part_number(number);
            let sent = sent.body(ByteStream::from(body)).send().await;
            let sent = sent.map_err(|error| failure("write", key, &error))?;
            done = done.parts(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
            part = parts.next().await?;
            number += 1;
        }
        let completed = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        let completed = completed.multipart_upload(done.build()).send().await;
        completed.map(drop).map_err(|error| failure("write", key, &error))
    }

    /// Removes every object whose key begins with `prefix`, but for `kept`.
    pub async fn remove_all(&self, prefix: &str, kept: Option<&str>) -> Result<(), Fault> {
        loop {
            let listed = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).send().await;
            let listed = listed.map_err(|error| failure("list", prefix, &error))?;
            let keys: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()).collect();
            let mut removed = 0;
            for key in keys.into_iter().filter(|key| Some(*key) != kept) {
                self.remove(key).await?;
                removed += 1;
            }
            if removed == 0 || !listed.is_truncated().unwrap_or(false) {
                return Ok(());
            }
        }
    }
}

/// A stream cut into parts of one size, the last one shorter.
struct Parts<S> {
    chunks: S,
    held: BytesMut,
    bytes: u64,
    /// How many at most.
    most: u64,
    /// Nothing more comes.
    over: bool,
}

impl<S: Stream<Item = Result<Bytes, Fault>> + Unpin> Parts<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while !self.over && self.held.len() < SOURCE_PART_BYTES {
            match self.chunks.next().await {
                Some(chunk) => {
                    let chunk = chunk?;
                    self.bytes += chunk.len() as u64;
                    if self.bytes > self.most {
                        return Err(too_large(self.most));
                    }
                    self.held.extend_from_slice(&chunk);
                }
                None => self.over = true,
            }
        }
        let length = self.held.len().min(SOURCE_PART_BYTES);
        Ok((length > 0).then(|| self.held.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn parts_have_one_size_and_nothing_is_lost_between_them() {
        let sent: Vec<u8> = (0..2 * SOURCE_PART_BYTES + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let chunks: Vec<Result<Bytes, Fault>> =
            sent.chunks(300_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let mut parts =
            Parts { chunks: stream::iter(chunks), held: BytesMut::new(), bytes: 0, most: u64::MAX, over: false };
        let mut lengths = Vec::new();
        let mut received = Vec::new();
        while let Some(part) = parts.next().await.unwrap() {
            lengths.push(part.len());
            received.extend_from_slice(&part);
        }
        assert_eq!(lengths, [SOURCE_PART_BYTES, SOURCE_PART_BYTES, 7]);
        assert!(received == sent && parts.bytes == sent.len() as u64);
    }
}
