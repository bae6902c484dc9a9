//! The object store with the control plane's own eyes: what an agent says is
//! committed is believed once it was read back here.

mod archive;
mod presign;
mod transfers;
mod web_identity;

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use aws_smithy_http_client::{Builder as HttpBuilder, tls};
use remora_proto_model::{Fault, ProjectId, Reason, project::Head};

pub use self::presign::{Presigned, PresignedUrl};
pub(crate) use self::transfers::{Transfer, Way};
use self::web_identity::{WebIdentityProvider, no_credentials};
use crate::{
    config::{StoreCredentials, StoreEndpoint},
    limits::{MAX_ROOT_BYTES, STORE_TIMEOUT},
};

/// Time for a TCP and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The object that says that a lineage belongs to nobody any more.
const TOMBSTONE: &str = "tombstone";

/// What to do where a token is not taken.
const HINT: &str = "check the role's trust policy (issuer, audience, subject) and the URL of the token service";

/// A snapshot that an agent says is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub id: String,
    /// The key of its root, below the lineage's prefix.
    pub root_key: String,
    /// The hash of the root's bytes.
    pub root: blake3::Hash,
    /// Its place in the lineage.
    pub sequence: u64,
    /// When its scan began, in milliseconds since the epoch.
    pub created_ms: u64,
}

impl Committed {
    pub(crate) fn head(&self) -> Head {
        Head { snapshot: self.id.clone(), sequence: self.sequence, committed_ms: self.created_ms }
    }
}

/// See the module.
pub struct Store {
    client: Client,
    bucket: String,
    /// What opens it, and how requests are signed for those who reach it from elsewhere.
    credentials: SharedCredentialsProvider,
    signing: aws_sdk_s3::Config,
}

/// What the keys of a project's lineage begin with, without a slash at either end.
pub fn lineage_prefix(prefix: &str, project: ProjectId) -> String {
    match prefix {
        "" => format!("projects/{project}"),
        prefix => format!("{prefix}/projects/{project}"),
    }
}

impl Store {
    /// A client; makes no request.
    pub fn new(endpoint: &StoreEndpoint) -> Store {
        let http = HttpBuilder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(STORE_TIMEOUT).build();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(endpoint.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(endpoint.path_style);
        if let Some(url) = &endpoint.endpoint {
            config = config.endpoint_url(url);
        }
        let credentials = match &endpoint.credentials {
            StoreCredentials::Keys { access_key, secret_key } => {
                SharedCredentialsProvider::new(Credentials::new(access_key, secret_key, None, None, "settings"))
            }
            StoreCredentials::WebIdentity(identity) => {
                SharedCredentialsProvider::new(WebIdentityProvider::new(identity, &config))
            }
        };
        let mut signing = config.clone();
        if let Some(url) = &endpoint.public_endpoint {
            signing = signing.endpoint_url(url);
        }
        config = config.credentials_provider(credentials.clone());
        Store {
            client: Client::from_conf(config.build()),
            bucket: endpoint.bucket.clone(),
            credentials,
            signing: signing.build(),
        }
    }

    /// Reads the root of `snapshot` and compares it with what the agent said.
    pub async fn read_back(&self, prefix: &str, snapshot: &Committed) -> Result<(), Fault> {
        let key = format!("{prefix}/{}", snapshot.root_key);
        let answer = self.client.get_object().bucket(&self.bucket).key(&key).send().await;
        let object = answer.map_err(|error| failure("read", &key, &error))?;
        let length = object.content_length().unwrap_or(0);
        let damaged = |problem: String| {
            Fault::new(Reason::SnapshotDamaged, format!("the root of snapshot {} {problem}", snapshot.id))
                .hint("verify the snapshot; until a root reads back as it was written, nothing is ended")
        };
        if u64::try_from(length).unwrap_or(u64::MAX) > MAX_ROOT_BYTES {
            return Err(damaged(format!("has {length} bytes on the store")));
        }
        let bytes = object.body.collect().await.map_err(|error| {
            Fault::new(Reason::StoreUnavailable, format!("the store broke off while {key} was read: {error}"))
        })?;
        if blake3::hash(&bytes.into_bytes()) != snapshot.root {
            return Err(damaged("is not on the store as the agent wrote it".to_owned()));
        }
        Ok(())
    }

    /// Says that the lineage belongs to nobody any more.
    pub async fn put_tombstone(&self, prefix: &str, text: String) -> Result<(), Fault> {
        let key = format!("{prefix}/{TOMBSTONE}");
        let body = ByteStream::from(text.into_bytes());
        let put = self.client.put_object().bucket(&self.bucket).key(&key).body(body).send().await;
        put.map(drop).map_err(|error| failure("write", &key, &error))
    }

    /// Removes every object of the lineage, the tombstone last.
    pub async fn purge(&self, prefix: &str) -> Result<(), Fault> {
        let tombstone = format!("{prefix}/{TOMBSTONE}");
        loop {
            let listed = self.client.list_objects_v2().bucket(&self.bucket).prefix(format!("{prefix}/")).send().await;
            let listed = listed.map_err(|error| failure("list", prefix, &error))?;
            let keys: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()).collect();
            let mut removed = 0;
            for key in keys.iter().filter(|key| **key != tombstone) {
                self.remove(key).await?;
                removed += 1;
            }
            // A page that holds nothing else is the last one.
            if removed == 0 && !listed.is_truncated().unwrap_or(false) {
                return self.remove(&tombstone).await;
            }
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Fault> {
        let removed = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        removed.map(drop).map_err(|error| failure("remove", key, &error))
    }
}

fn failure<E: std::error::Error + ProvideErrorMetadata + 'static>(
    action: &str,
    key: &str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> Fault {
    if let Some((reason, why)) = no_credentials(error) {
        let fault = Fault::new(reason, format!("nobody could ask the store to {action} {key}: {why}"));
        return fault.hint(HINT).stage("store");
    }
    let reason = match error.code() {
        Some("NoSuchBucket") => Reason::BucketMissing,
        Some("NoSuchKey") => Reason::SnapshotDamaged,
        Some(
            "AccessDenied"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "XAdminUserNotFound",
        ) => Reason::StoreDenied,
        _ => Reason::StoreUnavailable,
    };
    Fault::new(reason, format!("the store did not {action} {key}: {}", DisplayErrorContext(error))).stage("store")
}
