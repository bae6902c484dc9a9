//! The operations that an agent's store uses, as S3 says them. Every other one
//! answers `NotImplemented`.

use std::{fs::Metadata, io, path::PathBuf, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
        DeleteObjectOutput, ETag, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
        HeadObjectOutput, IfNoneMatch, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput,
        PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
    },
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::io::ReaderStream;

use super::{
    BUCKET,
    objects::{Incoming, Objects, Stored, absent, etag},
    uploads::{Refused, Uploads, join},
};
use crate::limits::{BODY_STALL_TIMEOUT, BUCKET_READ_BYTES, MAX_LISTED_OBJECTS};

/// The objects behind S3's operations.
pub(super) struct Served {
    objects: Arc<Objects>,
    uploads: Uploads,
}

impl Served {
    pub(super) fn new(objects: Objects) -> Self {
        Served { objects: Arc::new(objects), uploads: Uploads::default() }
    }

    /// A body as a file on its way in, whole and on the disk.
    async fn receive(&self, body: Option<StreamingBlob>) -> S3Result<(Incoming, Metadata)> {
        let incoming = self.objects.incoming();
        let mut file = File::create_new(incoming.path()).await.map_err(|error| refused(&error))?;
        let mut body = body.ok_or_else(|| S3Error::from(S3ErrorCode::IncompleteBody))?;
        loop {
            let chunk = timeout(BODY_STALL_TIMEOUT, body.next())
                .await
                .map_err(|_| S3Error::with_message(S3ErrorCode::RequestTimeout, "no byte came for too long"))?;
            match chunk {
                Some(Ok(bytes)) => file.write_all(&bytes).await.map_err(|error| refused(&error))?,
                Some(Err(error)) => {
                    return Err(S3Error::with_message(S3ErrorCode::IncompleteBody, error.to_string()));
                }
                None => break,
            }
        }
        file.flush().await.map_err(|error| refused(&error))?;
        file.sync_all().await.map_err(|error| refused(&error))?;
        let metadata = file.metadata().await.map_err(|error| refused(&error))?;
        Ok((incoming, metadata))
    }

    /// Gives a file on its way in its place.
    async fn place(&self, incoming: Incoming, path: PathBuf, only_new: bool) -> S3Result<()> {
        // From here on a client that leaves changes nothing: the work is done to its end.
        let stored = self.blocking(move |objects| objects.place(&incoming, &path, only_new)).await;
        match stored.map_err(occupied)? {
            Stored::Written => Ok(()),
            Stored::Exists => {
                Err(S3Error::with_message(S3ErrorCode::PreconditionFailed, "the object is there already"))
            }
        }
    }

    /// Runs `work`, which touches the disk, where it stalls nobody else.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Objects) -> io::Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let objects = Arc::clone(&self.objects);
        match spawn_blocking(move || work(&objects)).await {
            Ok(done) => done.map_err(|error| refused(&error)),
            Err(error) => Err(S3Error::internal_error(error)),
        }
    }

    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        known(bucket)?;
        self.objects.path(key).map_err(|problem| S3Error::with_message(S3ErrorCode::InvalidArgument, problem))
    }
}

fn known(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET {
        return Ok(());
    }
    Err(S3Error::with_message(S3ErrorCode::NoSuchBucket, format!("the only bucket here is {BUCKET}")))
}

fn not_implemented(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("this bucket has no {what}"))
}

fn refused(error: &io::Error) -> S3Error {
    if absent(error) {
        return S3ErrorCode::NoSuchKey.into();
    }
    tracing::warn!(%error, "the bucket's folder refuses");
    // A server error: the client tries again, and its text says why.
    S3Error::with_message(S3ErrorCode::ServiceUnavailable, format!("the bucket's folder: {error}"))
}

fn modified(metadata: &Metadata) -> Timestamp {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).into()
}

fn length(bytes: u64) -> S3Result<i64> {
    i64::try_from(bytes).map_err(S3Error::internal_error)
}

#[async_trait]
impl S3 for Served {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_match, if_none_match, .. } = request.input;
        let path = self.path(&bucket, &key)?;
        if if_match.is_some() {
            return Err(not_implemented("PUT with If-Match"));
        }
        let only_new = only_new(if_none_match)?;
        let (incoming, metadata) = self.receive(body).await?;
        self.place(incoming, path, only_new).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag(&metadata))), ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = request.input;
        self.path(&bucket, &key)?;
        let upload = self.uploads.begin(&key).map_err(not_taken)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { bucket, key, part_number, upload_id, body, .. } = request.input;
        self.path(&bucket, &key)?;
        self.uploads.expects(&upload_id, &key, part_number).map_err(not_taken)?;
        let (incoming, metadata) = self.receive(body).await?;
        let tag = etag(&metadata);
        self.uploads.put(&upload_id, &key, part_number, incoming, tag.clone()).map_err(not_taken)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(tag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, if_match, if_none_match, .. } =
            request.input;
        let path = self.path(&bucket, &key)?;
        if if_match.is_some() {
            return Err(not_implemented("completion with If-Match"));
        }
        let only_new = only_new(if_none_match)?;
        let named = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Vec<(i32, String)> = named
            .into_iter()
            .map(|part| {
                let etag = part.e_tag.map(|etag| etag.value().to_owned()).unwrap_or_default();
                (part.part_number.unwrap_or_default(), etag)
            })
            .collect();
        let parts = self.uploads.complete(&upload_id, &key, &named).map_err(not_taken)?;
        let whole = self.objects.incoming();
        let (whole, metadata) = self.blocking(move |_| join(parts, &whole).map(|metadata| (whole, metadata))).await?;
        self.place(whole, path, only_new).await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(ETag::Strong(etag(&metadata))),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
        self.path(&bucket, &key)?;
        self.uploads.abort(&upload_id, &key).map_err(not_taken)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, if_match, response_content_disposition, .. } = request.input;
        let path = self.path(&bucket, &key)?;
        let mut file = File::open(&path).await.map_err(|error| refused(&error))?;
        let metadata = file.metadata().await.map_err(|error| refused(&error))?;
        if !metadata.is_file() {
            return Err(S3ErrorCode::NoSuchKey.into());
        }
        let tag = ETag::Strong(etag(&metadata));
        if if_match.as_ref().and_then(|condition| condition.as_etag()).is_some_and(|wanted| *wanted != tag) {
            return Err(S3Error::with_message(S3ErrorCode::PreconditionFailed, "the object is another one by now"));
        }
        let size = metadata.len();
        let (first, count, content_range) = match range {
            None => (0, size, None),
            Some(range) => {
                let range = range.check(size)?;
                let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                (range.start, range.end - range.start, Some(shown))
            }
        };
        file.seek(io::SeekFrom::Start(first)).await.map_err(|error| refused(&error))?;
        let body = ReaderStream::with_capacity(file.take(count), BUCKET_READ_BYTES);
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(length(count)?),
            content_range,
            content_disposition: response_content_disposition,
            e_tag: Some(tag),
            last_modified: Some(modified(&metadata)),
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let path = self.path(&request.input.bucket, &request.input.key)?;
        let metadata = self.blocking(move |_| std::fs::metadata(&path)).await?;
        if !metadata.is_file() {
            return Err(S3ErrorCode::NoSuchKey.into());
        }
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(metadata.len())?),
            e_tag: Some(ETag::Strong(etag(&metadata))),
            last_modified: Some(modified(&metadata)),
            ..Default::default()
        }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        known(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let path = self.path(&request.input.bucket, &request.input.key)?;
        self.blocking(move |objects| objects.remove(&path)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input { bucket, prefix, continuation_token, start_after, max_keys, delimiter, .. } =
            request.input;
        known(&bucket)?;
        if delimiter.is_some() {
            return Err(not_implemented("listing with a delimiter"));
        }
        let limit = max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(MAX_LISTED_OBJECTS);
        let limit = limit.min(MAX_LISTED_OBJECTS);
        let wanted = prefix.clone().unwrap_or_default();
        // The token is the last key of the page before: opaque to the client.
        let after = continuation_token.clone().or(start_after.clone()).unwrap_or_default();
        let page = self.blocking(move |objects| objects.list(&wanted, &after, limit)).await?;
        let next = page.entries.last().filter(|_| page.truncated).map(|entry| entry.key.clone());
        let mut contents = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            contents.push(Object {
                size: Some(length(entry.metadata.len())?),
                e_tag: Some(ETag::Strong(etag(&entry.metadata))),
                last_modified: Some(modified(&entry.metadata)),
                key: Some(entry.key),
                ..Default::default()
            });
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            prefix,
            key_count: i32::try_from(contents.len()).ok(),
            max_keys: i32::try_from(limit).ok(),
            contents: Some(contents),
            is_truncated: Some(page.truncated),
            continuation_token,
            next_continuation_token: next,
            start_after,
            ..Default::default()
        }))
    }
}

/// Whether what `condition` says is that the object must not be there.
fn only_new(condition: Option<IfNoneMatch>) -> S3Result<bool> {
    match condition {
        None => Ok(false),
        Some(condition) if condition.is_any() => Ok(true),
        Some(_) => Err(not_implemented("PUT with an If-None-Match other than *")),
    }
}

fn not_taken(refused: Refused) -> S3Error {
    match refused {
        Refused::Unknown => S3ErrorCode::NoSuchUpload.into(),
        Refused::Full => S3Error::with_message(S3ErrorCode::SlowDown, "too many objects are sent in parts"),
        Refused::Number => S3Error::with_message(S3ErrorCode::InvalidArgument, "the number of a part is 1 to 10,000"),
        Refused::Part => S3Error::with_message(
            S3ErrorCode::InvalidPart,
            "the parts are not those that were sent, in the order of their numbers",
        ),
    }
}

/// A PUT below an object, or onto a folder of objects, has no place to go.
fn occupied(error: S3Error) -> S3Error {
    if *error.code() == S3ErrorCode::NoSuchKey {
        return S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            "a part of the key is an object, or the key is a folder of objects; this bucket keeps objects as files",
        );
    }
    error
}
