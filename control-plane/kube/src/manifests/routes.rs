//! The ways in from outside: for each exposed port an Ingress or an HTTPRoute with a
//! host of its own, what the controller needs beside it, and the policy that lets the
//! controller's pods in.
//!
//! Nothing that people write is in an annotation: those hold names that were parsed, and
//! what the settings say. A port that is not public has the question to `/auth/verify`
//! in front of it, and its answer replaces the headers that say who calls.

mod gateway;
mod ingress;
mod middlewares;

use k8s_openapi::{
    ByteString,
    api::{core::v1::Secret, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use remora_control_plane_project::{exposed, host_label};
use remora_proto_model::project::{Container, Exposure, Layout, Port};
use serde::Serialize;
use serde_json::Value;

use super::{
    Context,
    labels::{labelled, metadata, selecting, selector, selector_of},
    network,
    routing::{Controller, Routing, Tls},
};

/// The component of all that a route is made of.
pub const ROUTES: &str = "routes";
/// Annotation: a hash of what the object should be.
pub const ROUTE: &str = "remora.dev/route";
/// The copy of the certificate that the settings name.
pub(super) const TLS_SECRET: &str = "routes-tls";

/// Headers of a request that `/auth/verify` decides: who calls, and the client's own
/// without what is meant for the control plane alone.
pub const DECIDED_HEADERS: [&str; 4] = ["X-Remora-User", "X-Remora-Project", "Authorization", "Cookie"];

/// A port that is reached from outside.
struct Way<'a> {
    container: &'a Container,
    port: &'a Port,
    /// The label of its host, and the name of its objects.
    label: String,
    public: bool,
}

fn ways<'a>(context: &Context<'a>) -> Vec<Way<'a>> {
    let project = context.project;
    let way = |(container, port): (&'a Container, &'a Port)| Way {
        container,
        port,
        label: host_label(project.id, &project.name, &container.name, &port.name),
        public: port.expose == Some(Exposure::Public),
    };
    exposed(project).map(way).collect()
}

/// Everything that the routes of a project are, in the order in which it is made: none
/// of it is reached before what keeps strangers out is there.
pub fn routes(context: &Context<'_>) -> Vec<DynamicObject> {
    let Some(routing) = &context.settings.routing else { return Vec::new() };
    let ways = ways(context);
    if ways.is_empty() {
        return Vec::new();
    }
    let mut objects: Vec<DynamicObject> =
        ways.iter().filter_map(|way| dynamic(&policy(context, routing, way))).collect();
    if routing.controller == Controller::Traefik {
        objects.extend(middlewares::all(context, routing, &ways));
    }
    for way in &ways {
        objects.extend(if routing.is_gateway() {
            gateway::route(context, routing, way)
        } else {
            dynamic(&ingress::ingress(context, routing, way))
        });
    }
    objects.iter_mut().for_each(marked);
    objects
}

/// The kinds of those objects, in the same order. Whatever of them a project has and
/// should not have is removed.
pub fn route_kinds(routing: &Routing) -> Vec<ApiResource> {
    let kind = |group: &str, version: &str, kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    };
    let mut kinds = vec![kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")];
    if routing.controller == Controller::Traefik {
        kinds.push(kind("traefik.io", "v1alpha1", "Middleware", "middlewares"));
    }
    if routing.is_gateway() {
        kinds.push(kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"));
        return kinds;
    }
    kinds.push(kind("", "v1", "Secret", "secrets"));
    kinds.push(kind("networking.k8s.io", "v1", "Ingress", "ingresses"));
    kinds
}

/// The copy of a certificate for the Ingresses of a project, which can name Secrets of
/// their own namespace alone. What else is in the Secret stays where it is.
pub fn tls_secret(context: &Context<'_>, given: &Secret) -> Option<DynamicObject> {
    let part = |name: &str| Some((name.to_owned(), ByteString(given.data.as_ref()?.get(name)?.0.clone())));
    let data = [part("tls.crt")?, part("tls.key")?].into();
    let mut copy = dynamic(&Secret {
        metadata: metadata(context, TLS_SECRET, ROUTES),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    })?;
    marked(&mut copy);
    Some(copy)
}

/// The name of the Secret that [`tls_secret`] copies, where a route of the project needs it.
pub fn tls_secret_name<'a>(context: &Context<'a>) -> Option<&'a str> {
    let routing = context.settings.routing.as_ref()?;
    match &routing.tls {
        Tls::Secret(name) if !routing.is_gateway() && exposed(context.project).next().is_some() => Some(name),
        _ => None,
    }
}

/// Where a port is reached from outside; none where it is not.
pub fn address(
    routing: Option<&Routing>,
    project: &remora_proto_model::project::Project,
    container: &Container,
    port: &Port,
) -> Option<String> {
    port.expose?;
    Some(routing?.url(&host_label(project.id, &project.name, &container.name, &port.name)))
}

/// Lets the controller in to a port that is exposed, and to no other. Each has its own policy, which is there before
/// its route and goes after it (pods/routes/objects.rs): what is added and removed is whole.
fn policy(context: &Context<'_>, routing: &Routing, way: &Way<'_>) -> NetworkPolicy {
    let pods = match context.project.spec.layout {
        Layout::SinglePod => selector(context),
        Layout::PodPerContainer => selector_of(context, &way.container.name),
    };
    network::from_gate(of_port(context, way), selecting(pods), &routing.from, way.port.port)
}

/// The metadata of what is for one port.
fn of_port(context: &Context<'_>, way: &Way<'_>) -> ObjectMeta {
    labelled(context, &way.label, ROUTES, &way.container.name)
}

/// An object of whatever kind.
fn dynamic<T: k8s_openapi::Resource + Serialize>(object: &T) -> Option<DynamicObject> {
    object_of(T::API_VERSION, T::KIND, serde_json::to_value(object).ok()?)
}

fn object_of(version: &str, kind: &str, mut value: Value) -> Option<DynamicObject> {
    let members = value.as_object_mut()?;
    members.insert("apiVersion".to_owned(), version.into());
    members.insert("kind".to_owned(), kind.into());
    serde_json::from_value(value).ok()
}

fn marked(object: &mut DynamicObject) {
    let text = serde_json::to_string(object).unwrap_or_default();
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    object.metadata.annotations.get_or_insert_default().insert(ROUTE.to_owned(), hash);
}
