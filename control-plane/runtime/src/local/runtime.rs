//! [`Local`]: this machine, as a place for pods.

use std::{collections::HashSet, io, path::Path, pin::pin, sync::Arc, time::UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{BoxStream, Stream},
};
use remora_proto_model::{
    Fault, ProjectId, Reason, errno_reason,
    project::{ContainerKind, Isolation, Layout, Orphan, OrphanKind, Orphans, validate_containers},
};
use tokio::{fs, io::AsyncWriteExt as _};

use super::{agent, layout::ProjectDir, pods::LocalPods};
use crate::{
    config::RuntimeConfig,
    identity::Identity,
    limits::MAX_SOURCE_BYTES,
    pods::{Pods, Runtime},
    records::{Boxed, Record, SOURCE_PREFIX},
};

/// See the module.
pub(crate) struct Local {
    pub(crate) config: RuntimeConfig,
    pub(crate) identity: Arc<Identity>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Local {
    fn folder(&self, record: &Record) -> ProjectDir {
        ProjectDir::of(&self.config.data_dir, record.project.id)
    }

    async fn keep(
        &self,
        record: &Record,
        file: &str,
        chunks: impl Stream<Item = Result<Bytes, Fault>>,
    ) -> Result<u64, Fault> {
        let folder = self.folder(record);
        folder.make().map_err(|error| failed(&error))?;
        let path = folder.path().join(file);
        let received = receive(&path, chunks).await;
        if received.is_err() {
            // Best effort: what stays goes with the project's folder.
            let _ = fs::remove_file(&path).await;
        }
        received
    }
}

/// A handle to this machine.
#[derive(Clone, Debug)]
pub(crate) struct LocalRuntime(pub(crate) Arc<Local>);

impl Runtime for LocalRuntime {
    fn name(&self) -> &'static str {
        "local"
    }

    fn pods(&self, record: &Record) -> Box<dyn Pods> {
        Box::new(LocalPods::new(Arc::clone(&self.0), record.project.id))
    }

    fn accepts(&self, record: &Record) -> Result<(), Fault> {
        let spec = &record.project.spec;
        if spec.isolation == Isolation::Shared {
            return Err(Fault::invalid("isolation", "is Shared, and a local server has no namespaces to share").hint(
                "leave it out here; on this machine projects are folders and processes of one user, whatever is said",
            ));
        }
        for container in &spec.containers {
            let name = &container.name;
            if container.kind == ContainerKind::Service {
                return Err(Fault::invalid("containers.kind", format!("of {name} is Service, which needs its image"))
                    .hint("a local server runs commands of its own machine: make it a Dev container with a command, or use a cluster"));
            }
            if container.command.is_empty() && !container.args.is_empty() {
                return Err(Fault::invalid("containers.args", format!("of {name} are for its image's entry point"))
                    .hint("a local server runs no images: give a command"));
            }
        }
        // In pods of their own they could have one port each; here they share the machine's.
        validate_containers(&spec.containers, Layout::SinglePod)
    }

    fn changes_in_place(&self, _: &Record) -> bool {
        false
    }

    fn shares_ports(&self) -> bool {
        true
    }

    fn strangers<'a>(&'a self, known: &'a HashSet<ProjectId>) -> Boxed<'a, Result<Orphans, Fault>> {
        Box::pin(async move {
            let orphans = strange_folders(&self.0.config.data_dir, known).map_err(|error| {
                let reason = error.raw_os_error().map_or(Reason::IoError, errno_reason);
                Fault::new(reason, format!("the folders of projects cannot be listed: {error}"))
            })?;
            Ok(Orphans { orphans, unseen: Vec::new() })
        })
    }

    fn agent_version(&self) -> Boxed<'_, Result<String, Fault>> {
        Box::pin(agent::version(&self.0.config.agent_binary))
    }

    fn put_source<'a>(
        &'a self,
        record: &'a Record,
        file: &'a str,
        chunks: BoxStream<'a, Result<Bytes, Fault>>,
    ) -> Boxed<'a, Result<u64, Fault>> {
        Box::pin(self.0.keep(record, file, chunks))
    }

    fn sweep_sources<'a>(&'a self, record: &'a Record, kept: Option<&'a str>) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move { sweep(&self.0.folder(record), kept).map_err(|error| failed(&error)) })
    }
}

/// The folders of projects that are not known.
fn strange_folders(data: &Path, known: &HashSet<ProjectId>) -> io::Result<Vec<Orphan>> {
    let entries = match std::fs::read_dir(data.join("projects")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut orphans = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let project = name.parse::<ProjectId>().ok();
        if project.is_some_and(|id| known.contains(&id)) {
            continue;
        }
        let made = entry.metadata().and_then(|metadata| metadata.created()).ok();
        let since = made.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        orphans.push(Orphan {
            kind: OrphanKind::Folder,
            namespace: String::new(),
            name: entry.path().display().to_string(),
            project_id: project.map(|id| id.to_string()).unwrap_or_default(),
            created_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0),
            ending: false,
        });
    }
    Ok(orphans)
}

/// Removes archives, and halves of archives, but for `kept`: those that a server
/// which was killed received, and those that a snapshot holds.
fn sweep(folder: &ProjectDir, kept: Option<&str>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_archive = name.as_encoded_bytes().starts_with(SOURCE_PREFIX.as_bytes());
        if is_archive && kept.is_none_or(|kept| name != kept) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

async fn receive(path: &Path, chunks: impl Stream<Item = Result<Bytes, Fault>>) -> Result<u64, Fault> {
    let mut chunks = pin!(chunks);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(|error| failed(&error))?;
    let mut bytes = 0_u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        if bytes > MAX_SOURCE_BYTES {
            return Err(too_large(MAX_SOURCE_BYTES));
        }
        file.write_all(&chunk).await.map_err(|error| failed(&error))?;
    }
    if bytes == 0 {
        return Err(empty());
    }
    file.flush().await.map_err(|error| failed(&error))?;
    file.sync_all().await.map_err(|error| failed(&error))?;
    Ok(bytes)
}

/// The archive is larger than any that is taken.
pub(crate) fn too_large(most: u64) -> Fault {
    Fault::new(Reason::TooLarge, format!("the archive has more than {most} bytes, which is the most"))
        .hint("leave out what can be made again, or copy the rest in afterwards")
}

/// There is no archive.
pub(crate) fn empty() -> Fault {
    Fault::new(Reason::ArchiveInvalid, "the archive has no bytes")
        .hint("send a tar, or create the project with an empty source")
}

fn failed(error: &io::Error) -> Fault {
    let fault = Fault::new(
        error.raw_os_error().map_or(Reason::IoError, errno_reason),
        format!("the archive cannot be kept in the data folder: {error}"),
    );
    error.raw_os_error().into_iter().fold(fault, Fault::errno)
}
