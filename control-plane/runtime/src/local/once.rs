//! Roles of the agent that run to their end: `hydrate` and `dehydrate`.

use std::{path::Path, process::Stdio};

use remora_proto_model::{Fault, Generation, ProjectId, Reason};
use tokio::{fs, process::Command};

use super::{
    environment,
    layout::{ProjectDir, make_private},
    logs,
    process::{POD_MARK, ROLE_MARK, mark},
};
use crate::{config::RuntimeConfig, store::Committed, termination::Termination};

/// Which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Hydrate,
    Dehydrate,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Role::Hydrate => "hydrate",
            Role::Dehydrate => "dehydrate",
        }
    }
}

/// What a role needs to know.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a RuntimeConfig,
    pub(crate) project: ProjectId,
    pub(crate) generation: Generation,
    pub(crate) exclude: &'a [String],
    pub(crate) seed: Option<&'a Path>,
}

/// Runs it to its end; the snapshot that the tree is now, where there is one.
/// Killed where this is dropped.
pub(crate) async fn run(job: &Job<'_>, role: Role) -> Result<Option<Committed>, Fault> {
    let dir = ProjectDir::of(&job.config.data_dir, job.project);
    let name = role.as_str();
    let folder = dir.generation(job.generation);
    let failed =
        |error: std::io::Error| Fault::new(Reason::IoError, format!("{name} cannot be run: {error}")).stage(name);
    for folder in [&folder, &dir.workspace(), &dir.state()] {
        make_private(folder).map_err(failed)?;
    }
    let message = folder.join(format!("{name}.json"));
    match fs::remove_file(&message).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let path = dir.log(job.generation, name);
    let log = logs::append(&path).map_err(failed)?;
    let mut command = Command::new(&job.config.agent_binary);
    command
        .arg(name)
        .args(["--project", &job.project.to_string()])
        .args(["--generation", &job.generation.to_string()])
        .arg("--workspace")
        .arg(dir.workspace())
        .arg("--state-dir")
        .arg(dir.state())
        .arg("--termination-message")
        .arg(&message)
        .args(snapshot_flags(job.config, job.project, job.exclude));
    if let Some(seed) = job.seed {
        command.arg("--seed").arg(seed);
    }
    command
        .env_clear()
        .envs(environment::agent(&job.config.store))
        .env(POD_MARK, mark(dir.path(), job.generation, name))
        .env(ROLE_MARK, name)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true);
    let status = command.spawn().map_err(failed)?.wait().await.map_err(failed)?;
    let said = fs::read(&message).await.ok().and_then(|bytes| Termination::of(&bytes));
    match said {
        Some(said) if status.success() => said.committed(),
        Some(said) => Err(said.fault(name)),
        None => {
            let words = logs::last_words(&path);
            Err(Fault::new(Reason::Unavailable, format!("{name} ended with {status}: {words}")).stage(name))
        }
    }
}

/// The flags that say where snapshots go; the credentials are in the environment.
pub(crate) fn snapshot_flags(config: &RuntimeConfig, project: ProjectId, exclude: &[String]) -> Vec<String> {
    let store = &config.store;
    let mut flags = vec![
        "--s3-bucket".to_owned(),
        store.bucket.clone(),
        "--s3-region".to_owned(),
        store.region.clone(),
        "--s3-prefix".to_owned(),
        crate::store::lineage_prefix(&store.prefix, project),
    ];
    if let Some(endpoint) = &store.endpoint {
        flags.extend(["--s3-endpoint".to_owned(), endpoint.clone()]);
    }
    if store.path_style {
        flags.push("--s3-path-style".to_owned());
    }
    if let Some(file) = &config.encryption_key_file {
        flags.extend(["--encryption-key-file".to_owned(), file.display().to_string()]);
    }
    for pattern in exclude {
        flags.push(format!("--exclude={pattern}"));
    }
    flags
}
