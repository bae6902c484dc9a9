//! How ports are reached from outside: what the settings of the control plane say.

use std::collections::BTreeMap;

/// What the routes of all projects have in common. Every text in it was parsed.
#[derive(Clone, Debug)]
pub struct Routing {
    /// What a route is.
    pub way: Way,
    /// Whose annotations and objects it has.
    pub controller: Controller,
    /// The domain below which each port has a label.
    pub domain: String,
    /// Where certificates come from.
    pub tls: Tls,
    /// Where the controller asks whether a request may pass.
    pub auth_url: String,
    /// Where people are sent who have to sign in.
    pub login_url: Option<String>,
    /// Origins of pages that may read answers.
    pub cors_origins: Vec<String>,
    /// Origins of pages that may embed a port's pages; none says nothing of it.
    pub frame_ancestors: Vec<String>,
    /// How many requests an address may make.
    pub rate: Option<Rate>,
    /// Most bytes of a request's body.
    pub max_body_bytes: Option<u64>,
    /// Seconds of silence after which a connection is cut, a WebSocket's too.
    pub timeout_seconds: u32,
    /// The controller's pods, which the projects' network policies let in.
    pub from: Gate,
}

/// What a route is.
#[derive(Clone, Debug)]
pub enum Way {
    /// An Ingress, of a class or of the default one.
    Ingress {
        /// The IngressClass.
        class: Option<String>,
    },
    /// An HTTPRoute of a Gateway.
    Gateway {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// One of its listeners; none is all that take the route.
        listener: Option<String>,
    },
}

/// What routes the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// ingress-nginx.
    Nginx,
    /// Traefik, with its Middleware objects.
    Traefik,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nowhere: plain HTTP.
    Off,
    /// The controller has one for the whole domain; with a Gateway, its listener.
    Controller,
    /// cert-manager, by a ClusterIssuer.
    Issuer(String),
    /// A Secret of the control plane's namespace, which is copied to where it is used.
    Secret(String),
}

/// How many requests an address may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second, over time.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Pods by their namespace and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The namespace.
    pub namespace: String,
    /// The labels; none is every pod of it.
    pub pod_labels: BTreeMap<String, String>,
}

impl Routing {
    /// The host of a label.
    pub fn host(&self, label: &str) -> String {
        format!("{label}.{}", self.domain)
    }

    /// The address of a label, as browsers have it.
    pub fn url(&self, label: &str) -> String {
        let scheme = if self.tls == Tls::Off { "http" } else { "https" };
        format!("{scheme}://{}", self.host(label))
    }

    pub(super) fn is_gateway(&self) -> bool {
        matches!(self.way, Way::Gateway { .. })
    }
}
