//! Traefik's Middleware objects: one of each for a project, named by its routes in the
//! order in which a request meets them.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{Context, DECIDED_HEADERS, ROUTES, Routing, Way, metadata, object_of};

pub(super) const GROUP: &str = "traefik.io";
pub(super) const KIND: &str = "Middleware";

/// Bounds what an address asks for.
const LIMIT: &str = "routes-limit";
/// Bounds a request's body.
const BODY: &str = "routes-body";
/// Answers the questions of browsers before they send a request (CORS), and says who may
/// embed a page.
const BROWSER: &str = "routes-browser";
/// Asks whether a request may pass.
const AUTH: &str = "routes-auth";
/// Takes away what a stranger says about who calls.
const STRANGER: &str = "routes-stranger";

/// How long a browser may keep what it was answered about other origins, in seconds.
const CORS_MAX_AGE_SECONDS: u32 = 600;

/// The names of those that a route has.
pub(super) fn chain(routing: &Routing, public: bool) -> Vec<&'static str> {
    let mut chain = Vec::new();
    chain.extend(routing.rate.map(|_| LIMIT));
    chain.extend(speaks_to_browsers(routing).then_some(BROWSER));
    chain.push(if public { STRANGER } else { AUTH });
    chain.extend(routing.max_body_bytes.map(|_| BODY));
    chain
}

/// Those that any route of the project has.
pub(super) fn all(context: &Context<'_>, routing: &Routing, ways: &[Way<'_>]) -> Vec<DynamicObject> {
    let wanted = |name: &str| ways.iter().any(|way| chain(routing, way.public).contains(&name));
    let names = [LIMIT, BROWSER, STRANGER, AUTH, BODY].into_iter().filter(|name| wanted(name));
    names.filter_map(|name| object(context, name, &spec(routing, name))).collect()
}

fn speaks_to_browsers(routing: &Routing) -> bool {
    !routing.cors_origins.is_empty() || !routing.frame_ancestors.is_empty()
}

fn spec(routing: &Routing, name: &str) -> Value {
    match name {
        LIMIT => {
            let rate = routing.rate.map_or((0, 0), |rate| (rate.per_second, rate.burst));
            json!({ "rateLimit": { "average": rate.0, "period": "1s", "burst": rate.1 } })
        }
        BODY => json!({ "buffering": { "maxRequestBodyBytes": routing.max_body_bytes } }),
        BROWSER => browser(routing),
        STRANGER => {
            json!({ "headers": { "customRequestHeaders": { DECIDED_HEADERS[0]: "", DECIDED_HEADERS[1]: "" } } })
        }
        _ => json!({
            "forwardAuth": {
                "address": routing.auth_url,
                // Traefik says itself which host is asked for; what a client says of that is a stranger's word.
                "trustForwardHeader": false,
                "authResponseHeaders": DECIDED_HEADERS,
            }
        }),
    }
}

fn browser(routing: &Routing) -> Value {
    let mut headers = json!({});
    if !routing.cors_origins.is_empty() {
        headers["accessControlAllowOriginList"] = json!(routing.cors_origins);
        headers["accessControlAllowCredentials"] = json!(true);
        headers["accessControlAllowMethods"] = json!(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
        headers["accessControlAllowHeaders"] = json!(["Authorization", "Content-Type", "X-Requested-With"]);
        headers["accessControlMaxAge"] = json!(CORS_MAX_AGE_SECONDS);
        headers["addVaryHeader"] = json!(true);
    }
    if !routing.frame_ancestors.is_empty() {
        headers["contentSecurityPolicy"] =
            json!(format!("frame-ancestors 'self' {}", routing.frame_ancestors.join(" ")));
        // The older word for it would forbid what this allows.
        headers["customResponseHeaders"] = json!({ "X-Frame-Options": "" });
    }
    json!({ "headers": headers })
}

fn object(context: &Context<'_>, name: &str, spec: &Value) -> Option<DynamicObject> {
    let metadata = metadata(context, name, ROUTES);
    object_of(&format!("{GROUP}/v1alpha1"), KIND, json!({ "metadata": metadata, "spec": spec }))
}
