//! Ports that are reached from outside, through the cluster's ingress controller.

use futures_util::future::join_all;
use http::StatusCode;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    cluster::{get, kubectl, pods, restarts},
    control_plane::{Away, Changed},
    harness::Case,
    ingress::Visitor,
    patience::{ANSWER_PATIENCE, eventually, seen},
    project::{Project, phase},
    rest::{self, Answer},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("routes::each_port_has_its_host_and_lets_in_whom_it_says", requests).through_ingress(),
        Case::new("routes::a_browser_follows_a_link_and_its_socket_stands", sockets).through_ingress(),
        Case::new("routes::answers_are_for_the_pages_that_the_operator_names", pages).through_ingress(),
        Case::new("routes::a_port_that_is_closed_has_no_route_any_more_and_nothing_ends", closed).through_ingress(),
        Case::new("routes::a_project_that_sleeps_says_so_and_its_hosts_are_there_after_it", asleep).through_ingress(),
        Case::new("routes::each_host_shows_the_certificate_that_the_operator_gave", certificate).through_ingress(),
        Case::new("routes::more_than_the_bound_is_refused_there_and_nowhere_else", bounded).through_ingress(),
        Case::new("routes::a_certificate_of_cert_manager_is_shown_and_goes_with_its_project", issued)
            .through_ingress()
            .on_full_profile()
            .alone(),
        Case::new("routes::nobody_passes_while_nobody_can_be_asked", unasked).through_ingress().alone(),
        Case::new("routes::a_socket_ends_with_its_controller_and_another_one_stands", restarted)
            .through_ingress()
            .alone(),
    ]
}

/// Answers each request with what it saw of it, and each frame of a WebSocket with the same one.
const MIRROR: &str = r"
import base64, hashlib, http.server, json, os

class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        key = self.headers.get('Sec-WebSocket-Key')
        if key:
            accept = hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()
            self.send_response(101)
            self.send_header('Upgrade', 'websocket')
            self.send_header('Connection', 'Upgrade')
            self.send_header('Sec-WebSocket-Accept', base64.b64encode(accept).decode())
            self.end_headers()
            self.close_connection = True
            return self.frames()
        body = json.dumps({'name': os.environ['NAME'], 'path': self.path, 'headers': self.headers.items()}).encode()
        self.send_response(200)
        self.send_header('X-Frame-Options', 'DENY')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def frames(self):
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            length, mask = head[1] & 127, self.rfile.read(4)
            text = bytes(b ^ mask[at % 4] for at, b in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([0x81, length]) + text)

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Mirror).serve_forever()
";

/// A container that mirrors what it is asked on one port.
fn mirror(target: &Target, name: &str, port: u16, expose: Option<&str>) -> Value {
    let image = json!(target.image.as_ref().expect("a case for clusters"));
    let mut http = json!({"name": "http", "port": port});
    if let Some(expose) = expose {
        http["expose"] = json!(expose);
    }
    json!({"name": name, "image": image, "command": ["python3", "-c", MIRROR], "env": {"NAME": name}, "ports": [http]})
}

async fn up(project: &Project, containers: Value) {
    up_as(project, &json!({"containers": containers})).await;
}

async fn up_as(project: &Project, spec: &Value) {
    let file = project.cli.folder().join("project.json");
    let object = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": project.name}, "spec": spec,
    });
    std::fs::write(&file, object.to_string()).expect("the folder takes files");
    project.cli.run(&["up", "-f", file.to_str().expect("the case's folders are text")]).await.ok();
}

/// The host of a container's port, by the project's status.
async fn host(project: &Project, container: &str) -> String {
    let status = project.status().await;
    let all = status["status"]["endpoints"].as_array().into_iter().flatten();
    let mut urls = all.filter(|one| one["container"] == container).filter_map(|one| one["url"].as_str());
    let host = urls.find_map(|url| url.strip_prefix("https://"));
    host.unwrap_or_else(|| panic!("{container} has no address outside: {status:#}")).to_owned()
}

/// Calls until the controller has heard of the route.
async fn called(visitor: &Visitor, host: &str, headers: &[(&str, &str)], wanted: u16) -> Answer {
    eventually(|| async {
        match timeout(ANSWER_PATIENCE, visitor.call("GET", host, "/", headers)).await {
            Ok(answer) if answer.status == wanted => Ok(answer),
            Ok(answer) => Err(format!("{host} answers {answer:?}, not {wanted}")),
            Err(_) => Err(format!("{host} does not answer")),
        }
    })
    .await
}

fn header<'a>(seen: &'a Value, name: &str) -> Option<&'a str> {
    let all = seen["headers"].as_array().into_iter().flatten();
    let mut values = all.filter(|pair| pair[0].as_str().is_some_and(|one| one.eq_ignore_ascii_case(name)));
    values.next().and_then(|pair| pair[1].as_str())
}

/// The first certificate in a Secret.
async fn certificate_in(namespace: &str, secret: &str) -> CertificateDer<'static> {
    let print = "go-template={{index .data \"tls.crt\" | base64decode}}";
    let read = ["get", "secret", secret, "--namespace", namespace, "--output", print];
    let pem = kubectl(&read, "").await.unwrap_or_else(|said| panic!("Secret {namespace}/{secret}: {said}"));
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate is PEM")
}

/// What `host` shows to a visitor, or why that does not take it.
async fn shown(visitor: &Visitor, host: &str) -> Result<CertificateDer<'static>, String> {
    visitor.certificate(host).await.map_err(|error| format!("no connection with {host}: {error}"))
}

/// Waits until `host` shows that certificate.
async fn shows(visitor: &Visitor, host: &str, wanted: &CertificateDer<'_>) {
    eventually(|| async {
        let shown = shown(visitor, host).await?;
        seen(shown == *wanted, || format!("{host} shows another certificate"))
    })
    .await;
}

fn bearer(target: &Target) -> String {
    format!("Bearer {}", target.key)
}

async fn requests(target: Target) {
    let project = Project::named(&target, "hosts");
    let containers = json!([
        mirror(&target, "web", 8080, Some("Private")),
        mirror(&target, "docs", 8081, Some("Public")),
        mirror(&target, "inner", 8082, None),
    ]);
    up(&project, containers).await;
    let visitor = Visitor::new(&target);
    let (web, docs) = (host(&project, "web").await, host(&project, "docs").await);
    assert_ne!(web, docs);
    let authorization = bearer(&target);
    let admin = [("authorization", authorization.as_str())];

    let seen = called(&visitor, &web, &admin, 200).await.json();
    assert_eq!((&seen["name"], header(&seen, "x-remora-project")), (&json!("web"), Some(project.name.as_str())));
    assert!(header(&seen, "x-remora-user").is_some_and(|user| !user.is_empty()), "{seen:#}");
    assert_eq!(header(&seen, "authorization"), None, "the key reaches the program");
    assert_eq!(called(&visitor, &web, &[], 401).await.reason(), "CREDENTIALS_MISSING");
    // What a client says of who it is, and of which host it means, is not believed.
    let lies = [("x-remora-user", "admin"), ("x-forwarded-host", docs.as_str()), ("x-original-url", "https://x/")];
    called(&visitor, &web, &lies, 401).await;
    let seen = called(&visitor, &docs, &lies[..1], 200).await.json();
    assert_eq!((&seen["name"], header(&seen, "x-remora-user")), (&json!("docs"), None), "{seen:#}");
    // What is not exposed has no host, whoever asks.
    let inner = web.replacen("--web--", "--inner--", 1);
    assert_eq!(visitor.call("GET", &inner, "/", &admin).await.status, StatusCode::NOT_FOUND);
    project.remove().await;
    eventually(|| async {
        let status = visitor.call("GET", &docs, "/", &[]).await.status;
        seen_gone(status, &docs)
    })
    .await;
}

fn seen_gone(status: StatusCode, host: &str) -> Result<(), String> {
    seen(status == StatusCode::NOT_FOUND, || format!("{host} answers {status}"))
}

async fn sockets(target: Target) {
    let project = Project::named(&target, "socket");
    up(&project, json!([mirror(&target, "web", 8080, Some("Private"))])).await;
    let visitor = Visitor::new(&target);
    let web = host(&project, "web").await;
    called(&visitor, &web, &[], 401).await;
    assert_eq!(visitor.socket(&web, &[]).await.err(), Some(401));

    let links = format!("/api/v1/projects/{}/links", project.name);
    let wanted = json!({"container": "web", "port": "http", "path": "/start?a=b"});
    let made = rest::request_as(&target.server, &target.key, "POST", &links, Some(&wanted)).await.ok(201);
    let url = made["url"].as_str().expect("a link has a URL").to_owned();
    let target_of = url.strip_prefix(&format!("https://{web}")).expect("the link is to that host");
    let followed = visitor.call("GET", &web, target_of, &[]).await;
    assert_eq!(followed.status, StatusCode::FOUND, "{followed:?}");
    assert_eq!(followed.headers["location"], format!("https://{web}/start?a=b"));
    let cookie = followed.headers["set-cookie"].to_str().expect("a cookie is text");
    let cookie = cookie.split(';').next().expect("a cookie has a value").to_owned();

    let seen = called(&visitor, &web, &[("cookie", &format!("mine=1; {cookie}"))], 200).await.json();
    assert_eq!(header(&seen, "cookie"), Some("mine=1"), "{seen:#}");
    let own = format!("https://{web}");
    let session = [("cookie", cookie.as_str()), ("origin", own.as_str())];
    let mut socket = visitor.socket(&web, &session).await.expect("it is let in");
    assert_eq!(socket.echo("one").await.as_deref(), Some("one"));
    let stranger = [session[0], ("origin", "https://evil.test")];
    assert_eq!(visitor.socket(&web, &stranger).await.err(), Some(403), "another site's page");
    // Requests go on beside it, and it goes on beside them.
    called(&visitor, &web, &session, 200).await;
    assert_eq!(socket.echo("two").await.as_deref(), Some("two"));
    project.remove().await;
}

/// The pages of one origin, which the release was installed with.
async fn pages(target: Target) {
    const APP: &str = "https://app.test";
    let project = Project::named(&target, "pages");
    up(&project, json!([mirror(&target, "web", 8080, Some("Private"))])).await;
    let visitor = Visitor::new(&target);
    let web = host(&project, "web").await;
    let authorization = bearer(&target);
    let from = |origin| [("authorization", authorization.as_str()), ("origin", origin)];
    let answer = called(&visitor, &web, &from(APP), 200).await;
    assert_eq!(answer.headers["access-control-allow-origin"], APP);
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    assert_eq!(answer.headers["content-security-policy"], format!("frame-ancestors 'self' {APP}"));
    assert!(!answer.headers.contains_key("x-frame-options"), "{answer:?}");
    let other = visitor.call("GET", &web, "/", &from("https://evil.test")).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"), "{other:?}");
    // A browser asks before it sends what is not simple, and brings nothing with it.
    let asks = [("origin", APP), ("access-control-request-method", "PUT")];
    let preflight = visitor.call("OPTIONS", &web, "/", &asks).await;
    assert!(preflight.status.is_success(), "{preflight:?}");
    assert_eq!(preflight.headers["access-control-allow-origin"], APP);
    project.remove().await;
}

async fn closed(target: Target) {
    let project = Project::named(&target, "closed");
    up(&project, json!([mirror(&target, "web", 8080, Some("Public"))])).await;
    let visitor = Visitor::new(&target);
    let (web, generation) = (host(&project, "web").await, project.generation().await);
    called(&visitor, &web, &[], 200).await;
    let namespace = project.namespace().await;
    let path = format!("/api/v1/projects/{}/containers/web", project.name);
    let change = async |port: Value| {
        let body = json!({"ports": [port]});
        let changed = rest::request_as(&target.server, &target.key, "PATCH", &path, Some(&body)).await.ok(200);
        assert_eq!(changed["takesEffect"], "InPlace");
    };
    change(json!({"name": "http", "port": 8080, "expose": "Private"})).await;
    called(&visitor, &web, &[], 401).await;
    change(json!({"name": "http", "port": 8080})).await;
    called(&visitor, &web, &[], 404).await;
    let selector = "app.kubernetes.io/component=routes";
    let left = ["ingresses,networkpolicies,middlewares,secrets", "--namespace", &namespace, "--selector", selector];
    eventually(|| async {
        let there = get(&left).await;
        seen(there["items"].as_array().is_some_and(Vec::is_empty), || format!("it is there still: {there:#}"))
    })
    .await;
    assert_eq!(project.generation().await, generation);
    // Somebody who takes a route away by hand has it back with the next change.
    change(json!({"name": "http", "port": 8080, "expose": "Public"})).await;
    called(&visitor, &web, &[], 200).await;
    kubectl(&["delete", "ingresses", "--all", "--namespace", &namespace], "").await.expect("it is removed");
    called(&visitor, &web, &[], 404).await;
    change(json!({"name": "http", "port": 8080, "expose": "Authenticated"})).await;
    called(&visitor, &web, &[], 401).await;
    project.remove().await;
}

async fn asleep(target: Target) {
    let project = Project::named(&target, "asleep");
    up(&project, json!([mirror(&target, "web", 8080, Some("Private"))])).await;
    let visitor = Visitor::new(&target);
    let web = host(&project, "web").await;
    let authorization = bearer(&target);
    let admin = [("authorization", authorization.as_str())];
    called(&visitor, &web, &admin, 200).await;
    project.verb("hibernate", &[]).await.ok();
    let answer = called(&visitor, &web, &admin, 503).await;
    assert_eq!(answer.reason(), "PROJECT_NOT_READY");
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    called(&visitor, &web, &[], 401).await;
    project.verb("wake", &[]).await.ok();
    project.becomes("the end of its sleep", phase("Ready")).await;
    assert_eq!(called(&visitor, &web, &admin, 200).await.json()["name"], "web");
    assert_eq!(host(&project, "web").await, web);
    project.remove().await;
}

/// The Secret of the release with the operator's certificate (tests/cluster/install.sh).
const GIVEN: &str = "ports";

async fn certificate(target: Target) {
    let project = Project::named(&target, "tls");
    up(&project, json!([mirror(&target, "web", 8080, Some("Private"))])).await;
    let visitor = Visitor::new(&target);
    let web = host(&project, "web").await;
    called(&visitor, &web, &[], 401).await;
    shows(&visitor, &web, &certificate_in(&target.namespace, GIVEN).await).await;
    // The project's copy has what the controller needs and nothing else.
    let copy = get(&["secret", "routes-tls", "--namespace", &project.namespace().await]).await;
    let mut names: Vec<&String> = copy["data"].as_object().expect("it holds something").keys().collect();
    names.sort();
    assert_eq!(names, ["tls.crt", "tls.key"]);
    project.remove().await;
}

/// Kinds and names of what cert-manager has for a project: all begin with its name, as its hosts do.
async fn kept_for(namespace: &str, project: &str) -> Vec<(String, String)> {
    const KINDS: &str = "secrets,certificates.cert-manager.io,certificaterequests.cert-manager.io";
    let listed = get(&[KINDS, "--namespace", namespace]).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().into_iter().flatten();
    let named = items.map(|item| (text(&item["kind"]), text(&item["metadata"]["name"])));
    named.filter(|(_, name)| name.starts_with(project)).collect()
}

/// An authority in the cluster signs for each host (tests/rig/certmanager.yaml), until the operator gives a
/// certificate for all of them again.
async fn issued(target: Target) {
    /// The ClusterIssuer, and the Secret with its authority.
    const ISSUER: &str = "ca";
    let issuer = Changed::with_issuer(&target.namespace, ISSUER).await;
    let (own, shared) = (Project::named(&target, "issued"), Project::named(&target, "shared"));
    let containers = json!([mirror(&target, "web", 8080, Some("Private"))]);
    let beside = json!({"isolation": "Shared", "containers": containers});
    tokio::join!(up(&own, containers), up_as(&shared, &beside));

    let visitor = Visitor::trusting(&target, certificate_in("cert-manager", ISSUER).await);
    let authorization = bearer(&target);
    let admin = [("authorization", authorization.as_str())];
    let places = [(&own, own.namespace().await), (&shared, shared.place().await.0)];
    for (project, namespace) in &places {
        let web = host(project, "web").await;
        let shown = eventually(|| shown(&visitor, &web)).await;
        let listed = get(&["ingresses", "--namespace", namespace]).await;
        let mut ingresses = listed["items"].as_array().into_iter().flatten();
        let ingress = ingresses.find(|one| one["spec"]["rules"][0]["host"] == web.as_str());
        let ingress = ingress.unwrap_or_else(|| panic!("no Ingress for {web}: {listed:#}"));
        assert_eq!(ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"], ISSUER);
        let secret = ingress["spec"]["tls"][0]["secretName"].as_str().expect("it names a Secret");
        assert!(certificate_in(namespace, secret).await == shown, "{web} shows another one than that of {secret}");
        let kept = kept_for(namespace, &project.name).await;
        for kind in ["Secret", "Certificate", "CertificateRequest"] {
            assert!(kept.iter().any(|(of, _)| of == kind), "no {kind}: {kept:#?}");
        }
        called(&visitor, &web, &[], 401).await;
        called(&visitor, &web, &admin, 200).await;
    }

    // The namespace that others share stays, and in it nothing that would make a Secret again.
    let ([_, (_, place)], name) = (places, shared.name.clone());
    shared.remove().await;
    let kept = kept_for(&place, &name).await;
    assert!(kept.iter().all(|(kind, _)| kind == "CertificateRequest"), "of {name} there is still {kept:?}");
    eventually(|| async {
        let kept = kept_for(&place, &name).await;
        seen(kept.is_empty(), || format!("of {name} there is still {kept:?}"))
    })
    .await;

    issuer.back().await;
    let web = host(&own, "web").await;
    shows(&Visitor::new(&target), &web, &certificate_in(&target.namespace, GIVEN).await).await;
    own.remove().await;
}

/// The bound is that of the release (tests/cluster/install.sh), for each host.
async fn bounded(target: Target) {
    /// Connections that ask at once, and how often each does at most.
    const CONNECTIONS: usize = 8;
    const REQUESTS: usize = 1_000;
    let project = Project::named(&target, "bound");
    let containers =
        json!([mirror(&target, "web", 8080, Some("Public")), mirror(&target, "docs", 8081, Some("Public"))]);
    up(&project, containers).await;
    let visitor = Visitor::new(&target);
    let (web, docs) = (host(&project, "web").await, host(&project, "docs").await);
    called(&visitor, &web, &[], 200).await;
    called(&visitor, &docs, &[], 200).await;
    let flood = (0..CONNECTIONS).map(|_| visitor.until(&web, StatusCode::TOO_MANY_REQUESTS, REQUESTS));
    let refused: Vec<Answer> = join_all(flood).await.into_iter().flatten().collect();
    assert!(!refused.is_empty(), "{} requests pass at once", CONNECTIONS * REQUESTS);
    assert!(refused.iter().all(|answer| answer.headers.contains_key("retry-after")), "{refused:?}");
    let elsewhere = visitor.call("GET", &docs, "/", &[]).await;
    assert_eq!(elsewhere.status, StatusCode::OK, "another host pays for it: {elsewhere:?}");
    called(&visitor, &web, &[], 200).await;
    project.remove().await;
}

/// The server is away: whoever it would let in waits outside, and what lets everybody in goes on.
async fn unasked(target: Target) {
    let project = Project::named(&target, "unasked");
    let containers =
        json!([mirror(&target, "web", 8080, Some("Private")), mirror(&target, "docs", 8081, Some("Public"))]);
    up(&project, containers).await;
    let visitor = Visitor::new(&target);
    let (web, docs) = (host(&project, "web").await, host(&project, "docs").await);
    let authorization = bearer(&target);
    let admin = [("authorization", authorization.as_str())];
    called(&visitor, &web, &admin, 200).await;
    let away = Away::taken(&target.namespace).await;
    let answer = visitor.call("GET", &web, "/", &admin).await;
    assert!(answer.status.is_server_error(), "{answer:?}");
    let socket = visitor.socket(&web, &admin).await;
    assert!(socket.as_ref().is_err_and(|status| *status >= 500), "{:?}", socket.err());
    called(&visitor, &docs, &[], 200).await;
    away.back().await;
    called(&visitor, &web, &admin, 200).await;
    assert!(visitor.socket(&web, &admin).await.is_ok());
    project.remove().await;
}

/// The controller is started anew, as for its next version.
async fn restarted(target: Target) {
    let project = Project::named(&target, "anew");
    up(&project, json!([mirror(&target, "web", 8080, Some("Private"))])).await;
    let visitor = Visitor::new(&target);
    let web = host(&project, "web").await;
    let authorization = bearer(&target);
    let admin = [("authorization", authorization.as_str())];
    called(&visitor, &web, &admin, 200).await;
    let namespace = project.namespace().await;
    let program = async || {
        let pods = pods(&namespace).await;
        assert_eq!(pods.len(), 1, "{pods:#?}");
        (pods[0]["metadata"]["uid"].clone(), restarts(&pods[0], "web"))
    };
    let before = program().await;
    let mut socket = visitor.socket(&web, &admin).await.expect("it is let in");
    assert_eq!(socket.echo("one").await.as_deref(), Some("one"));
    let end = ["delete", "pods", "--namespace", "traefik", "--selector", "app.kubernetes.io/name=traefik"];
    kubectl(&end, "").await.expect("it is started anew");
    socket.ended().await;
    let mut again = eventually(|| async {
        match visitor.try_socket(&web, &admin).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(status)) => Err(format!("{web} refuses it with {status}")),
            Err(error) => Err(format!("{web}: {error}")),
        }
    })
    .await;
    assert_eq!(again.echo("two").await.as_deref(), Some("two"));
    assert_eq!(program().await, before, "the program behind it was disturbed");
    project.remove().await;
}
