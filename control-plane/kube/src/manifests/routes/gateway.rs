//! The HTTPRoute of a port. Its filters are Traefik's: the standard channel of the
//! Gateway API has none that asks whether a request may pass.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{Context, Routing, Way, middlewares, object_of, of_port};
use crate::manifests::routing;

const GROUP: &str = "gateway.networking.k8s.io";

pub(super) fn route(context: &Context<'_>, routing: &Routing, way: &Way<'_>) -> Option<DynamicObject> {
    let routing::Way::Gateway { namespace, name, listener } = &routing.way else { return None };
    let mut parent = json!({ "group": GROUP, "kind": "Gateway", "namespace": namespace, "name": name });
    if let Some(listener) = listener {
        parent["sectionName"] = json!(listener);
    }
    let filter = |name: &&str| json!({ "type": "ExtensionRef", "extensionRef": { "group": middlewares::GROUP, "kind": middlewares::KIND, "name": context.name(name) } });
    let filters: Vec<Value> = middlewares::chain(routing, way.public).iter().map(filter).collect();
    let rule = json!({
        "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
        "filters": filters,
        "backendRefs": [{ "group": "", "kind": "Service", "name": context.name(way.container.name.as_str()), "port": way.port.port, "weight": 1 }],
        "timeouts": { "request": format!("{}s", routing.timeout_seconds) },
    });
    let spec = json!({ "parentRefs": [parent], "hostnames": [routing.host(&way.label)], "rules": [rule] });
    object_of(&format!("{GROUP}/v1"), "HTTPRoute", json!({ "metadata": of_port(context, way), "spec": spec }))
}
