//! A real agent process, and channels to it.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Error};

use crate::{
    binaries::binary,
    log::Log,
    pki::{CLIENT_SAN, Pki},
    seaweed::{ACCESS_KEY, SECRET_KEY},
};

/// Longest wait for anything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that serves. Killed when dropped.
pub struct AgentProcess {
    child: Child,
    log: Log,
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
    add(&mut command, flags);
    command
}

/// The command of another role with `flags`, in an environment with the
/// credentials of the tests' store.
pub fn role_command(role: &str, flags: &[(String, String)]) -> Command {
    let mut command = Command::new(binary("remora-agent"));
    command.env_clear().arg(role).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    add(&mut command, flags);
    command
}

/// A flag without a value is a switch.
fn add(command: &mut Command, flags: &[(String, String)]) {
    for (flag, value) in flags {
        command.arg(flag).args((!value.is_empty()).then_some(value));
    }
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).kill_on_drop(true);
}

/// A channel to `grpc` with the control plane's certificate.
pub async fn dial(grpc: SocketAddr, pki: &Pki) -> Channel {
    dial_as(grpc, pki.client_tls(CLIENT_SAN)).await.expect("the control plane is let in")
}

async fn dial_as(grpc: SocketAddr, tls: ClientTlsConfig) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("https://{grpc}")).expect("an address is a URL");
    endpoint.tls_config(tls)?.connect_timeout(PATIENCE).connect().await
}

impl AgentProcess {
    /// Starts an agent and waits until it says where it serves.
    pub async fn start(pki: &Pki) -> Self {
        AgentProcess::with_flags(&serve_flags(pki)).await
    }

    /// Starts an agent with these flags and waits until it says where it serves.
    pub async fn with_flags(flags: &[(String, String)]) -> Self {
        AgentProcess::of(serve_command(flags)).await
    }

    /// Starts an agent by its command and waits until it says where it serves.
    pub async fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the agent's binary starts");
        let mut log = Log::of(child.stderr.take().expect("stderr is piped"));
        let serving = log.line(|line| line["fields"]["message"] == "serving").await;
        let address = |field: &str| {
            let text = serving["fields"][field].as_str().expect("an address is logged");
            text.parse().expect("the address parses")
        };
        AgentProcess { child, log, grpc: address("grpc"), metrics: address("metrics") }
    }

    /// A channel with the control plane's certificate.
    pub async fn channel(&self, pki: &Pki) -> Channel {
        dial(self.grpc, pki).await
    }

    /// A channel with `tls`.
    pub async fn dial(&self, tls: ClientTlsConfig) -> Result<Channel, Error> {
        dial_as(self.grpc, tls).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?));
        rustix::process::kill_process(pid.expect("it runs"), signal).expect("it takes signals");
    }

    /// Waits for the log line that `wanted` accepts.
    pub async fn log_line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.log.line(wanted).await
    }

    /// Waits for its end.
    pub async fn exited(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("the agent ends in time").expect("the agent is our child")
    }
}
