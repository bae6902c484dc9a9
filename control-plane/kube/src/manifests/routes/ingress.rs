//! The Ingress of a port.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::{Context, Controller, DECIDED_HEADERS, Routing, TLS_SECRET, Tls, Way, middlewares, of_port};
use crate::manifests::routing;

/// What the annotations of ingress-nginx begin with.
const NGINX: &str = "nginx.ingress.kubernetes.io";
/// What those of Traefik's Ingress provider begin with.
const TRAEFIK: &str = "traefik.ingress.kubernetes.io";
/// Who issues the certificate (cert-manager).
const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";

pub(super) fn ingress(context: &Context<'_>, routing: &Routing, way: &Way<'_>) -> Ingress {
    let class = match &routing.way {
        routing::Way::Ingress { class } => class.clone(),
        routing::Way::Gateway { .. } => None,
    };
    let mut metadata = of_port(context, way);
    metadata.annotations = Some(annotations(context, routing, way));
    let host = routing.host(&way.label);
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: context.name(way.container.name.as_str()),
            port: Some(ServiceBackendPort { number: Some(way.port.port.into()), name: None }),
        }),
        resource: None,
    };
    let path = HTTPIngressPath { path: Some("/".to_owned()), path_type: "Prefix".to_owned(), backend };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: class,
            tls: tls(context, routing, way, &host).map(|tls| vec![tls]),
            rules: Some(vec![IngressRule { host: Some(host), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }]),
            default_backend: None,
        }),
        status: None,
    }
}

fn tls(context: &Context<'_>, routing: &Routing, way: &Way<'_>, host: &str) -> Option<IngressTLS> {
    let secret_name = match &routing.tls {
        Tls::Off => return None,
        // Without a name the controller takes its own.
        Tls::Controller => None,
        Tls::Issuer(_) => Some(context.name(&format!("{}-tls", way.label))),
        Tls::Secret(_) => Some(context.name(TLS_SECRET)),
    };
    Some(IngressTLS { hosts: Some(vec![host.to_owned()]), secret_name })
}

fn annotations(context: &Context<'_>, routing: &Routing, way: &Way<'_>) -> BTreeMap<String, String> {
    let mut annotations = match routing.controller {
        Controller::Nginx => nginx(routing, way),
        Controller::Traefik => traefik(context, routing, way),
    };
    if let Tls::Issuer(issuer) = &routing.tls {
        annotations.insert(CLUSTER_ISSUER.to_owned(), issuer.clone());
    }
    annotations
}

fn nginx(routing: &Routing, way: &Way<'_>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(annotations.insert(format!("{NGINX}/{name}"), value));
    set("proxy-read-timeout", routing.timeout_seconds.to_string());
    set("proxy-send-timeout", routing.timeout_seconds.to_string());
    set("proxy-body-size", routing.max_body_bytes.unwrap_or(0).to_string());
    set("ssl-redirect", (routing.tls != Tls::Off).to_string());
    if !way.public {
        set("auth-url", routing.auth_url.clone());
        set("auth-response-headers", DECIDED_HEADERS.join(","));
        if let Some(url) = &routing.login_url {
            set("auth-signin", url.clone());
        }
    }
    if let Some(rate) = routing.rate {
        set("limit-rps", rate.per_second.to_string());
        set("limit-burst-multiplier", (rate.burst / rate.per_second).max(1).to_string());
    }
    if !routing.cors_origins.is_empty() {
        set("enable-cors", true.to_string());
        set("cors-allow-origin", routing.cors_origins.join(","));
        set("cors-allow-credentials", true.to_string());
    }
    annotations
}

fn traefik(context: &Context<'_>, routing: &Routing, way: &Way<'_>) -> BTreeMap<String, String> {
    let named = |name: &&str| format!("{}-{}@kubernetescrd", context.namespace(), context.name(name));
    let chain: Vec<String> = middlewares::chain(routing, way.public).iter().map(named).collect();
    let mut annotations = BTreeMap::new();
    annotations.insert(format!("{TRAEFIK}/router.middlewares"), chain.join(","));
    if routing.tls != Tls::Off {
        annotations.insert(format!("{TRAEFIK}/router.tls"), true.to_string());
    }
    annotations
}
