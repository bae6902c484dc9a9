//! Callers that are ServiceAccounts of the cluster: their bearer token is shown
//! to the API server (TokenReview), for the audience `remora` alone, and the
//! settings say which of them has which role.
//!
//! A token that does not even say that it is for us goes nowhere: it may be
//! somebody's key to something else.

mod grants;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use remora_proto_model::{Fault, Reason, project::Role};
use serde::Deserialize;
use tokio::time::timeout;

pub use self::grants::{Grant, GrantError, Grants};
use crate::limits::{MAX_BEARER_BYTES, MAX_REVIEWED_TOKENS, TOKEN_REVIEW_PATIENCE, TOKEN_REVIEW_TTL};

/// The audience that tokens for us are made for.
pub const AUDIENCE: &str = "remora";
/// What the API server's names of ServiceAccounts begin with.
const PREFIX: &str = "system:serviceaccount:";

/// A ServiceAccount that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountCaller {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub name: String,
    /// What the settings give it.
    pub role: Role,
    /// When its token ends, in seconds since the epoch.
    pub expires: u64,
}

/// Asks the API server who holds a token.
pub struct ServiceAccounts {
    reviews: Api<TokenReview>,
    grants: Grants,
    /// By the SHA-256 of the token: the token itself is kept nowhere.
    known: Mutex<BTreeMap<[u8; 32], Reviewed>>,
}

struct Reviewed {
    name: String,
    at: Instant,
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccounts").field("grants", &self.grants).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Audiences,
    /// Seconds since the epoch (RFC 7519, 4.1.4); the API server's tokens have it always.
    exp: Option<u64>,
}

impl Claims {
    fn are_for_us(&self) -> bool {
        match &self.aud {
            Audiences::Several(several) => several.iter().any(|audience| audience == AUDIENCE),
            Audiences::One(one) => one == AUDIENCE,
            Audiences::None => false,
        }
    }
}

/// One audience or several (RFC 7519, 4.1.3).
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audiences {
    Several(Vec<String>),
    One(String),
    #[default]
    None,
}

impl ServiceAccounts {
    /// Asks through `client`; `grants` says who has which role.
    pub fn new(client: Client, grants: Grants) -> ServiceAccounts {
        ServiceAccounts { reviews: Api::all(client), grants, known: Mutex::default() }
    }

    /// Whether `token` says of itself that it is for us. Nothing is verified by that.
    pub fn is_for_us(token: &str) -> bool {
        claims(token).is_some_and(|claims| claims.are_for_us())
    }

    /// Who holds `token`, and what that one may do.
    pub async fn authenticate(&self, token: &str) -> Result<ServiceAccountCaller, Fault> {
        let Some(claims) = claims(token).filter(Claims::are_for_us) else {
            return Err(Fault::new(
                Reason::CredentialsInvalid,
                "the token is neither of this server nor of a ServiceAccount for the audience remora",
            )
            .hint("make one with `kubectl create token NAME --audience remora`"));
        };
        // What it says of itself counts once the API server took it.
        let expires = claims.exp.unwrap_or_default();
        if expires <= now_seconds() {
            return Err(Fault::new(Reason::CredentialsExpired, "the ServiceAccount's token has expired")
                .hint("make one with `kubectl create token NAME --audience remora`"));
        }
        let name = match self.known(token) {
            Some(name) => name,
            None => {
                let name = self.review(token).await?;
                self.remember(token, &name);
                name
            }
        };
        match self.grants.role(&name) {
            Some(role) => Ok(ServiceAccountCaller { name, role, expires }),
            None => Err(Fault::new(Reason::RoleNotGranted, format!("{name} has no role on this server"))
                .hint("an admin gives it one in the settings of the server")),
        }
    }

    async fn review(&self, token: &str) -> Result<String, Fault> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) },
            ..TokenReview::default()
        };
        let unavailable = |problem: String| {
            Fault::new(
                Reason::Unavailable,
                format!("the Kubernetes API cannot be asked who holds the token: {problem}"),
            )
            .hint("try again; an API key does not need the Kubernetes API")
        };
        let parameters = PostParams::default();
        match timeout(TOKEN_REVIEW_PATIENCE, self.reviews.create(&parameters, &review)).await {
            Ok(Ok(review)) => holder(&review.status.unwrap_or_default()),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no answer within {} s", TOKEN_REVIEW_PATIENCE.as_secs()))),
        }
    }

    fn known(&self, token: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&hash(token)).filter(|reviewed| reviewed.at.elapsed() < TOKEN_REVIEW_TTL).map(|one| one.name.clone())
    }

    fn remember(&self, token: &str, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REVIEWED_TOKENS {
            known.retain(|_, reviewed| reviewed.at.elapsed() < TOKEN_REVIEW_TTL);
        }
        if known.len() >= MAX_REVIEWED_TOKENS {
            known.clear();
        }
        known.insert(hash(token), Reviewed { name: name.to_owned(), at: Instant::now() });
    }
}

fn hash(token: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// What a token (RFC 7519, three parts) says of itself.
fn claims(token: &str) -> Option<Claims> {
    if token.len() > MAX_BEARER_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Whom the API server names. Without our audience in its answer it did not look
/// at audiences at all, and the token may be for anybody.
fn holder(status: &TokenReviewStatus) -> Result<String, Fault> {
    let invalid = |problem: &str| {
        Fault::new(Reason::CredentialsInvalid, format!("the Kubernetes API does not take the token: {problem}"))
            .hint("make one with `kubectl create token NAME --audience remora`")
    };
    if status.authenticated != Some(true) {
        return Err(invalid("it is expired, or of another cluster, or its ServiceAccount is gone"));
    }
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(invalid("it is not for the audience remora"));
    }
    let name = status.user.as_ref().and_then(|user| user.username.clone()).unwrap_or_default();
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
    match parts {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => Ok(name),
        _ => Err(invalid("its holder is no ServiceAccount")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn only_tokens_for_us_are_shown_to_anybody() {
        for ours in [r#"{"aud":["remora"]}"#, r#"{"aud":"remora"}"#, r#"{"aud":["x","remora"],"exp":1}"#] {
            assert!(ServiceAccounts::is_for_us(&token(ours)), "{ours}");
        }
        for other in [r#"{"aud":["x"]}"#, r#"{"aud":[]}"#, "{}", "[]", "", r#"{"aud":7}"#, r#"{"aud":"remora2"}"#] {
            assert!(!ServiceAccounts::is_for_us(&token(other)), "{other}");
        }
        let huge = token(&format!(r#"{{"aud":"remora","x":"{}"}}"#, "y".repeat(MAX_BEARER_BYTES)));
        for other in ["", "a", "a.b", "a.b.c.d", "..", huge.as_str()] {
            assert!(!ServiceAccounts::is_for_us(other), "{other:.20}");
        }
    }

    #[test]
    fn the_holder_is_a_service_account_that_was_looked_at_for_us() {
        let status = |authenticated, audiences: &[&str], username: &str| TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo { username: Some(username.to_owned()), ..UserInfo::default() }),
            ..TokenReviewStatus::default()
        };
        let ci = "system:serviceaccount:ci:runner";
        assert_eq!(holder(&status(true, &["remora"], ci)).as_deref(), Ok(ci));
        for bad in [
            status(false, &["remora"], ci),
            status(true, &[], ci),
            status(true, &["x"], ci),
            status(true, &["remora"], "alice"),
            status(true, &["remora"], "system:serviceaccount:ci"),
            status(true, &["remora"], "system:serviceaccount::x"),
            TokenReviewStatus::default(),
        ] {
            let fault = holder(&bad).unwrap_err();
            assert_eq!(fault.reason, Reason::CredentialsInvalid, "{bad:?}");
        }
    }
}
