//! A pod without Kubernetes: shims and an agent over one temporary folder.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use remora_proto::{
    agent::v1::{
        agent_service_client::AgentServiceClient, exec_service_client::ExecServiceClient,
        terminal_service_client::TerminalServiceClient,
    },
    model::Verb,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    agent::{AgentProcess, serve_flags},
    binaries::binary,
    eventually::eventually,
    log::Log,
    pki::Pki,
};

/// The secret of every shim of the tests.
pub const SECRET: &str = "correct-horse-battery-staple";
/// Time that a shim has to end its tree before it is killed.
const STOP: Duration = Duration::from_secs(8);

/// A channel on which each call carries a token.
pub type Authorised = InterceptedService<Channel, Bearer>;

/// Puts a token into each call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// Carries `token`.
    pub fn new(token: &str) -> Self {
        Bearer(format!("Bearer {token}").parse().expect("a token is ASCII"))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A shim that serves. Ended, with everything below it, when dropped.
pub struct ShimProcess {
    child: Child,
    /// Its log.
    pub log: Log,
    /// Its container.
    pub name: String,
    /// Where it listens.
    pub socket: PathBuf,
}

impl ShimProcess {
    /// Starts the shim of container `name`, which runs `argv`, and waits until it listens.
    pub async fn start(folder: &Path, name: &str, argv: &[&str]) -> Self {
        let (command, socket) = shim_command(folder, name, argv);
        Self::spawned(command, name, socket).await
    }

    /// Waits until the shim that `command` starts listens.
    pub async fn spawned(mut command: Command, name: &str, socket: PathBuf) -> Self {
        let mut child = command.spawn().expect("the shim's binary starts");
        let mut log = Log::of(child.stderr.take().expect("stderr is piped"));
        log.line(|line| line["fields"]["message"] == "shim is ready").await;
        ShimProcess { child, log, name: name.to_owned(), socket }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it takes signals");
    }

    /// Waits for its end.
    pub async fn exited(&mut self) -> std::process::ExitStatus {
        let wait = tokio::time::timeout(crate::agent::PATIENCE, self.child.wait());
        wait.await.expect("the shim ends in time").expect("the shim is our child")
    }
}

impl Drop for ShimProcess {
    #[expect(clippy::disallowed_methods, reason = "a destructor cannot wait in any other way")]
    fn drop(&mut self) {
        let deadline = Instant::now() + STOP;
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
        }
        // Killed, it would leave behind what its children have forked away.
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The command of a shim of container `name`, and where it will listen.
pub fn shim_command(folder: &Path, name: &str, argv: &[&str]) -> (Command, PathBuf) {
    shim_with_grace(folder, name, 1, argv)
}

/// The same, with these seconds to end after SIGTERM.
pub fn shim_with_grace(folder: &Path, name: &str, grace: u64, argv: &[&str]) -> (Command, PathBuf) {
    let secret = folder.join("shim.secret");
    std::fs::write(&secret, SECRET).expect("the test's folder takes files");
    let socket = folder.join(format!("run-{name}")).join("shim.sock");
    let workspace = folder.join("workspace");
    std::fs::create_dir_all(&workspace).expect("the test's folder takes folders");
    let mut command = Command::new(binary("remora-agent"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.arg("shim").args(["--container", name, "--stop-grace", &grace.to_string()]);
    command.arg("--socket").arg(&socket).arg("--secret-file").arg(&secret).arg("--workdir").arg(&workspace);
    command.arg("--workspace").arg(&workspace);
    command.arg("--").args(argv);
    (command, socket)
}

/// Shims and an agent over one folder.
pub struct Pod {
    /// The agent; before the shims, so that it is dropped first.
    pub agent: AgentProcess,
    /// Its containers.
    pub shims: Vec<ShimProcess>,
    /// Who vouches for whom.
    pub pki: Pki,
    /// Where the agent serves files and the containers start.
    pub workspace: PathBuf,
    flags: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Pod {
    /// A pod with one container, `dev`.
    pub async fn start() -> Pod {
        Pod::with_containers(&["dev"]).await
    }

    /// A pod with these containers; the first is the default one.
    pub async fn with_containers(names: &[&str]) -> Pod {
        let folder = tempfile::tempdir().expect("the system has a place for temporary files");
        let mut shims = Vec::new();
        for name in names {
            shims.push(ShimProcess::start(folder.path(), name, &["sleep", "infinity"]).await);
        }
        Pod::around(folder, shims, &[]).await
    }

    /// An agent over the shims that run in `folder`, and over `others`: the
    /// names and sockets of what only claims to be a shim.
    pub async fn around(folder: tempfile::TempDir, shims: Vec<ShimProcess>, others: &[(String, PathBuf)]) -> Pod {
        let pki = Pki::new(folder.path());
        let workspace = folder.path().join("workspace");
        std::fs::create_dir_all(&workspace).expect("the test's folder takes folders");
        let secret = folder.path().join("shim.secret");
        std::fs::write(&secret, SECRET).expect("the test's folder takes files");
        let mut flags = serve_flags(&pki);
        let mut flag = |name: &str, value: String| flags.push((name.to_owned(), value));
        flag("--workspace", workspace.display().to_string());
        flag("--shim-secret-file", secret.display().to_string());
        let real = shims.iter().map(|shim| (&shim.name, &shim.socket));
        for (name, socket) in real.chain(others.iter().map(|(name, socket)| (name, socket))) {
            flag("--shim", format!("{name}={}", socket.display()));
        }
        let agent = AgentProcess::with_flags(&flags).await;
        Pod { agent, shims, pki, workspace, flags, folder }
    }

    /// Kills the agent and starts another one with the same flags.
    pub async fn restart_agent(&mut self) {
        self.agent.kill();
        self.agent.exited().await;
        self.agent = AgentProcess::with_flags(&self.flags).await;
    }

    /// Starts a shim of `name` anew after its process has ended.
    pub async fn start_shim(&mut self, name: &str) {
        self.shims.retain(|shim| shim.name != name);
        self.shims.push(ShimProcess::start(self.folder.path(), name, &["sleep", "infinity"]).await);
    }

    /// The folder that holds everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A channel that carries a token with every verb.
    pub async fn channel(&self) -> Authorised {
        self.channel_as(&self.pki.token(&self.pki.capability(Verb::ALL))).await
    }

    /// A channel that carries `token`.
    pub async fn channel_as(&self, token: &str) -> Authorised {
        InterceptedService::new(self.agent.channel(&self.pki).await, Bearer::new(token))
    }

    /// A client of TerminalService.
    pub async fn terminals(&self) -> TerminalServiceClient<Authorised> {
        TerminalServiceClient::new(self.channel().await)
    }

    /// A client of ExecService.
    pub async fn commands(&self) -> ExecServiceClient<Authorised> {
        ExecServiceClient::new(self.channel().await)
    }

    /// A client of AgentService.
    pub async fn status(&self) -> AgentServiceClient<Authorised> {
        AgentServiceClient::new(self.channel().await)
    }

    /// Waits for a file in the workspace and returns its text.
    pub async fn file(&self, name: &str) -> String {
        let path = self.workspace.join(name);
        eventually(|| std::fs::read_to_string(&path).ok().filter(|text| !text.is_empty())).await
    }
}
