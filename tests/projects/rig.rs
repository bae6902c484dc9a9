//! A data folder with what drives it, and what a test waits for.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use remora_control_plane_runtime::{Projects, RuntimeConfig, Shutdown, StoreCredentials, StoreEndpoint};
use remora_proto_model::{
    ProjectId,
    project::{Condition, ConditionType, Container, Desired, Phase, Project, ProjectSpec},
};
use remora_proto_process::{all, environments, variables};
use remora_tests::{
    binaries::binary,
    s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY, fresh_prefix},
    seaweed::seaweed,
};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longest wait for a project: two snapshots and a start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Counts for ever, each number first whole and then in its place, on from where it was.
const COUNTER: &str = "n=$(cat n 2>/dev/null || echo 0)
while :; do n=$((n+1)); echo $n >n.new; mv n.new n; sleep 0.02; done";

/// See the module. Everything that runs ends with it.
pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) store: StoreEndpoint,
    pub(crate) projects: Projects,
    tune: fn(&mut RuntimeConfig),
}

impl Rig {
    pub(crate) async fn new() -> Rig {
        Self::with(|_| {}).await
    }

    /// A rig with settings that `tune` changes.
    pub(crate) async fn with(tune: fn(&mut RuntimeConfig)) -> Rig {
        let prefix = fresh_prefix();
        // Answers once the bucket does.
        seaweed().store(&prefix).await.unwrap().list("", None).await.unwrap();
        Self::made(endpoint(&seaweed().endpoint, &prefix), tune).await
    }

    /// A rig on a store of `server`.
    pub(crate) async fn on(server: &S3Server) -> Rig {
        let prefix = fresh_prefix();
        server.store(&prefix).await.unwrap().list("", None).await.unwrap();
        Self::over(endpoint(&server.endpoint, &prefix)).await
    }

    pub(crate) async fn over(store: StoreEndpoint) -> Rig {
        Self::made(store, |_| {}).await
    }

    async fn made(store: StoreEndpoint, tune: fn(&mut RuntimeConfig)) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let projects = open_tuned(&folder.path().join("data"), &store, tune).await;
        Rig { folder, store, projects, tune }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn dir(&self, id: ProjectId) -> PathBuf {
        self.data().join("projects").join(id.to_string())
    }

    pub(crate) fn workspace(&self, id: ProjectId) -> PathBuf {
        self.dir(id).join("workspace")
    }

    /// A project that counts, once it is ready.
    pub(crate) async fn counter(&self) -> Project {
        self.runs(COUNTER).await
    }

    /// A project that runs `script`, once it is ready.
    pub(crate) async fn runs(&self, script: &str) -> Project {
        let spec = ProjectSpec { containers: vec![shell(script)], ..ProjectSpec::default() };
        let project = self.projects.create("counter".parse().unwrap(), spec).await.unwrap();
        self.reaches(project.id, Phase::Ready).await
    }

    /// The project once it is in `phase`.
    pub(crate) async fn reaches(&self, id: ProjectId, phase: Phase) -> Project {
        self.becomes(id, |project| project.status.phase == phase).await
    }

    /// The project once it is as `wanted`.
    pub(crate) async fn becomes(&self, id: ProjectId, wanted: impl Fn(&Project) -> bool) -> Project {
        let (_, mut changes) = self.projects.watch();
        let waiting = async {
            loop {
                if let Ok(project) = self.projects.get(id)
                    && wanted(&project)
                {
                    return project;
                }
                // What is wanted may be no change of the record, so it is looked for between two.
                let _ = timeout(LOOK, changes.recv()).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(project) => project,
            Err(_) => panic!("the project stays {:#?}\n{}", self.projects.get(id), self.logs(id)),
        }
    }

    /// The project after `desired` was asked for and `phase` was reached.
    pub(crate) async fn wants(&self, id: ProjectId, desired: Desired, phase: Phase) -> Project {
        self.projects.set_desired(id, desired).await.unwrap();
        self.reaches(id, phase).await
    }

    /// What the counter has written.
    pub(crate) fn count(&self, id: ProjectId) -> u64 {
        let text = fs::read_to_string(self.workspace(id).join("n")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Ends this server, as SIGTERM does, and opens the folder again.
    pub(crate) async fn reopen(&mut self) {
        self.reopen_after(|_| {}).await;
    }

    /// Lets `between` have the folder before that.
    pub(crate) async fn reopen_after(&mut self, between: impl FnOnce(&Rig)) {
        self.projects.shutdown(Shutdown::LeaveRunning).await;
        let elsewhere = tempfile::tempdir().unwrap();
        // The lock goes with the last of the old one.
        self.projects = open(&elsewhere.path().join("data"), &self.store).await;
        between(self);
        self.projects = open_tuned(&self.data(), &self.store, self.tune).await;
    }

    /// Keys of every object that is left below the prefix of this rig.
    pub(crate) async fn objects(&self) -> Vec<String> {
        self.objects_on(seaweed()).await
    }

    /// The same of a rig on a store of `server`.
    pub(crate) async fn objects_on(&self, server: &S3Server) -> Vec<String> {
        let store = server.store(&self.store.prefix).await.unwrap();
        let page = store.list("", None).await.unwrap();
        page.objects.into_iter().map(|object| object.key).collect()
    }

    fn logs(&self, id: ProjectId) -> String {
        let mut text = String::new();
        for generation in fs::read_dir(self.dir(id).join("generations")).into_iter().flatten().flatten() {
            for file in fs::read_dir(generation.path()).into_iter().flatten().flatten() {
                if file.path().extension().is_some_and(|end| end == "log") {
                    let log = fs::read_to_string(file.path()).unwrap_or_default();
                    text += &format!("== {}\n{log}\n", file.path().display());
                }
            }
        }
        text
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // First the drivers: they would start again what is killed here.
        let shutdown = self.projects.shutdown(Shutdown::LeaveRunning);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(shutdown));
        for pid in processes(self.folder.path()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // One that has ended meanwhile is what is wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A container that counts.
pub(crate) fn counter() -> Container {
    shell(COUNTER)
}

/// A container that runs `script`.
pub(crate) fn shell(script: &str) -> Container {
    Container { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Container::named("web".parse().unwrap()) }
}

pub(crate) fn endpoint(url: &str, prefix: &str) -> StoreEndpoint {
    StoreEndpoint {
        endpoint: Some(url.to_owned()),
        public_endpoint: None,
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        path_style: true,
        credentials: StoreCredentials::Keys { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() },
        prefix: prefix.to_owned(),
    }
}

pub(crate) async fn open(data: &Path, store: &StoreEndpoint) -> Projects {
    open_tuned(data, store, |_| {}).await
}

async fn open_tuned(data: &Path, store: &StoreEndpoint, tune: fn(&mut RuntimeConfig)) -> Projects {
    let mut config = RuntimeConfig::new(data.to_owned(), binary("remora-agent"), store.clone());
    tune(&mut config);
    Projects::open(config).await.unwrap().0
}

/// kill -9.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A condition of a project, where it holds.
pub(crate) fn condition(project: &Project, kind: ConditionType) -> Option<&Condition> {
    project.status.conditions.iter().find(|condition| condition.kind == kind && condition.status)
}

/// Living processes whose environment names `folder`: everything that a pod in it started.
pub(crate) fn processes(folder: &Path) -> Vec<i32> {
    marked(folder, |_| true)
}

/// The process of a role, for example `serve`.
pub(crate) fn process_of(folder: &Path, role: &str) -> Vec<i32> {
    let wanted = format!("REMORA_POD_ROLE={role}");
    marked(folder, |environment| variables(environment).any(|variable| variable == wanted.as_bytes()))
}

fn marked(folder: &Path, also: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let wanted = format!("REMORA_POD={}", folder.display());
    let mut found = Vec::new();
    environments(&all(), |stat, environment| {
        if variables(environment).any(|variable| variable.starts_with(wanted.as_bytes())) && also(environment) {
            found.push(stat.identity.pid);
        }
    });
    found
}
