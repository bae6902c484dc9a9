//! A [`Store`] in a bucket, over the S3 API.
//!
//! One try a request: [`super::RetryingStore`] repeats. The SDK signs the hash
//! of every body (SigV4), so a body that changes on its way up is refused by
//! the store; what comes down is verified by the engine, byte for byte.

mod credentials;

use std::{error::Error, fmt, ops::Range, time::Duration};

use aws_config::BehaviorVersion;
use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use aws_sdk_s3::{
    Client,
    config::{Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::list_objects_v2::ListObjectsV2Output,
    primitives::{ByteStream, DateTime},
};
use aws_smithy_http_client::{Builder as HttpBuilder, tls};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::timeout;

use self::credentials::{Missing, missing};
use super::{
    LIST_PAGE_OBJECTS, ListPage, MAX_KEY_BYTES, ObjectInfo, PutCondition, PutOutcome, Store, StoreError, check_key,
};

/// Time for a TCP and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for what gives credentials to answer when a store is opened.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without any byte after which a transfer has stalled.
const STALL_GRACE: Duration = Duration::from_secs(20);

/// Time from sending a request to the head of its answer. It spans the upload of
/// one pack (16 MiB), so it allows 0.5 Mbit/s; the stall detection is the
/// sharper bound.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Where the bucket is.
#[derive(Clone)]
pub struct S3Settings {
    /// The bucket. It must exist.
    pub bucket: String,
    /// Scheme, host and port; `None` is AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// What the keys of this lineage begin with, without a slash at either end; empty is none.
    pub prefix: String,
    /// Whether the bucket is the first component of the path and not of the host.
    pub path_style: bool,
    /// Access key id and secret; `None` takes them from the environment as every
    /// AWS SDK does (variables, profile, web identity, instance).
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("path_style", &self.path_style)
            .field("credentials", &self.credentials.as_ref().map(|(id, _)| id))
            .finish()
    }
}

/// See the module.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store(s3://{}/{})", self.bucket, self.prefix)
    }
}

impl S3Store {
    /// A client for the bucket of `settings`. Makes no request to the bucket;
    /// credentials that are nowhere to be found are reported here.
    pub async fn open(settings: S3Settings) -> Result<Self, StoreError> {
        let invalid = |what, value: &str, problem| {
            Err(StoreError::Invalid { what, value: value.chars().take(80).collect(), problem })
        };
        if settings.bucket.is_empty() || settings.bucket.contains('/') {
            return invalid("bucket", &settings.bucket, "must be a bucket's name, without a slash");
        }
        if !settings.prefix.is_empty() && check_key(&settings.prefix).is_err() {
            return invalid(
                "prefix",
                &settings.prefix,
                "must be components of a-z, A-Z, 0-9, '-', '_' and '.' (not first), separated by '/'",
            );
        }
        if let Some(endpoint) = &settings.endpoint {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            if host.is_none_or(|host| host.trim_end_matches('/').is_empty() || host.contains(' ')) {
                return invalid("S3 endpoint", endpoint, "must be a URL such as https://s3.example.com");
            }
        }
        let http = HttpBuilder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(ANSWER_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(settings.region))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL_GRACE).build())
            // The engine verifies contents itself; a checksum that a store does
            // not know would make it unusable.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some((id, secret)) = &settings.credentials {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "settings"));
        }
        let shared = loader.load().await;
        let denied = |detail: String| StoreError::Denied { action: "OPEN", key: settings.prefix.clone(), detail };
        let provider = shared.credentials_provider().ok_or_else(|| denied("no credentials were found".to_owned()))?;
        // Whoever only does not answer now is asked again with the first request.
        if let Ok(Err(error)) = timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await
            && let Some(Missing { detail, for_now: false }) = missing(&error)
        {
            return Err(denied(detail));
        }
        let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(settings.path_style).build();
        let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Ok(S3Store { client: Client::from_conf(config), bucket: settings.bucket, prefix })
    }

    /// The whole key of the relative `key`.
    fn full(&self, key: &str) -> Result<String, StoreError> {
        let full = format!("{}{key}", self.prefix);
        check_key(key)?;
        if full.len() > MAX_KEY_BYTES {
            return check_key(&full).map(|()| full);
        }
        Ok(full)
    }

    fn failure<E>(&self, action: &'static str, key: &str, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        classify(action, key, &self.bucket, &Answer::of(error))
    }

    async fn put_object(&self, key: &str, body: Bytes, condition: PutCondition) -> Result<PutOutcome, StoreError> {
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key)?).body(ByteStream::from(body));
        match condition {
            PutCondition::Always => {
                request.send().await.map_err(|error| self.failure("PUT", key, &error))?;
                Ok(PutOutcome::Stored)
            }
            PutCondition::IfAbsent => match request.if_none_match("*").send().await {
                Ok(_) => Ok(PutOutcome::Stored),
                Err(error) => conditional(key, &self.bucket, &Answer::of(&error)),
            },
        }
    }

    async fn get_object(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let mut request = self.client.get_object().bucket(&self.bucket).key(self.full(key)?);
        if let Some(Range { start, end }) = range {
            if start >= end {
                // HTTP has no way to ask for nothing.
                return Ok(Bytes::new());
            }
            request = request.range(format!("bytes={start}-{}", end - 1));
        }
        let answer = request.send().await.map_err(|error| match &range {
            Some(Range { start, end }) if Answer::of(&error).status == Some(416) => {
                StoreError::OutOfRange { key: key.to_owned(), start: *start, end: *end }
            }
            _ => self.failure("GET", key, &error),
        })?;
        let whole =
            answer.content_range().and_then(|text| text.rsplit_once('/')).and_then(|(_, size)| size.parse().ok());
        let broken = |detail: String| StoreError::Unavailable { action: "GET", key: key.to_owned(), detail };
        let bytes = answer.body.collect().await.map_err(|error| broken(DisplayErrorContext(&error).to_string()))?;
        let bytes = bytes.into_bytes();
        if let Some(Range { start, end }) = range
            && bytes.len() as u64 != end - start
        {
            return Err(match whole {
                Some(size) if end > size => StoreError::OutOfRange { key: key.to_owned(), start, end },
                _ => broken(format!("{} bytes instead of {}", bytes.len(), end - start)),
            });
        }
        Ok(bytes)
    }

    async fn list_objects(&self, prefix: &str, start_after: Option<&str>) -> Result<ListPage, StoreError> {
        let mut after = start_after.map(|key| format!("{}{key}", self.prefix));
        loop {
            let answer = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{prefix}", self.prefix))
                .set_start_after(after)
                .max_keys(LIST_PAGE_OBJECTS as i32)
                .send()
                .await
                .map_err(|error| self.failure("LIST", prefix, &error))?;
            let more = answer.is_truncated() == Some(true);
            after = answer.contents().last().and_then(|object| object.key()).map(str::to_owned);
            let page = ListPage { objects: self.objects(&answer), more };
            // A page of nothing but keys that are not ours gives the caller no
            // key to go on from.
            if !page.objects.is_empty() || !more || after.is_none() {
                return Ok(page);
            }
        }
    }

    fn objects(&self, answer: &ListObjectsV2Output) -> Vec<ObjectInfo> {
        let ours = answer.contents().iter().filter_map(|object| {
            let key = object.key()?.strip_prefix(&self.prefix)?;
            check_key(key).ok()?;
            let size = u64::try_from(object.size()?).ok()?;
            Some(ObjectInfo { key: key.to_owned(), size, modified: time(object.last_modified()) })
        });
        let mut objects: Vec<_> = ours.collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects
    }
}

impl Store for S3Store {
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>> {
        let key = key.to_owned();
        async move { self.put_object(&key, body, condition).await }.boxed()
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let key = key.to_owned();
        async move { self.get_object(&key, range).await }.boxed()
    }

    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>> {
        let key = key.to_owned();
        async move {
            match self.client.head_object().bucket(&self.bucket).key(self.full(&key)?).send().await {
                Ok(answer) => {
                    let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                    Ok(Some(ObjectInfo { key, size, modified: time(answer.last_modified()) }))
                }
                Err(error) => match self.failure("HEAD", &key, &error) {
                    StoreError::NotFound { .. } => Ok(None),
                    failure => Err(failure),
                },
            }
        }
        .boxed()
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        let prefix = prefix.to_owned();
        let start_after = start_after.map(str::to_owned);
        async move { self.list_objects(&prefix, start_after.as_deref()).await }.boxed()
    }

    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let key = key.to_owned();
        async move {
            match self.client.delete_object().bucket(&self.bucket).key(self.full(&key)?).send().await {
                Ok(_) => Ok(()),
                Err(error) => match self.failure("DELETE", &key, &error) {
                    StoreError::NotFound { .. } => Ok(()),
                    failure => Err(failure),
                },
            }
        }
        .boxed()
    }
}

/// What is known of a failed request.
#[derive(Debug)]
struct Answer {
    /// The HTTP status; `None` where no answer came.
    status: Option<u16>,
    /// The S3 error code; empty where the answer has none (HEAD).
    code: String,
    detail: String,
    /// Nothing was asked for want of credentials.
    missing: Option<Missing>,
}

impl Answer {
    fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Some(service) = error.as_service_error() else {
            let missing = missing(error);
            let detail = missing.as_ref().map(|missing| missing.detail.clone());
            let detail = detail.unwrap_or_else(|| DisplayErrorContext(error).to_string());
            return Answer { status: None, code: String::new(), detail, missing };
        };
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let code = service.code().unwrap_or_default().to_owned();
        let message = service.message().unwrap_or_default();
        let detail = format!("{} {code} {message}", status.unwrap_or_default()).trim_end().to_owned();
        Answer { status, code, detail, missing: None }
    }
}

/// What an answer means, whatever the request.
fn classify(action: &'static str, key: &str, bucket: &str, answer: &Answer) -> StoreError {
    let (key, detail) = (key.to_owned(), answer.detail.clone());
    if let Some(missing) = &answer.missing {
        return if missing.for_now {
            StoreError::Unavailable { action, key, detail }
        } else {
            StoreError::Denied { action, key, detail }
        };
    }
    match (answer.code.as_str(), answer.status) {
        ("NoSuchBucket", _) => StoreError::BucketMissing { bucket: bucket.to_owned() },
        ("NoSuchKey", _) | ("" | "NotFound", Some(404)) => StoreError::NotFound { key },
        ("XMinioStorageFull" | "QuotaExceeded", _) | (_, Some(507)) => StoreError::Full { key, detail },
        ("RequestTimeout" | "SlowDown", _) | (_, None | Some(408 | 429 | 500..=599)) => {
            StoreError::Unavailable { action, key, detail }
        }
        // What a store says of credentials that ran out, and versitygw of a key that it does not know.
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "XAdminUserNotFound", _) | (_, Some(401 | 403)) => {
            StoreError::Denied { action, key, detail }
        }
        _ => StoreError::Rejected { action, key, detail },
    }
}

/// What an answer to a conditional put means: only some failures say that
/// nothing was stored.
fn conditional(key: &str, bucket: &str, answer: &Answer) -> Result<PutOutcome, StoreError> {
    let unavailable = || StoreError::Unavailable { action: "PUT", key: key.to_owned(), detail: answer.detail.clone() };
    match answer.status {
        // Nothing was sent.
        None if answer.missing.is_some() => Err(classify("PUT", key, bucket, answer)),
        Some(412) => Ok(PutOutcome::Exists),
        // Another conditional writer was at work on this key: S3 asks to repeat.
        Some(409) if answer.code == "ConditionalRequestConflict" => Err(unavailable()),
        // Refused before any work (RFC 9110, RFC 6585).
        Some(429 | 503) => Err(unavailable()),
        None | Some(408 | 500..=599) if answer.status != Some(507) => {
            Err(StoreError::OutcomeUnknown { key: key.to_owned(), detail: answer.detail.clone() })
        }
        _ => Err(classify("PUT", key, bucket, answer)),
    }
}

fn time(at: Option<&DateTime>) -> std::time::SystemTime {
    at.and_then(|at| std::time::SystemTime::try_from(*at).ok()).unwrap_or(std::time::SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use remora_proto_model::Reason;

    use super::*;

    fn answer(status: impl Into<Option<u16>>, code: &str) -> Answer {
        Answer { status: status.into(), code: code.to_owned(), detail: "as tested".to_owned(), missing: None }
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let reason = |status: Option<u16>, code| classify("GET", "k", "b", &answer(status, code)).reason();
        assert_eq!(reason(Some(404), "NoSuchBucket"), Reason::BucketMissing);
        assert_eq!(reason(Some(404), "NoSuchKey"), Reason::SnapshotDamaged);
        assert_eq!(reason(Some(403), "AccessDenied"), Reason::StoreDenied);
        assert_eq!(reason(Some(403), "SignatureDoesNotMatch"), Reason::StoreDenied);
        assert_eq!(reason(Some(403), "RequestTimeTooSkewed"), Reason::StoreDenied);
        assert_eq!(reason(Some(400), "ExpiredToken"), Reason::StoreDenied);
        assert_eq!(reason(Some(404), "XAdminUserNotFound"), Reason::StoreDenied);
        assert_eq!(reason(Some(503), "SlowDown"), Reason::StoreUnavailable);
        assert_eq!(reason(Some(400), "RequestTimeout"), Reason::StoreUnavailable);
        assert_eq!(reason(Some(507), ""), Reason::NoSpace);
        assert_eq!(reason(None, ""), Reason::StoreUnavailable);
        assert!(classify("HEAD", "k", "b", &answer(404, "")).is_not_found());
    }

    #[test]
    fn a_conditional_put_claims_only_what_is_known() {
        assert_eq!(conditional("k", "b", &answer(412, "PreconditionFailed")), Ok(PutOutcome::Exists));
        let unknown = |status: Option<u16>| {
            matches!(conditional("k", "b", &answer(status, "")), Err(StoreError::OutcomeUnknown { .. }))
        };
        assert!(unknown(None) && unknown(Some(500)) && unknown(Some(502)) && unknown(Some(504)));
        let missing =
            |for_now| Answer { missing: Some(Missing { detail: "none".to_owned(), for_now }), ..answer(None, "") };
        let put = |for_now| conditional("k", "b", &missing(for_now)).unwrap_err();
        assert!(matches!(put(true), StoreError::Unavailable { .. }), "nothing was sent");
        assert!(matches!(put(false), StoreError::Denied { .. }));
        assert!(!unknown(Some(503)) && !unknown(Some(409)) && !unknown(Some(403)) && !unknown(Some(507)));
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_named() {
        let good = S3Settings {
            bucket: "b".to_owned(),
            endpoint: Some("http://127.0.0.1:9".to_owned()),
            region: "us-east-1".to_owned(),
            prefix: "lineages/x".to_owned(),
            path_style: true,
            credentials: Some(("id".to_owned(), "very-secret".to_owned())),
        };
        assert!(!format!("{good:?}").contains("very-secret"));
        for bad in [
            S3Settings { bucket: String::new(), ..good.clone() },
            S3Settings { bucket: "a/b".to_owned(), ..good.clone() },
            S3Settings { prefix: "/x".to_owned(), ..good.clone() },
            S3Settings { prefix: "../x".to_owned(), ..good.clone() },
            S3Settings { endpoint: Some("127.0.0.1:9".to_owned()), ..good.clone() },
            S3Settings { endpoint: Some("http://".to_owned()), ..good.clone() },
        ] {
            assert_eq!(S3Store::open(bad.clone()).await.unwrap_err().reason(), Reason::InvalidArgument, "{bad:?}");
        }
        let nobody = S3Store::open(good).await.unwrap();
        assert!(matches!(nobody.get("k", None).await, Err(StoreError::Unavailable { .. })));
        let put = nobody.put("k", Bytes::new(), PutCondition::IfAbsent).await;
        assert!(matches!(put, Err(StoreError::OutcomeUnknown { .. })));
    }
}
