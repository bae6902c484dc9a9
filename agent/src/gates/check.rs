//! One look at something that is waited for, from the outside and without credentials.

use std::path::PathBuf;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::limits::GATE_TRY;

/// Longest answer that is looked at, in bytes: what counts stands at its beginning.
const LOOKED_AT: usize = 1_024;

/// What must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A connection is taken.
    Tcp(Place),
    /// A GET of HTTP is answered with 200 to 399.
    Http(Place, String),
    /// A server of PostgreSQL takes connections, and is not still starting.
    Postgres(Place),
    /// A server of Redis answers, and is not still loading.
    Redis(Place),
    /// The name has an address.
    Name(String),
    /// There is such a file.
    File(PathBuf),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

fn host(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || !text.bytes().all(good) {
        return Err(format!("{text:?} is no host"));
    }
    Ok(text.to_owned())
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} is no HOST:PORT"))?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("{port:?} is no port"))?;
        Ok(Place { host: host(name)?, port })
    }
}

impl std::str::FromStr for Check {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once("://").ok_or_else(|| format!("{text:?} is no KIND://..."))?;
        match kind {
            "tcp" => Ok(Check::Tcp(rest.parse()?)),
            "postgres" => Ok(Check::Postgres(rest.parse()?)),
            "redis" => Ok(Check::Redis(rest.parse()?)),
            "name" => Ok(Check::Name(host(rest)?)),
            "file" if rest.starts_with('/') => Ok(Check::File(rest.into())),
            "http" => {
                let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(format!("{path:?} is no path of visible characters"));
                }
                Ok(Check::Http(place.parse()?, format!("/{path}")))
            }
            _ => Err(format!("{text:?} is of no kind of tcp, http, postgres, redis, name and file")),
        }
    }
}

impl Check {
    /// Looks once. The error says in words what is not so.
    pub(super) async fn is_met(&self) -> Result<(), String> {
        let looked = async {
            match self {
                Check::Tcp(place) => place.connect().await.map(drop),
                Check::Http(place, path) => place.get(path).await,
                Check::Postgres(place) => place.postgres().await,
                Check::Redis(place) => place.redis().await,
                Check::Name(name) => {
                    let found = lookup_host((name.as_str(), 0)).await.is_ok_and(|mut found| found.next().is_some());
                    if found { Ok(()) } else { Err(format!("{name} has no address yet")) }
                }
                Check::File(path) if tokio::fs::try_exists(path).await.unwrap_or(false) => Ok(()),
                Check::File(_) => Err("it has not begun".to_owned()),
            }
        };
        match timeout(GATE_TRY, looked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", GATE_TRY.as_secs())),
        }
    }
}

impl Place {
    async fn connect(&self) -> Result<TcpStream, String> {
        let Place { host, port } = self;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, *port)).await;
        stream.map_err(|error| format!("port {port} of {host}: {error}"))
    }

    /// Sends `question` and returns the beginning of the answer, at least `least` bytes of it.
    async fn ask(&self, question: &[u8], least: usize) -> Result<Vec<u8>, String> {
        let mut stream = self.connect().await?;
        let said = |error: std::io::Error| format!("port {}: {error}", self.port);
        stream.write_all(question).await.map_err(said)?;
        let mut answer = Vec::new();
        let mut bounded = stream.take(LOOKED_AT as u64);
        while answer.len() < least {
            if bounded.read_buf(&mut answer).await.map_err(said)? == 0 {
                break;
            }
        }
        Ok(answer)
    }

    async fn get(&self, path: &str) -> Result<(), String> {
        let Place { host, port } = self;
        let question = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: remora-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        // As far as the status: `HTTP/1.1 200`.
        let answer = self.ask(question.as_bytes(), 12).await?;
        let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        match status.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok()) {
            Some(200..=399_u16) => Ok(()),
            Some(status) => Err(format!("port {port} answers {path} with {status}")),
            None => Err(format!("port {port} does not answer as HTTP does")),
        }
    }

    /// The first message of the protocol (PostgreSQL, "Message Formats": StartupMessage of
    /// 3.0). Any answer but "cannot connect now" is one of a server that serves.
    async fn postgres(&self) -> Result<(), String> {
        let parameters = b"user\0remora\0database\0remora\0\0";
        let length = u32::try_from(8 + parameters.len()).unwrap_or(u32::MAX);
        let question = [&length.to_be_bytes()[..], &196_608_u32.to_be_bytes(), parameters].concat();
        // A refusal's fields stand after its type and length; the code is among the first.
        let answer = self.ask(&question, 1).await?;
        let fields = answer.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        match answer.first() {
            Some(b'R') => Ok(()),
            Some(b'E') if fields.into_iter().any(|field| field == b"C57P03") => Err("it is starting".to_owned()),
            Some(b'E') => Ok(()),
            _ => Err(format!("port {} does not answer as PostgreSQL does", self.port)),
        }
    }

    async fn redis(&self) -> Result<(), String> {
        let answer = self.ask(b"PING\r\n", 5).await?;
        if answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH") {
            return Ok(());
        }
        if answer.starts_with(b"-LOADI") {
            return Err("it is loading".to_owned());
        }
        Err(format!("port {} does not answer as Redis does", self.port))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a look at a server says that answers each connection with `answer`.
    async fn answered(kind: &str, answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let check = kind.replace("PLACE", &listener.local_addr().unwrap().to_string()).parse::<Check>().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 512];
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all(answer).await;
        });
        let met = check.is_met().await;
        serving.await.unwrap();
        met
    }

    #[tokio::test]
    async fn an_answer_counts_and_not_a_port_alone() {
        for (kind, answer, good) in [
            ("tcp://PLACE", &b""[..], true),
            ("http://PLACE/healthz", b"HTTP/1.1 204 No Content\r\n\r\n", true),
            ("http://PLACE", b"HTTP/1.0 302 Found\r\n\r\n", true),
            ("http://PLACE/x", b"HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("http://PLACE/x", b"SSH-2.0-x\r\n", false),
            ("http://PLACE/x", b"", false),
            ("postgres://PLACE", b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", true),
            ("postgres://PLACE", b"E\0\0\0\x40SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0", false),
            ("postgres://PLACE", b"E\0\0\0\x40SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry\0\0", true),
            ("postgres://PLACE", b"HTTP/1.1 400\r\n", false),
            ("redis://PLACE", b"-NOAUTH Authentication required.\r\n", true),
            ("redis://PLACE", b"+PONG\r\n", true),
            ("redis://PLACE", b"-LOADING Redis is loading the dataset in memory\r\n", false),
            ("redis://PLACE", b"", false),
        ] {
            assert_eq!(answered(kind, answer).await.is_ok(), good, "{kind} {:?}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let check = |text: String| async move { text.parse::<Check>().unwrap().is_met().await };
        let why = check(format!("tcp://{free}")).await.unwrap_err();
        assert!(why.contains("refused") && why.contains(&free.port().to_string()), "{why}");
        let why = check("name://no-such-name.invalid".to_owned()).await.unwrap_err();
        assert!(why.contains("no-such-name.invalid has no address"), "{why}");
        check("name://localhost".to_owned()).await.unwrap();
        check("file:///proc/self/status".to_owned()).await.unwrap();
    }
}
