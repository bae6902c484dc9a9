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

mod call_tokens;
mod relayed;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use remora_control_plane_kube::service_accounts::ServiceAccounts;
use remora_control_plane_runtime::{AgentHandle, Projects};
use remora_proto::{
    capability::{CapabilityVerifier, MAX_TOKEN_BYTES},
    model::{Capability, Fault, Reason, Verb, verb_of},
};
use remora_proto_serving::{calls::Calls, linger::Lingering};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tower::{Service as _, ServiceExt as _};

use self::{call_tokens::CallTokens, relayed::Relayed};
use crate::{
    auth::{Credentials, credentials, roles::role_allows, roles::role_of},
    control::Control,
    limits::MAX_CALLS_PER_PROJECT,
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
    verifier: CapabilityVerifier,
    tokens: CallTokens,
    calls: Calls,
}

/// A call that may proceed.
struct Admitted {
    agent: AgentHandle,
    authorization: HeaderValue,
}

impl Proxy {
    pub(crate) fn new(control: Control, projects: Projects, verifier: CapabilityVerifier) -> Self {
        Proxy {
            control,
            projects,
            verifier,
            tokens: CallTokens::default(),
            calls: Calls::new("calls to this project", MAX_CALLS_PER_PROJECT),
        }
    }

    /// Passes a call to the agent it is for; an error was caused on this side of it.
    pub(crate) async fn call(&self, request: Request<Lingering<Incoming>>) -> Result<Response<Body>, Fault> {
        let deadline = deadline(request.headers())?;
        let path = request.uri().path().to_owned();
        let Admitted { agent, authorization } = self.admit(&path, request.headers()).await?;
        let permit = self.calls.enter_each(&agent.project.to_string())?;
        let request = rewritten(request, authorization)?;
        let mut channel = agent.channel.clone();
        let answer = async {
            channel
                .ready()
                .await
                .map_err(|error| unreachable(&error))?
                .call(request)
                .await
                .map_err(|error| lost(&error))
        };
        let response = match deadline {
            // Dropping the call resets its stream, which cancels it at the agent.
            Some(at) => timeout_at(at, answer).await.unwrap_or_else(|_| Err(relayed::too_late()))?,
            None => answer.await?,
        };
        let has_status = response.headers().contains_key("grpc-status");
        Ok(response.map(|body| permit.hold(Body::new(Relayed::new(body, has_status, deadline)))))
    }

    async fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Admitted, Fault> {
        let accounts = self.control.accounts.is_some();
        match credentials(headers)? {
            Credentials::Key(_) => self.exchanged(path, headers).await,
            // A ServiceAccount's token is for us and not for agents: it gets a capability, as a key does.
            Credentials::Token(token) if accounts && ServiceAccounts::is_for_us(token) => {
                self.exchanged(path, headers).await
            }
            Credentials::Token(token) => {
                let capability = self.verifier.verify(token)?;
                let verb = verb(path)?;
                if let Some(named) = named_project(headers)? {
                    // Whether another project exists is nothing that the token tells.
                    let known = self.projects.resolve(named).await.ok();
                    if known != Some(capability.project) {
                        return Err(Fault::new(Reason::ProjectMismatch, "the token is for another project")
                            .hint("name the project that it was made for, or none"));
                    }
                }
                let agent = self.projects.agent(capability.project)?;
                check_generation(&capability, &agent)?;
                capability.allows(verb)?;
                Ok(Admitted { authorization: bearer(token)?, agent })
            }
        }
    }

    /// A call by somebody whose role says what is allowed.
    async fn exchanged(&self, path: &str, headers: &HeaderMap) -> Result<Admitted, Fault> {
        let caller = self.control.caller(headers).await?;
        let verb = verb(path)?;
        let named = named_project(headers)?.ok_or_else(|| {
            Fault::invalid(PROJECT, "is missing").hint("name the project in the metadata `remora-project`")
        })?;
        let project = self.control.resolve(&caller, named).await?;
        if !role_allows(caller.role(), verb) {
            return Err(caller.at_least(role_of(verb)).err().unwrap_or_else(|| not_granted(verb)));
        }
        let agent = self.projects.agent(project)?;
        let token = self.tokens.of(&caller, &agent)?;
        Ok(Admitted { authorization: bearer(&token)?, agent })
    }
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

fn check_generation(capability: &Capability, agent: &AgentHandle) -> Result<(), Fault> {
    if capability.generation == agent.generation {
        return Ok(());
    }
    Err(Fault::new(
        Reason::GenerationMismatch,
        format!("the token is for generation {}, the project is at {}", capability.generation, agent.generation),
    )
    .hint("the project was started again; ask for a new token"))
}

fn bearer(token: &str) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| token.len() <= MAX_TOKEN_BYTES);
    let mut value =
        value.ok_or_else(|| Fault::new(Reason::CredentialsInvalid, "the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The same call, as one to an agent.
fn rewritten(request: Request<Lingering<Incoming>>, authorization: HeaderValue) -> Result<Request<Body>, Fault> {
    let (parts, body) = request.into_parts();
    let mut passed = Request::new(Body::new(body));
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
