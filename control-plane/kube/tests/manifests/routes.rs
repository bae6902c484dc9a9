//! The ways in from outside, as files and as what they must hold to.

use std::collections::BTreeSet;

use kube::{ResourceExt as _, core::DynamicObject};
use remora_control_plane_kube::manifests::{self, Controller, Gate, Rate, Routing, Tls, Way};
use remora_proto_model::project::Exposure;
use serde_json::Value;

use crate::{
    is_as_looked_at,
    project::{self, Made, routing},
};

/// Everything that the settings can say.
fn full(controller: Controller, tls: Tls) -> Routing {
    Routing {
        way: Way::Ingress { class: Some("edge".to_owned()) },
        controller,
        tls,
        login_url: Some("https://app.example.com/login".to_owned()),
        cors_origins: vec!["https://app.example.com".to_owned(), "http://localhost:3000".to_owned()],
        frame_ancestors: match controller {
            Controller::Traefik => vec!["https://app.example.com".to_owned()],
            Controller::Nginx => Vec::new(),
        },
        rate: Some(Rate { per_second: 100, burst: 250 }),
        max_body_bytes: Some(64 << 20),
        from: Gate {
            namespace: "ingress".to_owned(),
            pod_labels: [("app.kubernetes.io/name".to_owned(), "controller".to_owned())].into(),
        },
        ..routing()
    }
}

fn gateway() -> Routing {
    let way =
        Way::Gateway { namespace: "edge".to_owned(), name: "public".to_owned(), listener: Some("https".to_owned()) };
    Routing { way, ..routing() }
}

/// The shop: its frontend for whoever may see it, its API for everybody, and one port of
/// it whose name needs a hash.
fn shop(layout: &str, routing: Option<Routing>) -> Made {
    let mut made = project::shop(layout);
    let containers = &mut made.project.spec.containers;
    containers[0].ports[0].expose = Some(Exposure::Private);
    containers[1].ports[0].expose = Some(Exposure::Public);
    let debug = serde_json::from_value(serde_json::json!({"name": "a--b", "port": 9229, "expose": "Authenticated"}));
    containers[1].ports.push(debug.unwrap());
    made.settings.routing = routing;
    made
}

fn objects(made: &Made) -> Vec<DynamicObject> {
    manifests::routes(&made.context())
}

fn kind(object: &DynamicObject) -> &str {
    &object.types.as_ref().unwrap().kind
}

fn of_kind(made: &Made, wanted: &str) -> Vec<DynamicObject> {
    objects(made).into_iter().filter(|object| kind(object) == wanted).collect()
}

#[test]
fn routes_are_as_they_were_looked_at() {
    let traefik = full(Controller::Traefik, Tls::Issuer("letsencrypt".to_owned()));
    let nginx = full(Controller::Nginx, Tls::Secret("ports-tls".to_owned()));
    for (name, made) in [
        ("routes-traefik", shop("SinglePod", Some(traefik))),
        ("routes-nginx", shop("PodPerContainer", Some(nginx))),
        ("routes-gateway", shop("SinglePod", Some(gateway()))),
    ] {
        let text: String = objects(&made)
            .iter()
            .map(|object| {
                format!("---\n{}", serde_norway::to_string(&serde_norway::to_value(object).unwrap()).unwrap())
            })
            .collect();
        is_as_looked_at(name, &text);
    }
}

/// In a namespace that others share, routes have names of their own as well, and mean
/// objects of their project alone.
#[test]
fn those_of_a_project_that_shares_a_namespace_are_its_own() {
    let issuer = full(Controller::Traefik, Tls::Issuer("letsencrypt".to_owned()));
    let secret = full(Controller::Nginx, Tls::Secret("ports-tls".to_owned()));
    for routing in [issuer, secret, gateway()] {
        let made = project::shared(shop("PodPerContainer", Some(routing)));
        let objects = objects(&made);
        assert!(objects.len() > 4);
        for object in &objects {
            assert_eq!(object.namespace().as_deref(), Some(project::SHARED));
            assert!(object.name_any().ends_with(project::SUFFIX), "{}", object.name_any());
            let value = serde_json::to_value(object).unwrap();
            let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let mut means = Vec::new();
            for rule in list(&value["spec"]["rules"]) {
                means
                    .extend(list(&rule["http"]["paths"]).iter().map(|path| path["backend"]["service"]["name"].clone()));
                means.extend(list(&rule["backendRefs"]).iter().map(|one| one["name"].clone()));
                means.extend(list(&rule["filters"]).iter().map(|filter| filter["extensionRef"]["name"].clone()));
            }
            means.extend(list(&value["spec"]["tls"]).iter().map(|tls| tls["secretName"].clone()));
            let chain = &value["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.middlewares"];
            for named in chain.as_str().into_iter().flat_map(|chain| chain.split(',')) {
                let name = named.strip_prefix("proj-shared-").and_then(|name| name.strip_suffix("@kubernetescrd"));
                means.push(name.unwrap_or_else(|| panic!("{named}")).into());
            }
            for name in &means {
                assert!(name.as_str().is_some_and(|name| name.ends_with(project::SUFFIX)), "{name} {value:#}");
            }
            assert_eq!(means.is_empty(), !["Ingress", "HTTPRoute"].contains(&kind(object)), "{value:#}");
            let selector = &value["spec"]["podSelector"]["matchLabels"]["remora.dev/project-id"];
            assert_eq!(selector.as_str(), (kind(object) == "NetworkPolicy").then_some(project::ID));
        }
    }
}

#[test]
fn nothing_is_made_where_nothing_is_exposed_or_no_way_is_set() {
    assert!(objects(&shop("SinglePod", None)).is_empty());
    let mut unexposed = project::shop("SinglePod");
    unexposed.settings.routing = Some(routing());
    assert!(objects(&unexposed).is_empty());
    assert_eq!(manifests::tls_secret_name(&unexposed.context()), None);
}

/// Each kind that is made is one that is looked for when something is to be removed, and
/// what guards a route is made before what leads to it.
#[test]
fn what_is_made_is_found_again() {
    for routing in [routing(), full(Controller::Nginx, Tls::Controller), gateway()] {
        let kinds = manifests::route_kinds(&routing);
        let made = shop("PodPerContainer", Some(routing));
        let at = |object: &DynamicObject| {
            let types = object.types.as_ref().unwrap();
            let found = kinds.iter().position(|kind| kind.kind == types.kind && kind.api_version == types.api_version);
            found.unwrap_or_else(|| panic!("{types:?} is not looked for"))
        };
        let order: Vec<usize> = objects(&made).iter().map(at).collect();
        assert!(order.is_sorted(), "{order:?}");
        for object in objects(&made) {
            let labels = object.labels();
            assert_eq!(labels["remora.dev/project-id"], project::ID);
            assert_eq!(labels["app.kubernetes.io/component"], "routes");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "remora");
            assert_eq!(object.annotations()["remora.dev/route"].len(), 64);
        }
        let names: BTreeSet<_> = objects(&made).iter().map(|one| (kind(one).to_owned(), one.name_any())).collect();
        assert_eq!(names.len(), order.len(), "two objects have one name");
    }
}

/// a095: annotations hold names that were parsed and what the settings say.
#[test]
fn a095_no_text_of_people_is_in_an_annotation() {
    let hostile = "x\"; return 200; #${IFS}\u{1F6D2}";
    for routing in [full(Controller::Traefik, Tls::Controller), full(Controller::Nginx, Tls::Controller), gateway()] {
        let calm = shop("SinglePod", Some(routing.clone()));
        let mut loud = shop("SinglePod", Some(routing));
        loud.project.spec.display_name = hostile.to_owned();
        for container in &mut loud.project.spec.containers {
            container.env.insert("A".to_owned(), hostile.to_owned());
            container.args = vec![hostile.to_owned()];
        }
        assert_eq!(objects(&calm), objects(&loud), "what people write changes a route");
        for object in objects(&loud) {
            for (name, value) in object.annotations() {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@,".contains(c);
                assert!(value.chars().all(plain), "{name}: {value}");
            }
        }
    }
}

/// Of each way: a port that is not for everybody has the question in front of it.
#[test]
fn strangers_are_asked_about_unless_a_port_is_public() {
    let annotation = |object: &DynamicObject, name: &str| object.annotations().get(name).cloned();
    let is_public = |object: &DynamicObject| object.name_any() == "shop--api--http";

    let nginx = shop("SinglePod", Some(full(Controller::Nginx, Tls::Controller)));
    let ingresses = of_kind(&nginx, "Ingress");
    assert_eq!(ingresses.len(), 3);
    for ingress in &ingresses {
        let asked = annotation(ingress, "nginx.ingress.kubernetes.io/auth-url");
        assert_eq!(asked.is_none(), is_public(ingress), "{}", ingress.name_any());
        let decided = annotation(ingress, "nginx.ingress.kubernetes.io/auth-response-headers");
        let wanted = (!is_public(ingress)).then(|| "X-Remora-User,X-Remora-Project,Authorization,Cookie".to_owned());
        assert_eq!(decided, wanted);
        assert_eq!(annotation(ingress, "nginx.ingress.kubernetes.io/proxy-read-timeout").as_deref(), Some("3600"));
    }

    let traefik = shop("SinglePod", Some(routing()));
    for ingress in of_kind(&traefik, "Ingress") {
        let chain = annotation(&ingress, "traefik.ingress.kubernetes.io/router.middlewares").unwrap();
        let last = if is_public(&ingress) { "routes-stranger" } else { "routes-auth" };
        assert_eq!(chain, format!("proj-{}-{last}@kubernetescrd", project::ID));
    }
    for route in of_kind(&shop("SinglePod", Some(gateway())), "HTTPRoute") {
        let filters = &route.data["spec"]["rules"][0]["filters"];
        let last = if is_public(&route) { "routes-stranger" } else { "routes-auth" };
        assert_eq!(filters[0]["extensionRef"]["name"], last, "{filters}");
        assert_eq!(filters.as_array().map(Vec::len), Some(1));
    }
    let auth = of_kind(&traefik, "Middleware").into_iter().find(|one| one.name_any() == "routes-auth").unwrap();
    assert_eq!(auth.data["spec"]["forwardAuth"]["trustForwardHeader"], Value::Bool(false));
}

/// The controller's pods reach the ports that are exposed, of the pods that have them.
#[test]
fn the_policy_opens_exposed_ports_alone() {
    let rules = |made: &Made| -> Vec<(String, Value, Value)> {
        let policies = of_kind(made, "NetworkPolicy").into_iter();
        policies
            .map(|policy| {
                let spec = &policy.data["spec"];
                assert_eq!(spec["policyTypes"], serde_json::json!(["Ingress"]));
                assert_eq!(spec["ingress"].as_array().map(Vec::len), Some(1));
                (policy.name_any(), spec["podSelector"]["matchLabels"].clone(), spec["ingress"][0].clone())
            })
            .collect()
    };
    let number = |rule: &Value| {
        assert_eq!(rule["ports"].as_array().map(Vec::len), Some(1), "{rule}");
        rule["ports"][0]["port"].as_u64().unwrap()
    };
    let one = rules(&shop("SinglePod", Some(full(Controller::Traefik, Tls::Controller))));
    let seen: Vec<_> =
        one.iter().map(|(_, pods, rule)| (pods["app.kubernetes.io/component"].clone(), number(rule))).collect();
    assert_eq!(seen, [5173, 8080, 9229].map(|number| (Value::from("dev"), number)));
    let from = &one[0].2["from"];
    assert_eq!(from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "ingress");
    assert_eq!(from[0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "controller");

    let two = rules(&shop("PodPerContainer", Some(routing())));
    let seen: Vec<_> =
        two.iter().map(|(_, pods, rule)| (pods["remora.dev/container"].as_str().unwrap(), number(rule))).collect();
    assert_eq!(seen, [("web", 5173), ("api", 8080), ("api", 9229)]);
    assert!(two[0].2["from"][0]["podSelector"].is_null(), "every pod of the namespace");
    // Each is that of one route, and has its name.
    assert_eq!(two[0].0, "shop--web--http");
}

#[test]
fn whom_a_port_lets_in_is_no_part_of_a_pod() {
    let (made, plain) = (shop("PodPerContainer", Some(routing())), {
        let mut plain = shop("PodPerContainer", None);
        plain
            .project
            .spec
            .containers
            .iter_mut()
            .for_each(|one| one.ports.iter_mut().for_each(|port| port.expose = None));
        plain
    });
    assert_eq!(manifests::deployments(&made.context()), manifests::deployments(&plain.context()));
    assert_eq!(manifests::made(&made.project.spec), manifests::made(&plain.project.spec));
}

#[test]
fn a_certificate_is_copied_without_what_else_its_secret_holds() {
    let made = shop("SinglePod", Some(full(Controller::Traefik, Tls::Secret("ports-tls".to_owned()))));
    assert_eq!(manifests::tls_secret_name(&made.context()), Some("ports-tls"));
    let secret = |keys: &[&str]| {
        let data: serde_json::Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), "YQ==".into())).collect();
        serde_json::from_value(serde_json::json!({"data": data})).unwrap()
    };
    let copy = manifests::tls_secret(&made.context(), &secret(&["tls.crt", "tls.key", "ca.key"])).unwrap();
    assert_eq!(copy.data["data"], serde_json::json!({"tls.crt": "YQ==", "tls.key": "YQ=="}));
    assert_eq!((copy.name_any().as_str(), &copy.data["type"]), ("routes-tls", &"kubernetes.io/tls".into()));
    assert_eq!(manifests::tls_secret(&made.context(), &secret(&["tls.crt"])), None);
    for ingress in of_kind(&made, "Ingress") {
        assert_eq!(ingress.data["spec"]["tls"][0]["secretName"], "routes-tls");
    }
}

#[test]
fn addresses_are_the_same_in_every_way() {
    let made = shop("SinglePod", None);
    let container = &made.project.spec.containers[0];
    let of = |routing: &Routing| manifests::address(Some(routing), &made.project, container, &container.ports[0]);
    for routing in [routing(), gateway(), full(Controller::Nginx, Tls::Issuer("x".to_owned()))] {
        assert_eq!(of(&routing).as_deref(), Some("https://shop--web--http.ports.example.com"));
    }
    assert_eq!(
        of(&Routing { tls: Tls::Off, ..routing() }).as_deref(),
        Some("http://shop--web--http.ports.example.com")
    );
    assert_eq!(manifests::address(None, &made.project, container, &container.ports[0]), None);
}
