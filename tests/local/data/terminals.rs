//! T1 to T7 over plain HTTP and a WebSocket.

use remora_tests::{eventually::eventually_told, server::ServerProcess};
use serde_json::{Value, json};

use super::{
    Rest, ok, refusal,
    socket::{Socket, refused},
};
use crate::running::run;

async fn open(rest: &Rest<'_>, body: Value) -> String {
    ok(rest.post("terminals", body).await, 201)["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_opened_typed_into_resized_and_ended() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let id = open(&rest, json!({"argv": ["sh"], "columns": 100, "rows": 30, "container": "dev"})).await;
    let typed = json!({"text": "stty size; printf '%s-%s\\n' a b\r"});
    assert_eq!(ok(rest.post(&format!("terminals/{id}/input"), typed).await, 200)["sequence"], 1);
    let shows = async |wanted: &str| {
        eventually_told(async || {
            let screen = ok(rest.get(&format!("terminals/{id}/screen")).await, 200);
            screen["lines"].as_array().unwrap().iter().any(|line| line == wanted).then_some(())
        })
        .await;
    };
    shows("30 100").await;
    shows("a-b").await;
    assert_eq!(
        ok(rest.post(&format!("terminals/{id}/resize"), json!({"columns": 90, "rows": 20})).await, 200)["columns"],
        90
    );
    ok(rest.post(&format!("terminals/{id}/input"), json!({"text": "stty size\r"})).await, 200);
    shows("20 90").await;
    let listed = ok(rest.get("terminals").await, 200);
    assert_eq!((listed["terminals"].as_array().unwrap().len(), &listed["terminals"][0]["id"]), (1, &json!(id)));
    let closed = ok(rest.delete(&format!("terminals/{id}")).await, 200);
    assert!(closed["terminal"]["exit"].is_object(), "{closed}");
    assert_eq!(refusal(&rest.get(&format!("terminals/{id}")).await), (404, "NOT_FOUND".to_owned()));
}

/// T6: a connection that is cut and comes back at the offset it has reached has every byte once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_comes_back_at_its_offset_misses_nothing() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let id = open(&rest, json!({"argv": ["sh", "-c", "read x; seq 1 20000; read y; seq 20001 40000; exit 5"]})).await;
    let mut socket = Socket::attach(&rest, &id, "mode=writer&clientId=me").await;
    assert_eq!(socket.attached["clientId"], "me");
    let start = socket.at;
    socket.send_text(&json!({"type": "input", "sequence": 1, "text": "\r"})).await;
    socket.until(|output, _| output.ends_with(b"20000\r\n")).await;
    // Cut, without a goodbye; what comes meanwhile waits.
    let (reached, mut output) = socket.cut();
    let mut socket = Socket::attach(&rest, &id, &format!("mode=takeover&clientId=me&offset={reached}")).await;
    assert_eq!(socket.attached["inputSequence"], 1, "what was typed is known");
    // Sent again as after a lost acknowledgement: typed once.
    socket.send_text(&json!({"type": "input", "sequence": 1, "text": "\r"})).await;
    socket.send_text(&json!({"type": "input", "sequence": 2, "text": "\r"})).await;
    let exit = socket.until(|_, events| events.last().is_some_and(|event| event["type"] == "exit")).await;
    assert_eq!(exit.last().unwrap()["exit"], json!({"cause": "exited", "code": 5}));
    output.extend_from_slice(&socket.output);
    assert_eq!(exit.last().unwrap()["finalOffset"].as_u64(), Some(start + output.len() as u64));
    let text = String::from_utf8(output).unwrap().replace('\r', "");
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers == (1..=40_000).collect::<Vec<_>>(), "{} numbers", numbers.len());
    socket.closed().await;
}

/// A viewer who does not read holds up neither the shell nor another viewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_who_does_not_read_stalls_nobody() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let id = open(&rest, json!({"argv": ["sh", "-c", "read x; seq 1 2000000; echo done; read y"], "ringBytes": 65536}))
        .await;
    let mut slow = Socket::attach(&rest, &id, "").await;
    let mut fast = Socket::attach(&rest, &id, "mode=writer&lag=drop").await;
    // 14 MB: more than every buffer on the way to `slow` together.
    fast.send_binary(b"\r").await;
    fast.until(|output, _| output.ends_with(b"done\r\n")).await;
    // Now the slow one reads: it is told what it missed, and has the end.
    let events = slow.until(|output, _| output.ends_with(b"done\r\n")).await;
    assert!(events.iter().any(|event| event["type"] == "lagged"), "{events:?}");
}

/// Who may not is told so with a status, before there is a socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_refused_to_other_origins_and_strangers() {
    let server =
        ServerProcess::start_as(&["server", "--runtime", "local", "--allowed-origin", "https://ide.example.com"]).await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let id = open(&rest, json!({"argv": ["sh"]})).await;
    let host = server.url.split("//").nth(1).unwrap();
    let own = format!("http://{host}");
    for origin in [own.as_str(), "https://ide.example.com"] {
        Socket::attach_with(&rest, &id, "", &[("origin", origin)]).await;
    }
    for origin in ["http://evil.example", "null", "https://ide.example.com.evil.example", "http://127.0.0.1"] {
        let (status, reason) = refused(&rest, &id, "", &[("origin", origin)]).await;
        assert_eq!((status, reason.as_str()), (403, "ORIGIN_NOT_ALLOWED"), "{origin}");
    }
    let stranger = Rest { key: "rmk_x".to_owned(), ..Rest::admin(&server, "a") };
    assert_eq!(refused(&stranger, &id, "", &[]).await.0, 401);
    let none = "1f5f8f34-7c6c-4f43-8c4e-0a8b8d0b8f55";
    assert_eq!(refused(&rest, none, "", &[]).await, (404, "NOT_FOUND".to_owned()));
    assert_eq!(refused(&rest, &id, "offset=99999999", &[]).await, (416, "OUT_OF_RANGE".to_owned()));
    let plain = rest.get(&format!("terminals/{id}/attach")).await;
    assert_eq!(refusal(&plain), (400, "INVALID_ARGUMENT".to_owned()));
    // As a page does it: the token among the subprotocols, which is not echoed.
    let offered = format!("remora.terminal.v1, remora.bearer.{}", server.key);
    let page = Rest { key: String::new(), ..Rest::admin(&server, "a") };
    let socket = Socket::attach_with(&page, &id, "", &[("origin", &own), ("sec-websocket-protocol", &offered)]).await;
    assert_eq!(socket.protocol.as_deref(), Some("remora.terminal.v1"));
}

/// A frame that is too large or nonsense ends its own socket, with a word, and not the terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_ends_its_socket_and_not_the_terminal() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let id = open(&rest, json!({"argv": ["cat"]})).await;
    for bad in ["nonsense".to_owned(), json!({"type": "input", "textBase64": "!"}).to_string(), "x".repeat(200_000)] {
        let mut socket = Socket::attach(&rest, &id, "mode=takeover").await;
        socket.send_raw_text(&bad).await;
        let events = socket.until(|_, events| events.last().is_some_and(|event| event["type"] == "problem")).await;
        assert_eq!(events.last().unwrap()["problem"]["reason"], "INVALID_ARGUMENT", "{events:?}");
        socket.closed().await;
    }
    // A viewer types nothing.
    let mut socket = Socket::attach(&rest, &id, "").await;
    socket.send_binary(b"x").await;
    socket.until(|_, events| events.last().is_some_and(|event| event["type"] == "problem")).await;
    let alive = ok(rest.get(&format!("terminals/{id}")).await, 200);
    assert!(alive.get("exit").is_none(), "{alive}");
    server.check_log(&[]);
}

/// A server that stops says goodbye to its sockets; the terminals live on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_end_with_the_server_and_terminals_do_not() {
    let mut server = ServerProcess::start().await;
    run(&server, "a").await;
    let (id, mut socket) = {
        let rest = Rest::admin(&server, "a");
        let id = open(&rest, json!({"argv": ["cat"]})).await;
        let socket = Socket::attach(&rest, &id, "mode=writer").await;
        (id, socket)
    };
    server.stop(rustix::process::Signal::TERM).await;
    assert_eq!(socket.closed().await, Some(1001));
    server.restart().await;
    let rest = Rest::admin(&server, "a");
    crate::running::reach(&server, "a", remora_proto::control::v1::Phase::Ready).await;
    let there = ok(rest.get(&format!("terminals/{id}")).await, 200);
    assert!(there.get("exit").is_none(), "{there}");
}
