//! A real agent process, and channels to it.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Error};

use crate::{
    binaries::binary,
    pki::{CLIENT_SAN, Pki},
};

/// Longest wait for anything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that serves. Killed when dropped.
pub struct AgentProcess {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// Where it serves gRPC.
    pub grpc: SocketAddr,
    /// Where it serves probes and metrics.
    pub metrics: SocketAddr,
}

/// `remora-agent serve` with everything it needs; a test takes flags away or adds some.
pub fn serve_flags(pki: &Pki) -> Vec<(String, String)> {
    let file = |name| pki.path(name).display().to_string();
    [
        ("--project", pki.project.to_string()),
        ("--generation", pki.generation.to_string()),
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--metrics-listen", "127.0.0.1:0".to_owned()),
        ("--tls-cert", file("agent.crt")),
        ("--tls-key", file("agent.key")),
        ("--client-ca", file("ca.crt")),
        ("--client-san", CLIENT_SAN.to_owned()),
        ("--token-key", file("token.pub")),
    ]
    .map(|(flag, value)| (flag.to_owned(), value))
    .to_vec()
}

/// The command `remora-agent serve` with `flags`, in an environment of its own.
pub fn serve_command(flags: &[(String, String)]) -> Command {
    let mut command = Command::new(binary("remora-agent"));
    command.env_clear().arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for (flag, value) in flags {
        command.arg(flag).arg(value);
    }
    command.kill_on_drop(true);
    command
}

impl AgentProcess {
    /// Starts an agent and waits until it says where it serves.
    pub async fn start(pki: &Pki) -> Self {
        let mut child = serve_command(&serve_flags(pki)).spawn().expect("the agent's binary starts");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let serving = log_line(&mut log, |line| line["fields"]["message"] == "serving").await;
        let address = |field: &str| {
            let text = serving["fields"][field].as_str().expect("an address is logged");
            text.parse().expect("the address parses")
        };
        AgentProcess { child, log, grpc: address("grpc"), metrics: address("metrics") }
    }

    /// A channel with the control plane's certificate.
    pub async fn channel(&self, pki: &Pki) -> Channel {
        self.dial(pki.client_tls(CLIENT_SAN)).await.expect("the control plane is let in")
    }

    /// A channel with `tls`.
    pub async fn dial(&self, tls: ClientTlsConfig) -> Result<Channel, Error> {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.grpc)).expect("an address is a URL");
        endpoint.tls_config(tls)?.connect_timeout(PATIENCE).connect().await
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?));
        rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::TERM).expect("it takes signals");
    }

    /// Waits for the log line that `wanted` accepts.
    pub async fn log_line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        log_line(&mut self.log, wanted).await
    }

    /// Waits for its end.
    pub async fn exited(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("the agent ends in time").expect("the agent is our child")
    }
}

async fn log_line(log: &mut Lines<BufReader<ChildStderr>>, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Vec::new();
    let search = async {
        while let Some(line) = log.next_line().await.expect("the log is UTF-8") {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON log line: {line}"));
            if wanted(&value) {
                return Some(value);
            }
            seen.push(line);
        }
        None
    };
    match timeout(PATIENCE, search).await {
        Ok(Some(value)) => value,
        Ok(None) => panic!("the log ended without the line; it said:\n{}", seen.join("\n")),
        Err(_) => panic!("the line did not come; the log said:\n{}", seen.join("\n")),
    }
}
