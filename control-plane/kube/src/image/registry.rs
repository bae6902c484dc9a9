//! Requests to a registry, as the OCI distribution specification 1.1 has them.

use std::{collections::BTreeSet, fmt};

use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use remora_proto_model::{Fault, Reason, project::ImageReference};
use serde::Deserialize;

use super::{challenge::Challenge, documents::MANIFESTS};
use crate::limits::{MAX_IMAGE_DOCUMENT_BYTES, MAX_REGISTRY_REDIRECTS, MAX_REGISTRY_TOKEN_BYTES};

/// The host that answers for `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A client of any registry.
pub(super) struct Registry {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    insecure: BTreeSet<String>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

impl Registry {
    pub(super) fn new(insecure: BTreeSet<String>) -> Registry {
        let provider = rustls::crypto::ring::default_provider();
        let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
            Ok(builder) => builder.https_or_http(),
            Err(error) => {
                tracing::warn!(%error, "no CA certificates: no registry will be trusted over https");
                let config =
                    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                        .with_safe_default_protocol_versions()
                        .expect("ring has the default versions")
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config).https_or_http()
            }
        };
        let client = Client::builder(TokioExecutor::new()).build(builder.enable_http1().build());
        Registry { client, insecure }
    }

    /// Requests about one image.
    pub(super) fn session<'a>(&'a self, image: &'a ImageReference) -> Session<'a> {
        let host = if image.registry() == "docker.io" { DOCKER_HUB } else { image.registry() };
        let scheme = if self.insecure.contains(image.registry()) { "http" } else { "https" };
        Session { registry: self, image, base: format!("{scheme}://{host}/v2/{}", image.repository()), token: None }
    }

    /// Whether a request may go there: by https, or by http to a registry that is named for it.
    fn may_ask(&self, uri: &Uri) -> bool {
        match (uri.scheme_str(), uri.authority()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(authority)) => self.insecure.contains(authority.as_str()),
            _ => false,
        }
    }
}

/// A document and its digest.
pub(super) struct Found {
    pub(super) bytes: Bytes,
    pub(super) digest: String,
}

/// See [`Registry::session`]. A token is asked for once.
pub(super) struct Session<'a> {
    registry: &'a Registry,
    image: &'a ImageReference,
    base: String,
    token: Option<HeaderValue>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Session<'_> {
    /// The manifest of a tag or a digest.
    pub(super) async fn manifest(&mut self, reference: &str) -> Result<Found, Fault> {
        // A digest of a stranger's document becomes part of a path only as what it is.
        if reference.contains(':') {
            digest_parts(reference).ok_or_else(|| self.broken("names no sha256 or sha512 digest"))?;
        }
        let bytes = self.document(&format!("{}/manifests/{reference}", self.base), MANIFESTS).await?;
        match digest_parts(reference) {
            Some(_) => {
                self.verify(reference, &bytes)?;
                Ok(Found { bytes, digest: reference.to_owned() })
            }
            None => Ok(Found { digest: format!("sha256:{}", digest_of(&ring::digest::SHA256, &bytes)), bytes }),
        }
    }

    /// The blob of a digest.
    pub(super) async fn blob(&mut self, digest: &str) -> Result<Bytes, Fault> {
        digest_parts(digest).ok_or_else(|| self.broken("names no sha256 or sha512 digest"))?;
        let bytes = self.document(&format!("{}/blobs/{digest}", self.base), "*/*").await?;
        self.verify(digest, &bytes)?;
        Ok(bytes)
    }

    fn verify(&self, digest: &str, bytes: &[u8]) -> Result<(), Fault> {
        let same = digest_parts(digest).is_some_and(|(algorithm, hex)| digest_of(algorithm, bytes) == hex);
        if same { Ok(()) } else { Err(self.broken("sent something else than the digest says")) }
    }

    async fn document(&mut self, url: &str, accept: &'static str) -> Result<Bytes, Fault> {
        let mut answer = self.get(url, accept).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.token.is_none() {
            let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter();
            let challenge = challenges.filter_map(|value| value.to_str().ok()).find_map(Challenge::read);
            let challenge = challenge.ok_or_else(|| self.closed())?;
            self.token = Some(self.ask_for_token(&challenge).await?);
            answer = self.get(url, accept).await?;
        }
        let image = self.image;
        let registry = image.registry();
        match answer.status {
            StatusCode::OK => Ok(answer.bytes),
            StatusCode::NOT_FOUND => {
                Err(Fault::new(Reason::NotFound, format!("image {image} does not exist in the registry {registry}"))
                    .hint("look at its name and tag"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.closed()),
            status => Err(self.unavailable(&answer.headers, status)),
        }
    }

    /// A token for somebody without credentials.
    async fn ask_for_token(&self, challenge: &Challenge) -> Result<HeaderValue, Fault> {
        let query = challenge.query();
        let joined = match (query.is_empty(), challenge.realm.contains('?')) {
            (true, _) => challenge.realm.clone(),
            (false, true) => format!("{}&{query}", challenge.realm),
            (false, false) => format!("{}?{query}", challenge.realm),
        };
        let answer = self.request(&joined, "application/json", None, MAX_REGISTRY_TOKEN_BYTES).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.closed()),
            status => return Err(self.unavailable(&answer.headers, status)),
        }
        let token: Token = serde_json::from_slice(&answer.bytes)
            .map_err(|_| self.broken("sent no token where it said that one is"))?;
        let token = token.token.or(token.access_token).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.closed())?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| self.broken("sent a token that no header can carry"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Follows redirects: to another host without the token, which is not for it.
    async fn get(&self, url: &str, accept: &'static str) -> Result<Answer, Fault> {
        let mut url = url.to_owned();
        let mut token = self.token.as_ref();
        for _ in 0..=MAX_REGISTRY_REDIRECTS {
            let answer = self.request(&url, accept, token, MAX_IMAGE_DOCUMENT_BYTES).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| self.broken("redirects to nowhere"))?;
            let before: Uri = url.parse().map_err(|_| self.broken("has no address"))?;
            let next = match location.strip_prefix('/') {
                Some(path) if !path.starts_with('/') => {
                    let authority = before.authority().map_or("", |authority| authority.as_str());
                    format!("{}://{authority}{location}", before.scheme_str().unwrap_or("https"))
                }
                _ => location.to_owned(),
            };
            let after: Uri = next.parse().map_err(|_| self.broken("redirects to no address"))?;
            if after.authority() != before.authority() || after.scheme() != before.scheme() {
                token = None;
            }
            url = next;
        }
        Err(self.broken("redirects in circles"))
    }

    async fn request(
        &self,
        url: &str,
        accept: &'static str,
        token: Option<&HeaderValue>,
        most: usize,
    ) -> Result<Answer, Fault> {
        let uri: Uri = url.parse().map_err(|_| self.broken("names no address"))?;
        if !self.registry.may_ask(&uri) {
            return Err(self.broken("sends to an address that is not asked by plain http"));
        }
        let mut request = Request::get(uri)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("remora/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| self.broken("names no address"))?;
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let response = self.registry.client.request(request).await.map_err(|error| self.unreachable(&error))?;
        let (parts, body) = response.into_parts();
        let bytes = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return self.broken(&format!("sent more than {most} bytes"));
            }
            self.unreachable(error.as_ref())
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, bytes: bytes.to_bytes() })
    }

    fn closed(&self) -> Fault {
        let registry = self.image.registry();
        Fault::new(
            Reason::FailedPrecondition,
            format!(
                "the registry {registry} shows image {} to nobody without credentials, or does not have it",
                self.image
            ),
        )
        .hint("look at its name; make it public, or give the container a command, then the registry is not asked")
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
        // The last cause says what happened: the ones before it only where.
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let registry = self.image.registry();
        Fault::new(
            Reason::Unavailable,
            format!("the registry {registry} cannot be asked for image {}: {cause}", self.image),
        )
        .hint("look at its host name, or give the container a command, then the registry is not asked")
    }

    fn unavailable(&self, headers: &HeaderMap, status: StatusCode) -> Fault {
        let registry = self.image.registry();
        let fault = Fault::new(
            Reason::Unavailable,
            format!("the registry {registry} answers {status} when it is asked for image {}", self.image),
        )
        .hint("try again later, or give the container a command, then the registry is not asked");
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match seconds {
            Some(seconds) => fault.retry_after(std::time::Duration::from_secs(u64::min(seconds, 3_600))),
            None => fault,
        }
    }

    fn broken(&self, problem: &str) -> Fault {
        let registry = self.image.registry();
        Fault::new(
            Reason::ProtocolViolation,
            format!("the registry {registry}, asked for image {}, {problem}", self.image),
        )
        .hint("give the container a command, then the registry is not asked")
    }
}

/// The algorithm and the hexadecimal digits of a digest.
fn digest_parts(digest: &str) -> Option<(&'static ring::digest::Algorithm, &str)> {
    let (algorithm, hex) = match digest.split_once(':')? {
        ("sha256", hex) if hex.len() == 64 => (&ring::digest::SHA256, hex),
        ("sha512", hex) if hex.len() == 128 => (&ring::digest::SHA512, hex),
        _ => return None,
    };
    hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some((algorithm, hex))
}

fn digest_of(algorithm: &'static ring::digest::Algorithm, bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(algorithm, bytes))
}
