//! URLs that open one object of the store for a time, for whoever has them: signed by
//! query (SigV4), without a request to the store.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::{
    Client,
    presigning::{PresignedRequest, PresigningConfig},
};
use remora_proto_model::{Fault, Reason};

use super::{HINT, Store, no_credentials};

/// A URL that is a credential: what prints it for debugging leaves out the signature.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// The whole of it, for whoever asked for it and nobody else.
    pub fn expose(self) -> String {
        self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.split('?').next().unwrap_or_default();
        write!(f, "PresignedUrl({plain}?...)")
    }
}

/// A request that is signed, but not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// Where it goes.
    pub url: PresignedUrl,
    /// The headers that it must have, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// When the signature ends, in milliseconds since the epoch.
    pub expires_ms: u64,
}

struct Signer {
    client: Client,
    config: PresigningConfig,
    expires_ms: u64,
}

impl Signer {
    fn signed(self, request: PresignedRequest) -> Presigned {
        let headers = request.headers().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Presigned { url: PresignedUrl(request.uri().to_owned()), headers, expires_ms: self.expires_ms }
    }
}

impl Store {
    /// Lets whoever has the URL download the object `key` as a file called `name`.
    pub(crate) async fn presign_get(&self, key: &str, name: &str, life: Duration) -> Result<Presigned, Fault> {
        let signer = self.signer(life).await?;
        let get = signer.client.get_object().bucket(&self.bucket).key(key);
        let get = get.response_content_disposition(format!("attachment; filename=\"{name}\""));
        let request = get.presigned(signer.config.clone()).await.map_err(|error| unsigned(&error))?;
        Ok(signer.signed(request))
    }

    /// Lets whoever has the URL make the object `key` of `bytes` bytes, once: the store
    /// takes no other length, and nothing in the place of what is there.
    pub(crate) async fn presign_put(&self, key: &str, bytes: u64, life: Duration) -> Result<Presigned, Fault> {
        let signer = self.signer(life).await?;
        let length = i64::try_from(bytes).map_err(|_| Fault::invalid("bytes", "is more than any archive has"))?;
        let put = signer.client.put_object().bucket(&self.bucket).key(key);
        let put = put.content_length(length).if_none_match("*");
        let request = put.presigned(signer.config.clone()).await.map_err(|error| unsigned(&error))?;
        Ok(signer.signed(request))
    }

    /// Signs with credentials that are asked for now, and for no longer than they last.
    async fn signer(&self, life: Duration) -> Result<Signer, Fault> {
        let credentials = self.credentials.provide_credentials().await.map_err(|error| {
            let (reason, why) = no_credentials(&error).unwrap_or((Reason::StoreUnavailable, error.to_string()));
            Fault::new(reason, format!("nobody could sign for the store: {why}")).hint(HINT).stage("store")
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let lasts = credentials.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        let end = lasts.map_or(u64::MAX, |end| end.as_secs()).min(now + life.as_secs());
        let life = Duration::from_secs(end.saturating_sub(now));
        let config = PresigningConfig::builder()
            .start_time(UNIX_EPOCH + Duration::from_secs(now))
            .expires_in(life)
            .build()
            .ok()
            .filter(|_| !life.is_zero())
            .ok_or_else(|| {
                Fault::new(Reason::StoreUnavailable, "the server's credentials for the store are about to end")
                    .hint("ask again in a moment")
                    .retry_after(Duration::from_secs(1))
            })?;
        let provider = SharedCredentialsProvider::new(credentials);
        let client = Client::from_conf(self.signing.to_builder().credentials_provider(provider).build());
        Ok(Signer { client, config, expires_ms: end * 1_000 })
    }
}

fn unsigned(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::new(
        Reason::Internal,
        format!("the URL could not be signed: {}", aws_sdk_s3::error::DisplayErrorContext(error)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{StoreCredentials, StoreEndpoint};

    fn store(public: Option<&str>) -> Store {
        Store::new(&StoreEndpoint {
            endpoint: Some("http://store.internal:9000".to_owned()),
            public_endpoint: public.map(str::to_owned),
            bucket: "b".to_owned(),
            region: "us-east-1".to_owned(),
            path_style: true,
            credentials: StoreCredentials::Keys { access_key: "id".to_owned(), secret_key: "very-secret".to_owned() },
            prefix: "p".to_owned(),
        })
    }

    #[tokio::test]
    async fn a_url_names_one_object_and_its_end_and_prints_without_its_signature() {
        let signed = store(None).presign_get("p/exports/x", "a.tar.zst", Duration::from_secs(60)).await.unwrap();
        let shown = format!("{signed:?}");
        let url = signed.url.expose();
        assert!(url.starts_with("http://store.internal:9000/b/p/exports/x?"), "{url}");
        assert!(url.contains("X-Amz-Expires=60") && url.contains("X-Amz-Signature="), "{url}");
        assert!(!shown.contains("Signature") && !url.contains("very-secret"), "{shown}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!((now + 55_000..=now + 60_000).contains(&signed.expires_ms));
        let public = store(Some("https://store.example")).presign_get("k", "a", Duration::from_secs(9)).await.unwrap();
        assert!(public.url.expose().starts_with("https://store.example/b/k?"));
    }

    /// What bounds an upload is part of what is signed.
    #[tokio::test]
    async fn an_upload_is_signed_with_its_length_and_for_once() {
        let signed = store(None).presign_put("k", 1_234, Duration::from_secs(9)).await.unwrap();
        assert_eq!(signed.headers.get("content-length").map(String::as_str), Some("1234"));
        assert_eq!(signed.headers.get("if-none-match").map(String::as_str), Some("*"));
        let url = signed.url.expose();
        let names = url.split('&').find_map(|part| part.split_once("X-Amz-SignedHeaders=")).unwrap().1;
        assert!(names.contains("content-length") && names.contains("if-none-match"), "{url}");
    }
}
