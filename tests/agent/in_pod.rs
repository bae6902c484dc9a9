//! What an agent and its shims need to live in a pod of Kubernetes, without one: the
//! roles as containers start and end them, in their order and with their rights.

mod install;
mod last_snapshot;
mod seed_object;
mod sidecar;
mod stop;
mod whole;

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Status and body of a probe.
async fn probe(metrics: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The processes of this machine whose command line has `word` in it.
fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// The mode's bits below `path`'s type, and its owner.
fn mode_and_owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::metadata(path).unwrap();
    (file.mode() & 0o7777, file.uid())
}
