//! Who may pass to an exposed port: what an ingress controller is answered at
//! /auth/verify, about every way to be somebody.

use std::{env, fs, os::unix::fs::PermissionsExt as _};

use remora_proto::{
    control::v1::{MakeLinkRequest, Phase},
    fault::from_status,
    model::Reason,
};
use remora_tests::{
    cli::Cli,
    eventually::eventually_told,
    pty::AtTerminal,
    server::{Answer, ServerProcess},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    data::{Rest, ok, refusal},
    running::{generation, get, reach, reach_where},
    tokens::mint,
};

const DOMAIN: &str = "ports.example.com";
const LOGIN: &str = "https://app.example.com/login";
const PRIVATE: &str = "shop--web--private.ports.example.com";
const KNOWN: &str = "shop--web--known.ports.example.com";
const PUBLIC: &str = "shop--web--public.ports.example.com";
const CLOSED: &str = "shop--web--closed.ports.example.com";

/// A server that knows of exposed ports, in front of which is `controller`.
async fn server(controller: &str) -> ServerProcess {
    let variables = [
        ("REMORA_ROUTE_DOMAIN", DOMAIN),
        ("REMORA_ROUTE_CONTROLLER", controller),
        ("REMORA_ROUTE_CORS_ORIGINS", "https://app.example.com"),
    ];
    ServerProcess::start_with(&["server", "--runtime", "local"], &variables).await
}

fn ports() -> Value {
    json!([
        {"name": "private", "port": 41_001, "expose": "Private"},
        {"name": "known", "port": 41_002, "expose": "Authenticated"},
        {"name": "public", "port": 41_003, "expose": "Public"},
        {"name": "closed", "port": 41_004},
    ])
}

async fn create(server: &ServerProcess) {
    let web = json!({"name": "web", "command": ["sleep", "100000"], "ports": ports()});
    let project = json!({"name": "shop", "spec": {"containers": [web, {"name": "api"}]}});
    ok(server.rest("POST", "/api/v1/projects", Some(&project)).await, 201);
    reach(server, "shop", Phase::Ready).await;
}

/// What Traefik asks about a request of `method` for `target` of `host` with `headers`.
async fn asked(server: &ServerProcess, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let forwarded = [("x-forwarded-host", host), ("x-forwarded-uri", target), ("x-forwarded-method", method)];
    server.request("GET", "/auth/verify", &[&forwarded[..], headers].concat(), "").await
}

async fn open(server: &ServerProcess, host: &str, headers: &[(&str, &str)]) -> Answer {
    asked(server, "GET", host, "/", headers).await
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

async fn key(server: &ServerProcess, name: &str, projects: &[&str]) -> (String, String) {
    let wanted = json!({"name": name, "role": "Viewer", "projects": projects});
    let made = ok(server.rest("POST", "/api/v1/keys", Some(&wanted)).await, 201);
    (made["secret"].as_str().unwrap().to_owned(), made["key"]["id"].as_str().unwrap().to_owned())
}

/// A project that is another one's.
async fn stranger(server: &ServerProcess) -> String {
    let spec = json!({"containers": [{"name": "dev"}], "source": "Archive"});
    ok(server.rest("POST", "/api/v1/projects", Some(&json!({"name": "theirs", "spec": spec}))).await, 201);
    key(server, "stranger", &["theirs"]).await.0
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The session's cookie, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    header(answer, "set-cookie").expect("a session begins").split(';').next().unwrap().to_owned()
}

/// Follows a link that is made for the admin's key or for `key`: the session's cookie.
async fn session(server: &ServerProcess, key: &str, port: &str) -> String {
    let wanted = json!({"container": "web", "port": port, "path": "/a?b=c"});
    let made = server.rest_as(key, "POST", "/api/v1/projects/shop/links", Some(&wanted)).await;
    let url = ok(made, 201)["url"].as_str().unwrap().to_owned();
    let rest = url.strip_prefix("https://").expect("ports are reached over TLS");
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let followed = asked(server, "GET", host, target, &[]).await;
    assert_eq!(followed.status, 302, "{followed:?}");
    assert_eq!(header(&followed, "location"), Some(format!("https://{host}/a?b=c").as_str()));
    cookie(&followed)
}

/// w3: of each port and each way to be somebody, who is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exposure_lets_in_whom_it_says() {
    let server = server("traefik").await;
    create(&server).await;
    let stranger = stranger(&server).await;
    let (viewer, _) = key(&server, "viewer", &["shop"]).await;
    let (token, _) = mint(&server, "shop", json!({"verbs": ["status.read"], "containers": ["web"]})).await;
    let (folder, _) = mint(&server, "shop", json!({"pathPrefix": "a", "verbs": ["status.read"]})).await;
    let (elsewhere, _) = mint(&server, "shop", json!({"containers": ["api"]})).await;
    let (other_verb, _) = mint(&server, "shop", json!({"verbs": ["file.read"]})).await;
    let (of_another, _) = mint(&server, "theirs", json!({})).await;
    let forbidden = (403, "NOT_FOUND".to_owned());
    for (who, secret, private, known) in [
        ("an admin", &server.key, true, true),
        ("somebody who may see it", &viewer, true, true),
        ("a token of it", &token, true, true),
        ("somebody who may not see it", &stranger, false, true),
        ("a token for a folder", &folder, false, false),
        ("a token for another container", &elsewhere, false, false),
        ("a token that does not look", &other_verb, false, false),
        ("a token of another project", &of_another, false, false),
    ] {
        let authorization = bearer(secret);
        for (host, passes) in [(PRIVATE, private), (KNOWN, known)] {
            let answer = open(&server, host, &[("authorization", &authorization)]).await;
            if passes {
                assert_eq!(answer.status, 200, "{who} at {host}: {answer:?}");
                assert_eq!(header(&answer, "x-remora-project"), Some("shop"), "{who}");
            } else {
                assert_eq!(refusal(&answer), forbidden, "{who} at {host}");
            }
        }
        // Everybody gets in there, and is nobody.
        let answer = open(&server, PUBLIC, &[("authorization", &authorization)]).await;
        assert_eq!((answer.status.as_u16(), header(&answer, "x-remora-user")), (200, None), "{who}");
        // Whether a port is there is told to nobody who may not reach it.
        for nowhere in [CLOSED, "shop--web--none.ports.example.com", "none--web--private.ports.example.com"] {
            assert_eq!(
                refusal(&open(&server, nowhere, &[("authorization", &authorization)]).await),
                forbidden,
                "{who}"
            );
        }
    }
    for host in [PRIVATE, KNOWN, CLOSED, "none--a--b.ports.example.com", "other.example", PRIVATE.trim_end_matches("m")]
    {
        let answer = open(&server, host, &[]).await;
        assert_eq!(refusal(&answer), (401, "CREDENTIALS_MISSING".to_owned()), "{host}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
        let wrong = open(&server, host, &[("authorization", "Bearer rmk_x")]).await;
        assert_eq!(refusal(&wrong), (401, "CREDENTIALS_INVALID".to_owned()), "{host}");
    }
    assert_eq!(open(&server, PUBLIC, &[]).await.status, 200);
    server.check_log(&[]);
}

/// a078: a controller's question that is none, and one with a stranger's words in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a078_what_a_client_says_of_its_request_itself_is_not_believed() {
    let server = server("traefik").await;
    create(&server).await;
    let admin = bearer(&server.key);
    let (host, uri, method) = (("x-forwarded-host", PRIVATE), ("x-forwarded-uri", "/"), ("x-forwarded-method", "GET"));
    let known = ("authorization", admin.as_str());
    let public = ("x-forwarded-host", PUBLIC);
    let elsewhere = ("x-original-url", "https://shop--web--public.ports.example.com/");
    for headers in [
        &[uri, method][..],
        &[host, method],
        &[host, uri],
        &[host, public, uri, method],
        &[("x-forwarded-host", "a b"), uri, method],
        &[("x-forwarded-host", "shop--web--public.ports.example.com, x"), uri, method],
        &[("x-forwarded-host", "shop--web--public.ports.example.com@x.example"), uri, method],
        &[host, uri, ("x-forwarded-method", "G T")],
        &[elsewhere, ("x-original-method", "GET")],
        &[("host", PUBLIC)],
    ] {
        let stranger = server.request("GET", "/auth/verify", headers, "").await;
        // On loopback the server has no other name.
        if headers[0].0 != "host" {
            assert_eq!(refusal(&stranger).0, 401, "{headers:?}");
            let answer = server.request("GET", "/auth/verify", &[headers, &[known]].concat(), "").await;
            assert_eq!(refusal(&answer), (403, "INVALID_ARGUMENT".to_owned()), "{headers:?}");
        } else {
            assert_eq!(stranger.status, 400);
        }
    }
    // What a client adds changes nothing of what is asked about, nor who it is.
    let lies = [
        host,
        uri,
        method,
        elsewhere,
        ("x-original-method", "GET"),
        ("forwarded", "host=x"),
        ("x-remora-user", "admin"),
        ("x-remora-project", "shop"),
        ("x-forwarded-user", "admin"),
    ];
    assert_eq!(refusal(&server.request("GET", "/auth/verify", &lies, "").await).0, 401);
    let told = server.request("GET", "/auth/verify", &[&lies[..], &[known]].concat(), "").await;
    assert_eq!((told.status.as_u16(), header(&told, "x-remora-user")), (200, Some("admin")));
    let public = [public, uri, method, ("x-remora-user", "admin")];
    assert_eq!(header(&server.request("GET", "/auth/verify", &public, "").await, "x-remora-user"), None);
    for other in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(server.request(other, "/auth/verify", &[host, uri, method, known], "").await.status, 405, "{other}");
    }
    server.check_log(&[]);
}

/// What opens anything on the server stays in front of the program behind the port, and
/// what is the program's own passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_behind_a_port_sees_no_credentials_of_the_server() {
    let server = server("traefik").await;
    create(&server).await;
    let ours = bearer(&server.key);
    let (token, _) = mint(&server, "shop", json!({})).await;
    let session = session(&server, &server.key, "private").await;
    let seen = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = |name| header(answer, name).map(str::to_owned);
        (text("authorization"), text("cookie"))
    };
    let some = |text: &str| Some(text.to_owned());
    let mixed = format!("a=1; {session}; b; c=d=e");
    let both = ("cookie", mixed.as_str());
    for host in [PRIVATE, PUBLIC] {
        let answer = open(&server, host, &[("authorization", &ours), both]).await;
        assert_eq!(seen(&answer), (None, some("a=1; b; c=d=e")), "{host}");
        let answer = open(&server, host, &[("authorization", &bearer(&token)), ("cookie", "x=y")]).await;
        assert_eq!(seen(&answer), (None, some("x=y")), "{host}");
        for own in ["Bearer the.programs.own", "Basic eDp5"] {
            let answer = open(&server, host, &[("authorization", own), both]).await;
            assert_eq!(seen(&answer), (some(own), some("a=1; b; c=d=e")), "{host}");
        }
        let answer = open(&server, host, &[("cookie", &session)]).await;
        assert_eq!(seen(&answer), (None, None), "{host}");
    }
    let log = server.log().iter().map(Value::to_string).collect::<String>();
    assert!(!log.contains(&session) && !log.contains(&server.key), "a secret is in the log");
}

/// A browser: a link, a session, and where that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_with_one_port_and_ends_with_its_key() {
    let mut server = server("traefik").await;
    create(&server).await;
    let (viewer, id) = key(&server, "viewer", &["shop"]).await;
    let cookie = session(&server, &viewer, "private").await;
    assert!(cookie.starts_with("__Host-remora-port="), "{cookie}");
    let mine = [("cookie", cookie.as_str())];
    let answer = open(&server, PRIVATE, &mine).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "x-remora-user")), (200, Some("viewer")));
    assert_eq!(asked(&server, "POST", PRIVATE, "/api?x=y", &mine).await.status, 200);
    // A WebSocket's first request, of the port's own page.
    let own = "https://shop--web--private.ports.example.com";
    let socket = [mine[0], ("sec-websocket-key", "eA=="), ("sec-websocket-version", "13"), ("origin", own)];
    assert_eq!(open(&server, PRIVATE, &socket).await.status, 200);
    for origin in ["https://app.example.com", "https://shop--web--private.ports.example.com:8443"] {
        assert_eq!(open(&server, PRIVATE, &[mine[0], ("origin", origin)]).await.status, 200, "{origin}");
    }
    // Other pages make a browser send its cookies, and are no callers.
    for page in [
        "https://shop--web--public.ports.example.com",
        "https://evil.example",
        "null",
        "http://shop--web--private.ports.example.com",
        "https://shop--web--private.ports.example.com.evil.example",
    ] {
        let answer = open(&server, PRIVATE, &[mine[0], ("origin", page)]).await;
        assert_eq!(refusal(&answer), (403, "ORIGIN_NOT_ALLOWED".to_owned()), "{page}");
    }
    let same = [mine[0], ("origin", "null"), ("sec-fetch-site", "same-origin")];
    assert_eq!(asked(&server, "POST", PRIVATE, "/", &same).await.status, 200, "a form without a referrer");

    // It opens that port alone, and is no link.
    for host in [KNOWN, "shop--web--closed.ports.example.com"] {
        assert_eq!(refusal(&open(&server, host, &mine).await).0, 401, "{host}");
    }
    let text = cookie.split_once('=').unwrap().1;
    assert_eq!(asked(&server, "GET", PRIVATE, &format!("/?remora-link={text}"), &[]).await.status, 401);
    let authorization = bearer(text);
    assert_eq!(
        refusal(&server.request("GET", "/api/v1/projects", &[("authorization", &authorization)], "").await).0,
        401
    );
    let changed = cookie.replacen("=", "=A", 1);
    assert_eq!(open(&server, PRIVATE, &[("cookie", &changed)]).await.status, 401);

    // It outlives the server, and not its key.
    server.kill().await;
    server.restart().await;
    reach(&server, "shop", Phase::Ready).await;
    assert_eq!(open(&server, PRIVATE, &mine).await.status, 200);
    assert_eq!(server.rest("DELETE", &format!("/api/v1/keys/{id}"), None).await.status, 204);
    assert_eq!(refusal(&open(&server, PRIVATE, &mine).await).0, 401);
    server.check_log(&[]);
    server.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_for_one_port_and_whoever_may_see_it() {
    let server = server("traefik").await;
    create(&server).await;
    let stranger = stranger(&server).await;
    let links = "/api/v1/projects/shop/links";
    let wanted = json!({"container": "web", "port": "private"});
    let refused = server.rest_as(&stranger, "POST", links, Some(&wanted)).await;
    assert_eq!(refusal(&refused), (404, "NOT_FOUND".to_owned()));
    for (body, reason) in [
        (json!({"container": "web", "port": "closed"}), "NOT_FOUND"),
        (json!({"container": "api", "port": "private"}), "NOT_FOUND"),
        (json!({"container": "web", "port": "private", "path": "a"}), "INVALID_ARGUMENT"),
        (json!({"container": "web", "port": "private", "path": "/a#b"}), "INVALID_ARGUMENT"),
        (json!({"container": "web", "port": "private", "path": "/a b"}), "INVALID_ARGUMENT"),
    ] {
        assert_eq!(server.rest("POST", links, Some(&body)).await.reason(), reason, "{body}");
    }
    let public = ok(server.rest("POST", links, Some(&json!({"container": "web", "port": "public"}))).await, 201);
    assert_eq!(public, json!({"url": "https://shop--web--public.ports.example.com/"}), "everybody needs none");
    let url = ok(server.rest("POST", links, Some(&wanted)).await, 201)["url"].as_str().unwrap().to_owned();
    let target = url.strip_prefix("https://shop--web--private.ports.example.com").unwrap();
    // It changes nothing, and is nothing at another host.
    assert_eq!(asked(&server, "POST", PRIVATE, target, &[]).await.status, 401);
    assert_eq!(asked(&server, "GET", KNOWN, target, &[]).await.status, 401);
    let followed = asked(&server, "GET", PRIVATE, target, &[]).await;
    assert_eq!(
        (followed.status.as_u16(), header(&followed, "location")),
        (302, Some("https://shop--web--private.ports.example.com/"))
    );
    let set = header(&followed, "set-cookie").unwrap();
    for part in ["__Host-remora-port=", "; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=43"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    assert!(!set.contains("Domain"), "{set}");

    // The only one needs no name, and the address stays the one that was called.
    let several = server.rest("POST", links, Some(&json!({}))).await;
    assert_eq!(refusal(&several), (400, "INVALID_ARGUMENT".to_owned()));
    let only = ok(server.rest("POST", links, Some(&json!({"port": "private"}))).await, 201);
    let target = only["url"].as_str().unwrap().strip_prefix("https://shop--web--private.ports.example.com").unwrap();
    let followed = asked(&server, "GET", &format!("{PRIVATE}:8443"), target, &[]).await;
    let there = "https://shop--web--private.ports.example.com:8443/";
    assert_eq!((followed.status.as_u16(), header(&followed, "location")), (302, Some(there)));

    // A server without a domain knows of no port.
    let plain = ServerProcess::start().await;
    let answer = open(&plain, PRIVATE, &[("authorization", &bearer(&plain.key))]).await;
    assert_eq!(refusal(&answer), (403, "FAILED_PRECONDITION".to_owned()));
    assert_eq!(open(&plain, PRIVATE, &[]).await.status, 401);
}

/// A port of a project that sleeps is there, and says when to come back; whoever may not
/// reach it does not learn that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_a_project_that_sleeps_says_so_to_whom_it_lets_in() {
    let server = server("traefik").await;
    create(&server).await;
    let admin = bearer(&server.key);
    let session = session(&server, &server.key, "private").await;
    ok(server.rest("POST", "/api/v1/projects/shop/hibernate", None).await, 202);
    reach(&server, "shop", Phase::Hibernated).await;
    for headers in [[("authorization", admin.as_str())], [("cookie", session.as_str())]] {
        let answer = open(&server, PRIVATE, &headers).await;
        assert_eq!(refusal(&answer), (503, "PROJECT_NOT_READY".to_owned()));
        assert_eq!(header(&answer, "retry-after"), Some("5"));
    }
    assert_eq!(open(&server, PUBLIC, &[]).await.status, 503);
    assert_eq!(open(&server, PRIVATE, &[]).await.status, 401);
    ok(server.rest("POST", "/api/v1/projects/shop/wake", None).await, 202);
    reach(&server, "shop", Phase::Ready).await;
    assert_eq!(open(&server, PRIVATE, &[("cookie", &session)]).await.status, 200);
    server.check_log(&[]);
}

/// ingress-nginx says it in other headers, and hears yes and no alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingress_nginx_is_answered_in_its_own_way() {
    let server = server("nginx").await;
    create(&server).await;
    let ask = async |url: &str, more: &[(&str, &str)]| {
        let original = [
            ("x-original-url", url),
            ("x-original-method", "GET"),
            ("x-forwarded-host", PUBLIC),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
        ];
        server.request("GET", "/auth/verify", &[&original[..], more].concat(), "").await
    };
    let private = "https://shop--web--private.ports.example.com";
    let admin = bearer(&server.key);
    assert_eq!(ask(private, &[]).await.status, 401, "X-Forwarded-Host is the client's here");
    assert_eq!(ask(private, &[("authorization", &admin)]).await.status, 200);
    assert_eq!(open(&server, PUBLIC, &[("authorization", &admin)]).await.status, 403, "nothing that nginx says");
    let wanted = json!({"container": "web", "port": "private"});
    let link = ok(server.rest("POST", "/api/v1/projects/shop/links", Some(&wanted)).await, 201);
    let followed = ask(link["url"].as_str().unwrap(), &[]).await;
    assert_eq!((followed.status.as_u16(), header(&followed, "x-remora-user")), (200, Some("admin")));
    let session = cookie(&followed);
    assert_eq!(ask(private, &[("cookie", &session)]).await.status, 200);
    ok(server.rest("POST", "/api/v1/projects/shop/hibernate", None).await, 202);
    reach(&server, "shop", Phase::Hibernated).await;
    assert_eq!(ask(private, &[("cookie", &session)]).await.status, 200, "nginx finds nothing there by itself");
}

/// A person is sent to where people sign in, and comes back to where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_sent_to_sign_in_and_a_program_is_not() {
    let variables = [("REMORA_ROUTE_DOMAIN", DOMAIN), ("REMORA_ROUTE_LOGIN_URL", LOGIN)];
    let server = ServerProcess::start_with(&["server", "--runtime", "local"], &variables).await;
    let page = ("accept", "text/html,application/xhtml+xml;q=0.9");
    let sent = asked(&server, "GET", PRIVATE, "/a?b=c&remora-link=old", &[page]).await;
    let back = "https%3A%2F%2Fshop--web--private.ports.example.com%2Fa%3Fb%3Dc";
    assert_eq!((sent.status.as_u16(), header(&sent, "location")), (302, Some(format!("{LOGIN}?rd={back}").as_str())));
    let elsewhere = open(&server, "evil.example", &[page]).await;
    assert_eq!(elsewhere.status, 401, "nobody is sent back to another site");
    for (method, headers) in
        [("POST", &[page][..]), ("GET", &[("accept", "*/*")]), ("GET", &[page, ("sec-websocket-key", "eA==")])]
    {
        assert_eq!(asked(&server, method, PRIVATE, "/", headers).await.status, 401, "{method} {headers:?}");
    }
}

/// Whom a port lets in changes at once, and ends nothing that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_exposure_holds_at_once_and_ends_nothing() {
    let server = server("traefik").await;
    create(&server).await;
    let session = session(&server, &server.key, "private").await;
    let mut ports = ports();
    (ports[0]["expose"], ports[2]["expose"]) = (json!("Public"), Value::Null);
    ports[2].as_object_mut().unwrap().remove("expose");
    let path = "/api/v1/projects/shop/containers/web";
    let changed = ok(server.rest("PATCH", path, Some(&json!({"ports": ports}))).await, 200);
    assert_eq!(changed["takesEffect"], "InPlace");
    assert_eq!(open(&server, PRIVATE, &[]).await.status, 200);
    assert_eq!(open(&server, PUBLIC, &[]).await.status, 401);
    let project = reach_where(&server, "shop", |project| {
        let conditions = &project.status.as_ref().unwrap().conditions;
        conditions.iter().any(|one| one.r#type == "SpecCurrent" && one.status)
    })
    .await;
    assert_eq!((generation(&project).0, project.status.unwrap().phase()), (1, Phase::Ready));
    assert_eq!(get(&server, "shop").await.spec.unwrap().containers[0].ports[2].expose, 0);

    // Another project of that name is another one.
    ok(server.rest("DELETE", "/api/v1/projects/shop?purge=true", None).await, 202);
    eventually_told(async || (server.rest("GET", "/api/v1/projects/shop", None).await.status == 404).then_some(()))
        .await;
    create(&server).await;
    assert_eq!(open(&server, PRIVATE, &[("cookie", &session)]).await.status, 403);
    assert_eq!(Rest::admin(&server, "shop").get("tokens").await.status, 200);
    server.check_log(&[]);
}

/// Whether a link opens the private port.
async fn opens(server: &ServerProcess, url: &str) -> bool {
    let target = url.trim().strip_prefix("https://").and_then(|rest| rest.strip_prefix(PRIVATE)).expect("of that port");
    asked(server, "GET", PRIVATE, target, &[]).await.status == 302
}

/// The same link by every way of asking for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_made_by_grpc_and_opened_by_the_command_line() {
    let server = server("traefik").await;
    create(&server).await;
    let cli = Cli::new(&server.url, &server.key);
    let mut projects = server.projects().await;
    let wanted =
        MakeLinkRequest { project: "shop".to_owned(), port: "private".to_owned(), ..MakeLinkRequest::default() };
    let made = projects.make_link(wanted.clone()).await.unwrap().into_inner();
    assert!(opens(&server, &made.url).await && made.expires_ms > 0, "{made:?}");
    let several = projects.make_link(MakeLinkRequest { port: String::new(), ..wanted.clone() }).await.unwrap_err();
    assert_eq!(from_status(&several).reason, Reason::InvalidArgument);
    let public =
        projects.make_link(MakeLinkRequest { port: "public".to_owned(), ..wanted }).await.unwrap().into_inner();
    assert_eq!((public.url, public.expires_ms), (format!("https://{PUBLIC}/"), 0));

    let link = cli.run(&["open", "shop", "private", "--container", "web", "--path", "/a?b=c"]).await.ok();
    assert!(link.starts_with(&format!("https://{PRIVATE}/a?b=c&remora-link=")) && link.lines().count() == 1, "{link}");
    assert!(opens(&server, &link).await);
    cli.run(&["open", "shop"]).await.refused(64, "may be several");
    cli.run(&["open", "shop", "closed"]).await.refused(66, "no such port that is exposed");
    cli.run(&["open", "none"]).await.refused(66, "none");

    // At a terminal the browser is given the address, as one word; asked not to, it is not.
    let folder = cli.folder().join("bin");
    fs::create_dir(&folder).unwrap();
    let opened = folder.join("opened");
    let script = format!("#!/bin/sh\nprintf '%s|' \"$@\" >{0}.part && mv {0}.part {0}\n", opened.display());
    fs::write(folder.join("xdg-open"), script).unwrap();
    fs::set_permissions(folder.join("xdg-open"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = env::join_paths([folder].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
    let at_terminal = |words: &[&str]| {
        let mut command = cli.command(words);
        command.env("PATH", &path);
        AtTerminal::start(command)
    };
    let (code, printed) = at_terminal(&["open", "shop", "private", "--no-browser"]).ended().await;
    assert_eq!(code, 0, "{printed}");
    assert!(opens(&server, &printed).await && !opened.exists());
    let (code, printed) = at_terminal(&["open", "shop", "private"]).ended().await;
    assert_eq!(code, 0, "{printed}");
    let given = eventually_told(async || fs::read_to_string(&opened).ok()).await;
    assert_eq!(given, format!("{}|", printed.trim()));
    server.check_log(&[]);
}

/// Each host is of one port for ever, so what would have the host of another is refused
/// before it is there, and what only looks alike has one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_share_a_host_is_refused_and_named() {
    let server = server("traefik").await;
    create(&server).await;
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "expose": "Private"});
    let spec = |containers: Value| json!({"name": "twin", "spec": {"source": "Archive", "containers": containers}});
    for (containers, what) in [
        (json!([{"name": "web", "ports": [port("a", 1)]}, {"name": "web", "ports": [port("a", 2)]}]), "web"),
        (json!([{"name": "web", "ports": [port("same", 1), port("same", 2)]}]), "\"same\" is there twice in web"),
    ] {
        let answer = server.rest("POST", "/api/v1/projects", Some(&spec(containers))).await;
        assert_eq!(refusal(&answer), (400, "INVALID_ARGUMENT".to_owned()));
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(what)), "{answer:?}");
    }
    let taken = json!({"name": "shop", "spec": {"source": "Archive", "containers": [{"name": "web", "ports": [port("private", 1)]}]}});
    let answer = server.rest("POST", "/api/v1/projects", Some(&taken)).await;
    assert_eq!(refusal(&answer), (409, "ALREADY_EXISTS".to_owned()));
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("shop")), "{answer:?}");

    let alike = json!([{"name": "a--b", "ports": [port("c", 1)]}, {"name": "a", "ports": [port("b--c", 2)]}]);
    ok(server.rest("POST", "/api/v1/projects", Some(&spec(alike))).await, 201);
    let mut hosts = Vec::new();
    for container in ["a--b", "a"] {
        let wanted = json!({"container": container});
        let link = ok(server.rest("POST", "/api/v1/projects/twin/links", Some(&wanted)).await, 201);
        let url = link["url"].as_str().unwrap();
        hosts.push(url.split('/').nth(2).unwrap().to_owned());
    }
    assert_ne!(hosts[0], hosts[1]);
}
