//! One pod from its first init container to its last word: as the user 1000 without any
//! capability, over volumes whose roots belong to root.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use remora_proto::agent::v1::{CommandSpec, RunRequest, command_spec::Program, exec_service_client::ExecServiceClient};
use remora_tests::{
    agent::{PATIENCE, dial, serve_flags},
    eventually::eventually_told,
    log::Log,
    pod::Bearer,
    seaweed::{ACCESS_KEY, SECRET_KEY},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{mode_and_owner, probe};
use crate::snapshot_project::Project;

/// The user of the pod's containers.
const USER: u32 = 1_000;

/// Volumes, and how containers are started over them.
struct Pod {
    project: Project,
    volumes: tempfile::TempDir,
}

impl Pod {
    fn new() -> Pod {
        let (project, volumes) = (Project::new(), tempfile::tempdir().unwrap());
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        // A container sees no folders above its volumes.
        open(project.folder.path(), 0o755);
        open(volumes.path(), 0o755);
        for volume in ["volume", "bin", "run"] {
            let path = volumes.path().join(volume);
            fs::create_dir(&path).unwrap();
            // As the kubelet leaves it for fsGroup 1000.
            open(&path, 0o2777);
        }
        Pod { project, volumes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volumes.path().join(name)
    }

    /// A container's process with the rights of Pod Security `restricted`.
    fn container(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            let user = USER.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--groups", &user]);
            command.args(["--inh-caps=-all", "--bounding-set=-all"]);
        }
        command.arg("--no-new-privs").arg(program).args(args).current_dir("/").env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// What every role is told of the volume and the store.
    fn volume(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for (flag, value) in self.project.flags() {
            let value = match flag.as_str() {
                "--workspace" => self.path("volume/tree").display().to_string(),
                "--state-dir" => self.path("volume/state").display().to_string(),
                _ => value,
            };
            flags.push(flag);
            flags.extend((!value.is_empty()).then_some(value));
        }
        flags
    }

    async fn init(&self, program: &Path, args: &[&str]) {
        let output = self.container(program, args).output().await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_from_its_init_containers_to_its_last_word() {
    let pod = Pod::new();
    pod.project.store().await;
    // The image's own binary, which everybody may run.
    let image = pod.path("image-agent");
    fs::copy(remora_tests::binaries::binary("remora-agent"), &image).unwrap();
    let (agent, secret) = (pod.path("bin/remora-agent"), pod.path("run/shim.secret"));
    let installing = ["install", "--to", agent.to_str().unwrap(), "--secret-file", secret.to_str().unwrap()];
    pod.init(&image, &installing).await;
    let project = pod.project.pki.project.to_string();
    let volume = pod.volume();
    let volume: Vec<&str> = volume.iter().map(String::as_str).collect();
    let hydrate = [&["hydrate", "--project", &project, "--generation", "3"][..], &volume].concat();
    pod.init(&image, &hydrate).await;
    if rustix::process::geteuid().is_root() {
        assert_eq!(mode_and_owner(&pod.path("volume/tree")), (0o755, USER));
        assert_eq!(mode_and_owner(&pod.path("volume/state")), (0o700, USER));
    }

    let message = pod.path("run/termination-log");
    let socket = pod.path("run/dev.sock");
    let shim = format!("dev={}", socket.display());
    let mut flags = Vec::new();
    for (flag, value) in serve_flags(&pod.project.pki) {
        let value = if flag == "--metrics-listen" { "0.0.0.0:0".to_owned() } else { value };
        flags.extend([flag, value]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let serve = [
        &["serve"][..],
        &flags,
        &volume,
        &["--shim", &shim, "--shim-secret-file", secret.to_str().unwrap(), "--final-snapshot", "--flush-budget", "20"],
        &["--termination-message", message.to_str().unwrap()],
    ]
    .concat();
    let mut sidecar = pod.container(&image, &serve).spawn().unwrap();
    let mut log = Log::of(sidecar.stderr.take().unwrap());
    let serving = log.line(|line| line["fields"]["message"] == "serving").await;
    let address = |name: &str| serving["fields"][name].as_str().unwrap().parse::<std::net::SocketAddr>().unwrap();
    let metrics = address("metrics");
    assert!(metrics.ip().is_unspecified());
    let metrics = ([127, 0, 0, 1], metrics.port()).into();
    assert_eq!(probe(metrics, "/readyz").await.0, 503);

    let tree = pod.path("volume/tree");
    let script = "trap 'echo bye > last; exit 0' TERM; echo hello > first; while :; do sleep 0.02; done";
    let main = [
        &["shim", "--container", "dev", "--socket", socket.to_str().unwrap()][..],
        &["--secret-file", secret.to_str().unwrap(), "--workdir", tree.to_str().unwrap()],
        &["--stop-grace", "5", "--linger", "--", "sh", "-c", script],
    ]
    .concat();
    let mut dev = pod.container(&agent, &main).spawn().unwrap();
    let mut dev_log = Log::of(dev.stderr.take().unwrap());
    dev_log.line(|line| line["fields"]["message"] == "shim is ready").await;
    eventually_told(async || (probe(metrics, "/readyz").await.0 == 200).then_some(())).await;

    let pki = &pod.project.pki;
    let token = pki.token(&pki.capability(remora_proto::model::Verb::ALL));
    let channel = dial(address("grpc"), pki).await;
    let mut commands = ExecServiceClient::with_interceptor(channel, Bearer::new(&token));
    let line = "cat first && id -u && touch by-exec";
    let command = CommandSpec { program: Some(Program::Shell(line.to_owned())), ..CommandSpec::default() };
    let ran = commands.run(RunRequest { command: Some(command), ..RunRequest::default() }).await.unwrap().into_inner();
    let printed = ran.stdout.unwrap().head;
    assert!(printed.starts_with("hello\n"), "{printed:?}");

    // The pod is deleted: the dev container is asked first, the sidecar once it has ended.
    terminate(&dev);
    assert_eq!(timeout(PATIENCE, dev.wait()).await.unwrap().unwrap().code(), Some(0));
    terminate(&sidecar);
    assert_eq!(timeout(PATIENCE, sidecar.wait()).await.unwrap().unwrap().code(), Some(0));
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&message).unwrap()).unwrap();
    assert_eq!(told["outcome"].as_str(), Some("committed"), "{told}");

    // The next pod, on a fresh volume.
    let next = Project::at(pod.project.prefix(), None);
    assert_eq!(next.run("hydrate", 4, &[]).await.code, Some(0));
    assert_eq!(fs::read_to_string(next.workspace().join("last")).unwrap(), "bye\n");

    // And the same pod again after its node was restarted: its volumes are still there.
    let before = fs::read(&secret).unwrap();
    pod.init(&image, &installing).await;
    assert_eq!(fs::read(&secret).unwrap(), before);
}
