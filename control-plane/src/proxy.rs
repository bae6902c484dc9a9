//! The way through to a project's agent: every method of `remora.agent.v1`,
//! none of them known here but for its verb.
//!
//! ```text
//!  call ─► who ─► which project ─► verb ─► agent ready? ─► capability ─► frames, undecoded
//! ```
//!
//! Bodies pass through as HTTP/2 data, so that flow control reaches from the
//! client to the agent and back: a client that does not read holds back its own
//! stream and no other. Whoever goes away takes the call at the other end along.

mod beside;
mod call_tokens;
mod relayed;
mod through;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version, header};
use remora_control_plane_runtime::{AgentHandle, Projects};
use remora_proto::{
    capability::MAX_TOKEN_BYTES,
    model::{AccessToken, Effect, Fault, ProjectId, Reason, Verb, verb_of},
};
use remora_proto_serving::calls::Calls;
use tokio::time::{Instant, interval, timeout_at};
use tonic::body::Body;
use tower::{Service as _, ServiceExt as _};

pub(crate) use self::through::Through;
use self::{
    call_tokens::CallTokens,
    relayed::{Relayed, Standing},
};
use crate::{
    audit::{Entry, Peeked},
    auth::{
        Caller, Identity,
        roles::{role_allows, role_of},
    },
    control::Control,
    limits::{CREDENTIALS_LOOK, MAX_CALLS_PER_PROJECT},
};

/// The metadata that names the project.
const PROJECT: &str = "remora-project";

/// What belongs to one connection and not to the call (RFC 9110, 7.6.1), and
/// what the call to the agent has anew.
const NOT_PASSED_ON: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TRAILER,
];

/// Calls agents for callers of the server.
pub(crate) struct Proxy {
    control: Control,
    projects: Projects,
    tokens: CallTokens,
    calls: Calls,
}

/// A call that may proceed.
struct Admitted {
    agent: AgentHandle,
    identity: Identity,
    authorization: HeaderValue,
}

impl Proxy {
    pub(crate) fn new(control: Control, projects: Projects) -> Self {
        Proxy {
            control,
            projects,
            tokens: CallTokens::default(),
            calls: Calls::new("calls to this project", MAX_CALLS_PER_PROJECT),
        }
    }

    /// Passes a call to the agent it is for; an error was caused on this side of it.
    pub(crate) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Fault> {
        let deadline = deadline(request.headers())?;
        let path = request.uri().path().to_owned();
        let entry = request.extensions().get::<Entry>().cloned();
        let Admitted { agent, identity, authorization } = self.admit(&path, request.headers(), entry.as_ref()).await?;
        let permit = self.calls.enter_each(&agent.project.to_string())?;
        let request = match entry {
            Some(entry) => request.map(|body| Peeked::around(body, &path, entry)),
            None => request,
        };
        let request = rewritten(request, authorization)?;
        let answer = async {
            let (parts, body) = request.into_parts();
            let (agent, body) = beside::beside(&self.projects, agent, &identity, &path, body).await?;
            let request = Request::from_parts(parts, body);
            let mut channel = agent.channel;
            channel
                .ready()
                .await
                .map_err(|error| unreachable(&error))?
                .call(request)
                .await
                .map_err(|error| lost(&error))
        };
        let answer = async {
            tokio::select! {
                answer = answer => answer,
                // Dropping the call resets its stream, which cancels it at the agent.
                () = self.no_longer_stands(&identity) => Err(ended_credentials().effect(Effect::MayHaveApplied)),
            }
        };
        let response = match deadline {
            Some(at) => timeout_at(at, answer).await.unwrap_or_else(|_| Err(relayed::too_late()))?,
            None => answer.await?,
        };
        let has_status = response.headers().contains_key("grpc-status");
        let control = self.control.clone();
        let standing = Standing::new(move || control.stands(&identity));
        Ok(response.map(|body| permit.hold(Body::new(Relayed::new(body, has_status, deadline, Some(standing))), ())))
    }

    /// Returns when the credentials of a call are revoked or expire.
    async fn no_longer_stands(&self, identity: &Identity) {
        let mut looks = interval(CREDENTIALS_LOOK);
        // The first comes at once, and the credentials were looked at just now.
        looks.tick().await;
        loop {
            looks.tick().await;
            if !self.control.stands(identity) {
                return;
            }
        }
    }

    /// Who may call what; `entry` is told as far as it is known.
    async fn admit(&self, path: &str, headers: &HeaderMap, entry: Option<&Entry>) -> Result<Admitted, Fault> {
        let identity = self.control.identity(headers).await?;
        if let Some(entry) = entry {
            entry.who(&identity);
        }
        let verb = verb(path)?;
        if let Some(entry) = entry {
            entry.verb(verb);
        }
        let project = match &identity {
            Identity::Caller(caller) => self.of_caller(caller, headers).await?,
            Identity::Token(token) => self.of_token(token, headers).await?,
        };
        if let Some(entry) = entry {
            entry.project(project);
        }
        match &identity {
            Identity::Caller(caller) if !role_allows(caller.role(), verb) => {
                return Err(caller.at_least(role_of(verb)).err().unwrap_or_else(|| not_granted(verb)));
            }
            Identity::Token(token) => token.allows(verb)?,
            Identity::Caller(_) => {}
        }
        let agent = self.projects.agent(project).await?;
        let capability = self.tokens.of(&identity, &agent)?;
        Ok(Admitted { authorization: bearer(&capability)?, identity, agent })
    }

    /// The project that somebody with a role names.
    async fn of_caller(&self, caller: &Caller, headers: &HeaderMap) -> Result<ProjectId, Fault> {
        let named = named_project(headers)?.ok_or_else(|| {
            Fault::invalid(PROJECT, "is missing").hint("name the project in the metadata `remora-project`")
        })?;
        self.control.resolve(caller, named).await
    }

    /// The project of a token, which needs not be named. Whether another one exists is nothing that the token tells.
    async fn of_token(&self, token: &AccessToken, headers: &HeaderMap) -> Result<ProjectId, Fault> {
        match named_project(headers)? {
            Some(named) if self.projects.resolve(named).await.ok() != Some(token.project) => {
                Err(Fault::new(Reason::ProjectMismatch, "the token is for another project")
                    .hint("name the project that it was made for"))
            }
            _ => Ok(token.project),
        }
    }
}

/// The end of a call whose credentials ended before it.
fn ended_credentials() -> Fault {
    Fault::new(Reason::CredentialsInvalid, "the credentials of this call were revoked or have expired")
        .hint("call again with others")
}

fn verb(path: &str) -> Result<Verb, Fault> {
    verb_of(path).ok_or_else(|| {
        let shown: String = path.chars().take(120).collect();
        Fault::new(Reason::Unimplemented, format!("agents have no method {shown:?}"))
            .hint("reflection lists the methods; the server may be older than the caller")
    })
}

fn not_granted(verb: Verb) -> Fault {
    Fault::new(Reason::RoleNotGranted, format!("the caller's role does not have the verb {verb}"))
}

fn named_project(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(PROJECT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::invalid(PROJECT, "is there twice").hint("name one project"));
    }
    value.to_str().map(Some).map_err(|_| Fault::invalid(PROJECT, "has characters that no name has"))
}

fn bearer(token: &str) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| token.len() <= MAX_TOKEN_BYTES);
    let mut value =
        value.ok_or_else(|| Fault::new(Reason::CredentialsInvalid, "the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The same call, as one to an agent.
fn rewritten(request: Request<Body>, authorization: HeaderValue) -> Result<Request<Body>, Fault> {
    let (parts, body) = request.into_parts();
    let mut passed = Request::new(body);
    *passed.method_mut() = parts.method;
    *passed.version_mut() = Version::HTTP_2;
    *passed.uri_mut() = Uri::try_from(parts.uri.path()).map_err(|error| Fault::invalid("path", error))?;
    *passed.headers_mut() = parts.headers;
    let headers = passed.headers_mut();
    for name in &NOT_PASSED_ON {
        headers.remove(name);
    }
    headers.remove(PROJECT);
    headers.insert(header::AUTHORIZATION, authorization);
    Ok(passed)
}

/// When the caller stops waiting (`grpc-timeout`: at most 8 digits and a unit).
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Fault> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = digits.parse().ok().filter(|_| (1..=8).contains(&digits.len()))?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3_600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    });
    let wait = parsed.ok_or_else(|| {
        Fault::invalid("grpc-timeout", "is no timeout").hint("send up to 8 digits and one of H, M, S, m, u, n")
    })?;
    Ok(Instant::now().checked_add(wait))
}

/// There is no connection: the call was not sent.
fn unreachable(error: &tonic::transport::Error) -> Fault {
    tracing::info!(%error, "an agent cannot be reached");
    Fault::new(Reason::Unavailable, "the project's agent cannot be reached")
        .hint("it may be starting again; try again in a moment")
        .retry_after(Duration::from_secs(1))
}

fn lost(error: &tonic::transport::Error) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if at.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return unreachable(error);
        }
        cause = at.source();
    }
    relayed::lost(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        let at = deadline(&headers).ok()??;
        Some(at.saturating_duration_since(Instant::now()).as_millis().try_into().unwrap())
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, milliseconds) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("4000m", 4_000)] {
            let left = parsed(text).unwrap();
            assert!(left <= milliseconds && left > milliseconds - 1_000, "{text}: {left}");
        }
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert!(deadline(&headers).unwrap_err().message.starts_with("grpc-timeout:"), "{bad}");
        }
        assert_eq!(deadline(&HeaderMap::new()).unwrap(), None);
    }
}
