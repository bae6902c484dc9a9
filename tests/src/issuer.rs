//! Who says who somebody is: an OpenID Connect issuer as a cluster is one for its
//! ServiceAccounts, with its discovery document and its key on loopback.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// Whom its tokens are for.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// The name of its key.
const KEY_ID: &str = "one";
/// How long before now its tokens begin, so that clocks need not agree.
const BACKDATED_SECONDS: i64 = 3_600;
/// Longest wait for a client that connected to ask something.
const QUESTION_WITHIN: Duration = Duration::from_secs(10);

/// An issuer that answers as long as the process lives.
#[derive(Debug)]
pub struct Issuer {
    /// What its tokens say of it, and where its documents are.
    pub url: String,
    key: EcdsaKeyPair,
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Who shows it.
    pub subject: String,
    /// Whom it is for.
    pub audience: String,
    /// Seconds until it expires; below zero it has.
    pub lifetime: i64,
}

impl Issuer {
    /// A new issuer with a key of its own.
    pub fn start() -> anyhow::Result<Issuer> {
        let random = SystemRandom::new();
        let made = || {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .map_err(|_| ring::error::Unspecified)
        };
        let key = made().map_err(|_| anyhow::anyhow!("no key for the issuer"))?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let keys = keys(key.public_key().as_ref());
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        thread::Builder::new().name("issuer".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that goes away asks again.
                let _ = answer(&client, &discovery, &keys);
            }
        })?;
        Ok(Issuer { url, key })
    }

    /// A token, as the kubelet puts it into a pod.
    pub fn token(&self, claims: &Claims) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let begun = now - BACKDATED_SECONDS;
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}));
        let body = part(json!({
            "iss": self.url, "sub": claims.subject, "aud": [claims.audience],
            "iat": begun, "nbf": begun, "exp": now + claims.lifetime,
        }));
        let signed = format!("{header}.{body}");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("the key signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The key as a set (RFC 7517). The public key is an uncompressed point: 4, x, y.
fn keys(point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(32);
    let part = |bytes| URL_SAFE_NO_PAD.encode(bytes);
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": KEY_ID, "use": "sig", "alg": "ES256", "x": part(x), "y": part(y)}]})
}

fn answer(mut client: &TcpStream, discovery: &Value, keys: &Value) -> std::io::Result<()> {
    client.set_read_timeout(Some(QUESTION_WITHIN))?;
    let mut lines = BufReader::new(client).lines();
    let question = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match question.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => ("200 OK", discovery.to_string()),
        Some("/openid/v1/jwks") => ("200 OK", keys.to_string()),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
