//! A bucket in this process: what the control plane asks of S3, in memory.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use remora_control_plane_runtime::{StoreCredentials, StoreEndpoint};

use crate::http_server::Server;

pub(crate) const NAME: &str = "snapshots";

#[derive(Default)]
pub(crate) struct Content {
    pub(crate) objects: BTreeMap<String, Bytes>,
    /// Keys that were read, in order.
    pub(crate) read: Vec<String>,
    /// It answers 503 to everything.
    pub(crate) down: bool,
}

/// See the module. Ends when it is dropped.
pub(crate) struct Bucket {
    content: Arc<Mutex<Content>>,
    server: Server,
}

impl Bucket {
    pub(crate) async fn new() -> Bucket {
        let content = Arc::new(Mutex::new(Content::default()));
        let shared = Arc::clone(&content);
        let server = Server::start(|_| move |request| answer(Arc::clone(&shared), request)).await;
        Bucket { server, content }
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    pub(crate) fn shared(&self) -> Arc<Mutex<Content>> {
        Arc::clone(&self.content)
    }

    pub(crate) fn endpoint(&self) -> StoreEndpoint {
        StoreEndpoint {
            endpoint: Some(format!("http://{}", self.server.address)),
            public_endpoint: None,
            bucket: NAME.to_owned(),
            region: "us-east-1".to_owned(),
            path_style: true,
            credentials: StoreCredentials::Keys { access_key: "access".to_owned(), secret_key: "secret".to_owned() },
            prefix: String::new(),
        }
    }
}

async fn answer(content: Arc<Mutex<Content>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return std::future::pending().await };
    let mut content = content.lock().unwrap();
    let key = parts.uri.path().trim_start_matches('/').trim_start_matches(NAME).trim_start_matches('/').to_owned();
    let (status, bytes) = match (&parts.method, key.as_str()) {
        _ if content.down => (503, error("ServiceUnavailable")),
        (&Method::GET, "") => {
            let query = parts.uri.query().unwrap_or_default();
            let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
            let prefix = prefix.replace("%2F", "/");
            let mut text = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
            for key in content.objects.keys().filter(|key| key.starts_with(&prefix)) {
                write!(text, "<Contents><Key>{key}</Key></Contents>").unwrap();
            }
            (200, Bytes::from(text + "</ListBucketResult>"))
        }
        (&Method::GET, key) => match content.objects.get(key).cloned() {
            Some(bytes) => {
                content.read.push(key.to_owned());
                (200, bytes)
            }
            None => (404, error("NoSuchKey")),
        },
        (&Method::PUT, _) => {
            content.objects.insert(key, body.to_bytes());
            (200, Bytes::new())
        }
        (&Method::DELETE, key) => {
            content.objects.remove(key);
            (204, Bytes::new())
        }
        (method, key) => panic!("{method} {key}"),
    };
    Ok(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Full::from(bytes)).unwrap())
}

fn error(code: &str) -> Bytes {
    Bytes::from(format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"))
}
