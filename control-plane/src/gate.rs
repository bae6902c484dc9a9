//! Who may pass to a port that is reached from outside. An ingress controller asks at
//! `/auth/verify` about each request, of a WebSocket its first one, before it passes it on.
//!
//! ```text
//! whose port ─► who asks (authorization, link, session) ─► may they ─► is it awake ─► pass, with headers
//! ```
//!
//! It fails closed: what is not understood, not known or not to be found out is refused.
//! Whether a port is there is told to nobody who may not reach it. The answer's headers
//! replace those of the request: who calls is this server's word alone, and a program
//! behind a port never sees what opens anything else.

mod forwarded;
mod session;

use http::{
    HeaderMap, HeaderValue, Method,
    header::{self, AUTHORIZATION, COOKIE},
};
use remora_control_plane_kube::{manifests::Controller, service_accounts::ServiceAccounts};
use remora_control_plane_project::{Whose, exposed, host_label, port_of, whose};
use remora_proto_model::{
    ContainerName, Fault, ProjectId, ProjectName, Reason, Verb,
    project::{self, Container, Exposure, Phase, Project},
};

use self::{
    forwarded::Forwarded,
    session::{Kind, Sessions, Who},
};
use crate::{
    auth::{Caller, Credentials, Identity, credentials, keys::now_ms},
    control::Control,
    limits::{MAX_LINK_PATH_BYTES, PORT_LINK_SECONDS, PORT_SESSION_SECONDS},
};

/// The parameter of a link's query that a session is made of.
const LINK: &str = "remora-link";
/// The name of the session's cookie; a browser takes it over TLS for one host alone.
const SECURE_COOKIE: &str = "__Host-remora-port";
/// The same where there is no TLS.
const PLAIN_COOKIE: &str = "remora-port";
/// When to come back to a port whose project is not awake.
const ASLEEP_RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// What is known of the ports that are reached from outside.
#[derive(Clone, Debug)]
pub(crate) struct GateSettings {
    /// The domain below which each has a label.
    pub(crate) domain: String,
    /// Whose headers say what is asked about.
    pub(crate) controller: Controller,
    /// Whether browsers reach them over TLS.
    pub(crate) secure: bool,
    /// Whether pages of other sites may embed what they show.
    pub(crate) embedded: bool,
    /// Origins of pages that may read what they answer.
    pub(crate) origins: Vec<String>,
    /// Where people sign in.
    pub(crate) login_url: Option<String>,
}

/// See the module.
pub(crate) struct Gate {
    settings: GateSettings,
    sessions: Sessions,
}

/// What the controller is answered.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The request may go on.
    Pass(Pass),
    /// The browser is sent elsewhere.
    Redirect { to: String, cookie: Option<String> },
    /// Nobody knows who asks.
    Unknown(Fault),
    /// Whoever asks may not.
    Forbidden(Fault),
    /// The port is nowhere at present.
    Asleep(Fault),
}

/// What a request is to have that may go on.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Who calls; nobody where everybody may.
    pub(crate) user: Option<String>,
    /// The project.
    pub(crate) project: Option<ProjectName>,
    /// The caller's own authorization, where it is none of this server's.
    pub(crate) authorization: Option<HeaderValue>,
    /// The caller's cookies but for the session.
    pub(crate) cookie: Option<HeaderValue>,
    /// A session that begins.
    pub(crate) set_cookie: Option<String>,
}

/// A link that opens a port in a browser.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) url: String,
    /// When it ends, in milliseconds since the epoch; a port for everybody needs no end.
    pub(crate) expires_ms: Option<u64>,
}

/// A port that is reached from outside.
struct Port {
    label: String,
    project: Project,
    container: ContainerName,
    exposure: Exposure,
}

impl Gate {
    /// `key` is the secret of all replicas that sessions are signed with.
    pub(crate) fn new(settings: GateSettings, key: [u8; 32]) -> Gate {
        Gate { settings, sessions: Sessions::new(key) }
    }

    /// What becomes of the request that `headers` tell of.
    pub(crate) async fn verify(&self, control: &Control, headers: &HeaderMap) -> Verdict {
        let asked = Forwarded::read(headers, self.settings.controller);
        let asked = match asked {
            Ok(asked) => asked,
            Err(problem) => return refuse_unread(control, headers, problem).await,
        };
        let port = self.port(control, &asked.host);
        if let Some(port) = port.as_ref().filter(|port| port.exposure == Exposure::Public) {
            return self.passed(headers, None, port);
        }
        // What a caller says goes before what its browser adds.
        if !own_authorization(headers) {
            let label = self.label(&asked.host).unwrap_or_default();
            let link = asked.parameter(LINK).filter(|_| asked.is_read());
            if let Some((who, project)) = link.and_then(|text| self.sessions.open(Kind::Link, text, label))
                && let Some(caller) = caller_of(control, &who)
            {
                let identity = Identity::Caller(caller);
                return match self.admitted(&identity, port.as_ref(), Some(project)) {
                    Ok(port) => self.begun(headers, &asked, &identity, &who, port),
                    Err(fault) => Verdict::Forbidden(fault),
                };
            }
            if let Some((identity, project)) = self.of_session(control, headers, label) {
                let admitted = self.of_own_page(headers, &asked.host);
                return match admitted.and_then(|()| self.admitted(&identity, port.as_ref(), Some(project))) {
                    Ok(port) => self.passed(headers, Some(&identity), port),
                    Err(fault) => Verdict::Forbidden(fault),
                };
            }
        }
        match control.identity(headers).await {
            Ok(identity) => match self.admitted(&identity, port.as_ref(), None) {
                Ok(port) => self.passed(headers, Some(&identity), port),
                Err(fault) => Verdict::Forbidden(fault),
            },
            Err(fault) => match self.login(headers, &asked) {
                Some(to) => Verdict::Redirect { to, cookie: None },
                None => Verdict::Unknown(fault),
            },
        }
    }

    /// A link to a port of `project` for `caller`, who may see that. An empty name is
    /// that of the only one.
    pub(crate) fn link(
        &self,
        caller: &Caller,
        project: &Project,
        container: &str,
        port: &str,
        path: &str,
    ) -> Result<Link, Fault> {
        let (of, one) = the_port(project, container, port)?;
        let path = if path.is_empty() { "/" } else { path };
        let plain = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !plain || path.len() > MAX_LINK_PATH_BYTES {
            return Err(Fault::invalid("path", "is no path of a URL")
                .hint(format!("begin it with '/', encode what is not ASCII, at most {MAX_LINK_PATH_BYTES} bytes")));
        }
        let label = host_label(project.id, &project.name, &of.name, &one.name);
        let url = format!("{}{path}", self.base(&format!("{label}.{}", self.settings.domain)));
        if one.expose == Some(Exposure::Public) {
            return Ok(Link { url, expires_ms: None });
        }
        let who = Who::of(caller);
        let expires_ms = who.until().min(now_ms() + PORT_LINK_SECONDS * 1_000);
        let text = self.sessions.sign(Kind::Link, &who, project.id, &label, expires_ms);
        let separator = if path.contains('?') { '&' } else { '?' };
        Ok(Link { url: format!("{url}{separator}{LINK}={text}"), expires_ms: Some(expires_ms) })
    }

    /// The label of a host below the domain.
    fn label<'a>(&self, host: &'a str) -> Option<&'a str> {
        let label = host.strip_suffix(&self.settings.domain)?.strip_suffix('.')?;
        (!label.is_empty() && !label.contains('.')).then_some(label)
    }

    /// The port that a host means, by what is known here: strangers' guesses ask nobody else.
    fn port(&self, control: &Control, host: &str) -> Option<Port> {
        let label = self.label(host)?;
        let project = match whose(label)? {
            Whose::Name(name) => control.projects.named(&name)?,
            Whose::Id(id) => control.projects.get(id).ok()?,
        };
        let (container, port) = port_of(&project, label)?;
        let (container, exposure) = (container.name.clone(), port.expose?);
        Some(Port { label: label.to_owned(), project, container, exposure })
    }

    fn base(&self, host: &str) -> String {
        format!("{}://{host}", if self.settings.secure { "https" } else { "http" })
    }

    fn cookie_name(&self) -> &'static str {
        if self.settings.secure { SECURE_COOKIE } else { PLAIN_COOKIE }
    }

    /// The port, where `identity` may reach it. A session is with one project: another
    /// one that has its name later on is a stranger to it.
    fn admitted<'a>(
        &self,
        identity: &Identity,
        port: Option<&'a Port>,
        with: Option<ProjectId>,
    ) -> Result<&'a Port, Fault> {
        let admits = |port: &&Port| {
            let id = port.project.id;
            with.is_none_or(|project| project == id)
                && match identity {
                    Identity::Caller(caller) => port.exposure == Exposure::Authenticated || caller.sees(id),
                    Identity::Token(token) => {
                        let named = token.containers.as_ref().is_none_or(|names| names.contains(&port.container));
                        token.project == id
                            && token.path_prefix.is_none()
                            && named
                            && token.allows(Verb::StatusRead).is_ok()
                    }
                }
        };
        port.filter(admits).ok_or_else(nowhere)
    }

    /// Who has a session with this host.
    fn of_session(&self, control: &Control, headers: &HeaderMap, label: &str) -> Option<(Identity, ProjectId)> {
        let mut sessions = cookies(headers).filter_map(|(name, value)| (name == self.cookie_name()).then_some(value));
        let (who, project) = sessions.find_map(|text| self.sessions.open(Kind::Session, text, label))?;
        Some((Identity::Caller(caller_of(control, &who)?), project))
    }

    /// A cookie comes along whatever page makes a browser ask, so the page must be the
    /// port's own, or one of those that may read its answers.
    fn of_own_page(&self, headers: &HeaderMap, host: &str) -> Result<(), Fault> {
        let mut origins = headers.get_all(header::ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
        let Some(origin) = origins.next() else { return Ok(()) };
        let own_site = headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"same-origin");
        let with_port = |own: &str| {
            let port = origin.strip_prefix(own).and_then(|rest| rest.strip_prefix(':'));
            port.is_some_and(|port| port.parse::<u16>().is_ok())
        };
        let own = self.base(host);
        let known = origin == own || with_port(&own) || self.settings.origins.iter().any(|one| one == origin);
        if origins.next().is_none() && (known || own_site) {
            return Ok(());
        }
        let shown: String = origin.chars().take(120).collect();
        Err(Fault::new(Reason::OriginNotAllowed, format!("a page of {shown:?} may not call this port as its visitor"))
            .hint("start the server with --route-cors-origin for the pages that may"))
    }

    /// A session begins. Where the controller passes redirects on, the link is gone from
    /// the address with it; ingress-nginx only hears yes or no.
    fn begun(&self, headers: &HeaderMap, asked: &Forwarded, identity: &Identity, who: &Who, port: &Port) -> Verdict {
        let expires_ms = who.until().min(now_ms() + PORT_SESSION_SECONDS * 1_000);
        let text = self.sessions.sign(Kind::Session, who, port.project.id, &port.label, expires_ms);
        let seconds = expires_ms.saturating_sub(now_ms()) / 1_000;
        let site = match (self.settings.secure, self.settings.embedded) {
            (true, true) => "; Secure; SameSite=None; Partitioned",
            (true, false) => "; Secure; SameSite=Lax",
            (false, _) => "; SameSite=Lax",
        };
        let cookie = format!("{}={text}; Path=/; Max-Age={seconds}; HttpOnly{site}", self.cookie_name());
        match self.settings.controller {
            Controller::Traefik => {
                let to = format!("{}{}", self.base(&asked.authority()), asked.without(LINK));
                Verdict::Redirect { to, cookie: Some(cookie) }
            }
            Controller::Nginx => match self.passed(headers, Some(identity), port) {
                Verdict::Pass(pass) => Verdict::Pass(Pass { set_cookie: Some(cookie), ..pass }),
                other => other,
            },
        }
    }

    fn passed(&self, headers: &HeaderMap, identity: Option<&Identity>, port: &Port) -> Verdict {
        let phase = port.project.status.phase;
        // ingress-nginx says by itself that nothing is there; of other answers than yes and no it makes an error.
        if !may_serve(phase) && self.settings.controller == Controller::Traefik {
            let fault = Fault::new(Reason::ProjectNotReady, format!("project {} is {phase}", port.project.name));
            return Verdict::Asleep(fault.hint("wake or start it, and try again").retry_after(ASLEEP_RETRY));
        }
        let others: Vec<String> = cookies(headers)
            .filter(|(name, _)| *name != SECURE_COOKIE && *name != PLAIN_COOKIE)
            .map(|(name, value)| if value.is_empty() { name.to_owned() } else { format!("{name}={value}") })
            .collect();
        Verdict::Pass(Pass {
            user: identity.map(|identity| identity.name().to_owned()),
            project: identity.map(|_| port.project.name.clone()),
            authorization: foreign(headers),
            cookie: HeaderValue::try_from(others.join("; ")).ok().filter(|value| !value.is_empty()),
            set_cookie: None,
        })
    }

    /// Where a person is sent who opens a port in a browser and is not known yet.
    fn login(&self, headers: &HeaderMap, asked: &Forwarded) -> Option<String> {
        let login = self.settings.login_url.as_deref()?;
        let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let person = asked.method == Method::GET
            && accepts.contains("text/html")
            && !headers.contains_key(header::SEC_WEBSOCKET_KEY);
        // ingress-nginx does it by an annotation.
        if !person || self.settings.controller == Controller::Nginx || self.label(&asked.host).is_none() {
            return None;
        }
        let back = format!("{}{}", self.base(&asked.authority()), asked.without(LINK));
        let separator = if login.contains('?') { '&' } else { '?' };
        Some(format!("{login}{separator}rd={}", encoded(&back)))
    }
}

/// The exposed port that is meant.
fn the_port<'a>(
    project: &'a Project,
    container: &str,
    port: &str,
) -> Result<(&'a Container, &'a project::Port), Fault> {
    let is = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
    let mut meant = exposed(project).filter(|(of, one)| is(container, of.name.as_str()) && is(port, &one.name));
    let (found, others) = (meant.next(), meant.next().is_some());
    let there: Vec<String> = exposed(project).map(|(of, one)| format!("{}/{}", of.name, one.name)).collect();
    match found {
        Some(found) if !others => Ok(found),
        Some(_) => Err(Fault::invalid("port", "may be several").hint(format!("name one of {}", there.join(", ")))),
        None if there.is_empty() => Err(Fault::new(Reason::NotFound, "the project exposes no port")
            .hint("give a port of its spec an exposure: Private, Authenticated or Public")),
        None => Err(Fault::new(Reason::NotFound, "the project has no such port that is exposed")
            .hint(format!("there are {}", there.join(", ")))),
    }
}

/// What nobody can tell from what does not exist.
fn nowhere() -> Fault {
    Fault::new(Reason::NotFound, "there is no port here that the caller may reach")
        .hint("the project's status has the addresses of its ports; ask its owner for access")
}

/// A question that is none: whoever is unknown hears that first, as everywhere.
async fn refuse_unread(control: &Control, headers: &HeaderMap, problem: Fault) -> Verdict {
    match control.identity(headers).await {
        Ok(_) => Verdict::Forbidden(problem),
        Err(fault) => Verdict::Unknown(fault),
    }
}

/// Who a session is with, where that still stands.
fn caller_of(control: &Control, who: &Who) -> Option<Caller> {
    match who {
        Who::Key { id } => control.keys.of(id),
        Who::ServiceAccount { name, until } => {
            (now_ms() / 1_000 < *until).then(|| Caller::viewing_service_account(name.clone(), *until))
        }
    }
}

/// Whether something of a project may answer in that phase.
fn may_serve(phase: Phase) -> bool {
    match phase {
        Phase::Starting
        | Phase::Ready
        | Phase::Idle
        | Phase::Quiescing
        | Phase::Snapshotting
        | Phase::Committed
        | Phase::Degraded => true,
        Phase::Pending
        | Phase::Scheduling
        | Phase::Hydrating
        | Phase::Terminating
        | Phase::Hibernated
        | Phase::Stopped
        | Phase::Deleting => false,
    }
}

/// Every cookie of a request, as it came.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a value of `authorization` is what this server takes.
fn is_ours(value: &HeaderValue) -> bool {
    let mut alone = HeaderMap::new();
    alone.insert(AUTHORIZATION, value.clone());
    match credentials(&alone) {
        Ok(Credentials::Key(_) | Credentials::Access(_)) => true,
        Ok(Credentials::Token(token)) => ServiceAccounts::is_for_us(token),
        Err(_) => false,
    }
}

fn own_authorization(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(is_ours)
}

/// The authorization that a program behind a port may see: one that opens nothing here.
fn foreign(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut foreign = headers.get_all(AUTHORIZATION).iter().filter(|value| !is_ours(value));
    let first = foreign.next()?;
    foreign.next().is_none().then(|| first.clone())
}

/// Percent-encoding of all but the unreserved characters (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
