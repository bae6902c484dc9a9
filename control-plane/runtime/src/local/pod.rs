//! One generation's pod: starting what does not run of it, and ending it.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use remora_proto_model::{
    Fault, Generation, ProjectId, Reason,
    project::{Container, Dependency, DependencyCondition, HealthCheck},
};
use rustix::process::Signal;
use serde::Deserialize;
use tokio::{
    process::{Child, Command},
    time::{Duration, Instant, sleep},
};
use uuid::Uuid;

use super::{
    environment::{self, Variables},
    layout::{ProjectDir, make_private, write_private},
    logs,
    once::snapshot_flags,
    process::{self, Found, POD_MARK, ROLE_MARK, kill_all, mark},
};
use crate::{
    config::RuntimeConfig,
    identity::{CLIENT_SAN, Identity},
    limits::{DRAIN_WITHIN, KILL_WITHIN, MAX_SOCKET_PATH, READY_WITHIN, STOP_GRACE},
    pods::Made,
};

/// The part of the agent: a name that no container can have.
pub(crate) const AGENT: &str = "_agent";
/// What a container runs that has no command of its own.
const IDLE: &[&str] = &["sleep", "infinity"];
/// Time between two looks for a ready file.
const LOOK: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Pod<'a> {
    pub(crate) config: &'a RuntimeConfig,
    pub(crate) project: ProjectId,
    pub(crate) generation: Generation,
}

/// What the agent says once it serves.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Serving {
    pub(crate) grpc: SocketAddr,
    pid: u32,
}

#[derive(Deserialize)]
struct Listening {
    pid: u32,
}

/// What the shim of `own` is told to wait for.
fn gates(own: &Container, all: &[Container], started: impl Fn(&str) -> PathBuf) -> Vec<String> {
    let gate = |dependency: &Dependency| {
        let name = &dependency.name;
        let target = all.iter().find(|container| container.name == *name)?;
        let check = match (dependency.condition, target.health_check()) {
            (DependencyCondition::Healthy, Some(HealthCheck::Http { port, path })) => {
                format!("http://127.0.0.1:{port}{path}")
            }
            (DependencyCondition::Healthy, Some(HealthCheck::Tcp(port) | HealthCheck::Server(_, port))) => {
                format!("tcp://127.0.0.1:{port}")
            }
            _ => format!("file://{}", started(name.as_str()).display()),
        };
        Some(format!("--wait-for={name}={check}"))
    };
    own.depends_on.iter().filter_map(gate).collect()
}

/// A process that was started: its part and the child.
pub(crate) type Started = (String, Child);

impl Pod<'_> {
    fn dir(&self) -> ProjectDir {
        ProjectDir::of(&self.config.data_dir, self.project)
    }

    /// What this generation was recorded to be made of; `None` where it never was.
    pub(crate) fn made(&self) -> Option<Made> {
        serde_json::from_slice(&std::fs::read(self.dir().pod(self.generation)).ok()?).ok()
    }

    /// Records what it is made of, and makes the identity of its agent, once.
    pub(crate) fn make(&self, made: &Made, identity: &Identity) -> Result<(), Fault> {
        let folder = self.dir().generation(self.generation);
        let failed = |error: io::Error| failed("the pod's folder", &error);
        make_private(&folder).map_err(failed)?;
        let pair = identity.agent(self.project, self.generation)?;
        for (name, content) in [
            ("agent.crt", pair.certificate),
            ("agent.key", pair.key),
            ("ca.crt", identity.ca_certificate().to_owned()),
            ("token.pub", STANDARD.encode(identity.token_key())),
            ("shim.secret", format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())),
        ] {
            write_private(&folder.join(name), content.as_bytes()).map_err(failed)?;
        }
        // Last: where it stands, everything else does.
        let text = serde_json::to_vec(made).map_err(|error| failed(error.into()))?;
        write_private(&self.dir().pod(self.generation), &text).map_err(failed)
    }

    /// Which parts of `found` are the pod's own processes that should run.
    pub(crate) fn parts(made: &Made) -> Vec<String> {
        let containers = made.containers.iter().map(|container| container.name.to_string());
        containers.chain([AGENT.to_owned()]).collect()
    }

    /// Whether `found` is the process of `part`.
    pub(crate) fn is_part(&self, found: &Found, part: &str) -> bool {
        found.ours && found.generation == self.generation && found.part == part
    }

    /// Starts every part that is not among `running`; those that were started.
    pub(crate) async fn start(&self, made: &Made, running: &[Found]) -> Result<Vec<Started>, Fault> {
        let runs = |part: &str| running.iter().any(|found| self.is_part(found, part));
        let mut started = Vec::new();
        for (at, container) in made.containers.iter().enumerate() {
            if !runs(container.name.as_str()) {
                started.push(self.start_shim(made, at, container).await?);
            }
        }
        if !runs(AGENT) {
            started.push(self.start_agent(made).await?);
        }
        Ok(started)
    }

    async fn start_shim(&self, made: &Made, at: usize, container: &Container) -> Result<Started, Fault> {
        let part = container.name.as_str();
        let dir = self.dir();
        // What a shim that was killed has left runs unwatched and may hold the container's ports.
        let leftovers = || {
            let all = process::of_project(dir.path());
            all.into_iter().filter(|found| found.part == part && found.generation == self.generation).collect()
        };
        kill_all(leftovers, KILL_WITHIN).await?;
        let socket = self.socket(at)?;
        let ready = self.ready_file(part);
        let log = dir.log(self.generation, part);
        let spill = socket.with_extension("spill");
        let command: Vec<String> = match container.command.as_slice() {
            [] => IDLE.iter().map(|word| (*word).to_owned()).collect(),
            command => command.iter().chain(&container.args).cloned().collect(),
        };
        let mut process = self.process(part, "shim", environment::container(container, &made.containers), &log)?;
        process
            .args(["--container", part])
            .arg("--socket")
            .arg(&socket)
            .arg("--secret-file")
            .arg(dir.generation(self.generation).join("shim.secret"))
            .arg("--workdir")
            .arg(dir.workspace().join(&container.workdir))
            .arg("--workspace")
            .arg(dir.workspace())
            .arg("--ready-file")
            .arg(&ready)
            .arg("--spill-dir")
            .arg(spill)
            .args(["--stop-grace", &STOP_GRACE.as_secs().to_string()])
            .arg("--started-file")
            .arg(self.started_file(part))
            .args(gates(container, &made.containers, |name| self.started_file(name)))
            .arg("--linger")
            .arg("--")
            .args(command);
        let child = self.spawn(process, &ready, &log, part, |bytes| {
            serde_json::from_slice(bytes).ok().map(|listening: Listening| listening.pid)
        });
        Ok((part.to_owned(), child.await?))
    }

    async fn start_agent(&self, made: &Made) -> Result<Started, Fault> {
        let dir = self.dir();
        let folder = dir.generation(self.generation);
        let ready = self.ready_file(AGENT);
        let log = dir.log(self.generation, AGENT);
        let mut process = self.process(AGENT, "serve", environment::agent(&self.config.store), &log)?;
        process
            .args(["--project", &self.project.to_string()])
            .args(["--generation", &self.generation.to_string()])
            .args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .args(["--client-san", CLIENT_SAN])
            .arg("--workspace")
            .arg(dir.workspace())
            .arg("--state-dir")
            .arg(dir.state())
            .arg("--ready-file")
            .arg(&ready)
            .arg("--shim-secret-file")
            .arg(folder.join("shim.secret"))
            .args(snapshot_flags(self.config, self.project, &made.exclude));
        for (at, container) in made.containers.iter().enumerate() {
            let mut shim = OsString::from(format!("{}=", container.name));
            shim.push(self.socket(at)?);
            process.arg("--shim").arg(shim);
        }
        for port in made.containers.iter().flat_map(|container| &container.ports) {
            process.args(["--port", &port.port.to_string()]);
        }
        for (flag, file) in [
            ("--tls-cert", "agent.crt"),
            ("--tls-key", "agent.key"),
            ("--client-ca", "ca.crt"),
            ("--token-key", "token.pub"),
        ] {
            process.arg(flag).arg(folder.join(file));
        }
        let child = self.spawn(process, &ready, &log, AGENT, |bytes| {
            serde_json::from_slice(bytes).ok().map(|serving: Serving| serving.pid)
        });
        Ok((AGENT.to_owned(), child.await?))
    }

    /// Where the agent serves, if what says so is the process that runs.
    pub(crate) fn serving(&self, running: &[Found]) -> Option<Serving> {
        let serving: Serving = serde_json::from_slice(&std::fs::read(self.ready_file(AGENT)).ok()?).ok()?;
        let identity = process::Identity::of(serving.pid)?;
        running.iter().any(|found| self.is_part(found, AGENT) && found.identity == identity).then_some(serving)
    }

    /// Ends it: the containers get SIGTERM and their grace, the agent finishes its
    /// calls, and what is left is killed. Returns when nothing of the project runs.
    pub(crate) async fn stop(&self, gently: bool) -> Result<(), Fault> {
        let dir = self.dir();
        if gently {
            let all = process::of_project(dir.path());
            let (agents, shims): (Vec<&Found>, Vec<&Found>) =
                all.iter().filter(|found| found.ours).partition(|found| found.part == AGENT);
            let ask = async |found: &[&Found], within: Duration| {
                let identities: Vec<_> = found.iter().map(|found| found.identity).collect();
                for identity in &identities {
                    identity.signal(Signal::TERM);
                    identity.signal(Signal::CONT);
                }
                process::gone(&identities, within).await
            };
            // The agent first and beside: from here on it takes no call that could be acknowledged.
            tokio::join!(ask(&agents, DRAIN_WITHIN), ask(&shims, STOP_GRACE + KILL_WITHIN));
        }
        kill_all(|| process::of_project(dir.path()), KILL_WITHIN).await
    }

    fn socket(&self, at: usize) -> Result<PathBuf, Fault> {
        let path = self.dir().sockets(self.generation).join(at.to_string());
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            return Err(Fault::new(
                Reason::FailedPrecondition,
                format!("the socket {} has {length} bytes; the system takes {MAX_SOCKET_PATH}", path.display()),
            )
            .hint("give a data folder with a shorter path"));
        }
        Ok(path)
    }

    fn started_file(&self, part: &str) -> PathBuf {
        self.dir().generation(self.generation).join(format!("{part}.started"))
    }

    fn ready_file(&self, part: &str) -> PathBuf {
        self.dir().generation(self.generation).join(format!("{part}.ready"))
    }

    fn process(&self, part: &str, role: &str, variables: Variables, log: &Path) -> Result<Command, Fault> {
        let failed = |error: io::Error| failed(&format!("the log of {part}"), &error);
        let log = logs::append(log).map_err(failed)?;
        let mut command = Command::new(&self.config.agent_binary);
        command
            .arg(role)
            .env_clear()
            .envs(variables)
            .env(POD_MARK, mark(self.dir().path(), self.generation, part))
            .env(ROLE_MARK, role)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0);
        Ok(command)
    }

    /// Starts it and waits until its own ready file is there.
    async fn spawn(
        &self,
        mut command: Command,
        ready: &Path,
        log: &Path,
        part: &str,
        pid_in: impl Fn(&[u8]) -> Option<u32>,
    ) -> Result<Child, Fault> {
        let _ = std::fs::remove_file(ready);
        let mut child = command.spawn().map_err(|error| failed(part, &error))?;
        let own = child.id();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(bytes) = std::fs::read(ready)
                && pid_in(&bytes) == own
            {
                return Ok(child);
            }
            let ended = child.try_wait().map_err(|error| failed(part, &error))?;
            if ended.is_none() && Instant::now() < deadline {
                sleep(LOOK).await;
                continue;
            }
            let how = ended.map_or_else(|| "does not get ready".to_owned(), |status| format!("ended with {status}"));
            let _ = child.kill().await;
            let words = logs::last_words(log);
            return Err(Fault::new(Reason::ContainerUnavailable, format!("{part} {how}: {words}")).stage("start"));
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Fault {
    let reason = error.raw_os_error().map_or(Reason::IoError, remora_proto_model::errno_reason);
    Fault::new(reason, format!("{what}: {error}")).stage("start")
}
