//! One project's processes on this machine, as its driver sees them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use remora_control_plane_project::Tree;
use remora_proto_model::{ContainerName, Fault, Generation, ProjectId, project::Endpoint};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    Local, environment,
    layout::{ProjectDir, make_private, remove_all},
    logs,
    once::{self, Job, Role},
    pod::{AGENT, Pod},
    process::{self, Found, kill_all},
};
use crate::{
    limits::{KEPT_GENERATIONS, KILL_WITHIN, LOOK_INTERVAL, START_LOOK},
    pods::{Ending, Hydrated, Hydration, Look, Made, Pods, Serving},
    records::{Boxed, Record},
    store::Committed,
};

/// See the module.
pub(crate) struct LocalPods {
    local: Arc<Local>,
    project: ProjectId,
    dir: ProjectDir,
    /// What runs, as last seen.
    found: Vec<Found>,
    /// What the pod of a generation was made of.
    made: Option<(Generation, Made)>,
    /// How often each part was started in this generation.
    starts: Vec<(String, u32)>,
    ended: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl LocalPods {
    pub(crate) fn new(local: Arc<Local>, project: ProjectId) -> LocalPods {
        let dir = ProjectDir::of(&local.config.data_dir, project);
        let found = process::of_project(dir.path());
        LocalPods { local, project, dir, found, made: None, starts: Vec::new(), ended: mpsc::channel(1) }
    }

    fn pod(&self, generation: Generation) -> Pod<'_> {
        Pod { config: &self.local.config, project: self.project, generation }
    }

    /// Looks for all of it, and not only for what was there.
    fn find(&mut self) {
        self.found = process::of_project(self.dir.path());
    }

    fn made(&mut self, generation: Generation) -> Option<Made> {
        if self.made.as_ref().is_none_or(|(of, _)| *of != generation) {
            self.made = self.pod(generation).made().map(|made| (generation, made));
            self.starts.clear();
        }
        self.made.as_ref().map(|(_, made)| made.clone())
    }

    fn seen(&mut self, record: &Record) -> Look {
        let generation = record.project.status.generation;
        self.found.retain(|found| found.identity.lives());
        let made = self.made(generation);
        let pod = self.pod(generation);
        let parts = made.as_ref().map(Pod::parts).unwrap_or_default();
        let runs = |part: &str| self.found.iter().any(|found| pod.is_part(found, part));
        let running = parts.iter().filter(|part| runs(part)).count();
        let stray = |found: &Found| {
            found.generation != generation
                || (found.ours && !parts.iter().any(|part| pod.is_part(found, part)))
                || (!found.ours && running == 0)
        };
        let agent = self.found.iter().find(|found| pod.is_part(found, AGENT));
        let serving = agent.zip(pod.serving(&self.found)).map(|(process, serving)| Serving {
            address: serving.grpc,
            incarnation: format!("{:?}", process.identity),
        });
        Look {
            strays: self.found.iter().any(stray),
            running,
            missing: if running == 0 { 0 } else { parts.len() - running },
            serving,
            containers: parts.iter().filter(|part| runs(part)).cloned().collect(),
            made: made.filter(|_| !self.found.is_empty()),
            starts: self.starts.clone(),
            ..Look::default()
        }
    }

    async fn kill(&mut self) -> Result<(), Fault> {
        let folder = self.dir.path().to_owned();
        let killed = kill_all(|| process::of_project(&folder), KILL_WITHIN).await;
        self.find();
        killed
    }

    async fn run(
        &self,
        record: &Record,
        generation: Generation,
        role: Role,
        seed: Option<PathBuf>,
    ) -> Result<Option<Committed>, Fault> {
        let job = Job {
            config: &self.local.config,
            project: self.project,
            generation,
            exclude: &record.project.spec.snapshots.exclude,
            seed: seed.as_deref(),
        };
        once::run(&job, role).await
    }

    async fn start_pod(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        let first = self.found.is_empty();
        let made = match self.made(generation) {
            Some(made) => made,
            None => {
                let made = Made {
                    containers: record.project.spec.containers.clone(),
                    exclude: record.project.spec.snapshots.exclude.clone(),
                };
                make_private(&self.dir.workspace()).map_err(|error| on_disk("make the workspace", &error))?;
                self.pod(generation).make(&made, &self.local.identity)?;
                self.made = Some((generation, made.clone()));
                made
            }
        };
        for (part, mut child) in self.pod(generation).start(&made, &self.found).await? {
            match self.starts.iter_mut().find(|(known, _)| *known == part) {
                Some((_, count)) => *count += 1,
                None => self.starts.push((part, 1)),
            }
            let ended = self.ended.0.clone();
            // Only reaps it and wakes the driver; ends with the process.
            tokio::spawn(async move {
                let _ = child.wait().await;
                let _ = ended.try_send(());
            });
        }
        self.find();
        if first && let Err(error) = self.dir.sweep(generation, KEPT_GENERATIONS) {
            warn!(%error, "folders of past generations stay");
        }
        Ok(())
    }

    async fn stop(&mut self, generation: Generation, gently: bool) -> Result<(), Fault> {
        let ended = self.pod(generation).stop(gently).await;
        self.find();
        ended?;
        // Its sockets are nobody's now.
        let _ = remove_all(&self.dir.sockets(generation));
        self.made = None;
        Ok(())
    }
}

impl Pods for LocalPods {
    fn look<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>> {
        Box::pin(async { Ok(self.seen(record)) })
    }

    fn look_anew<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>> {
        Box::pin(async {
            self.find();
            Ok(self.seen(record))
        })
    }

    fn changed(&mut self) -> Boxed<'_, ()> {
        Box::pin(async {
            self.ended.1.recv().await;
        })
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn start_interval(&self) -> Duration {
        START_LOOK
    }

    fn hold(&self) -> Option<Duration> {
        None
    }

    fn tree_ends_with_pod(&self, _: &Record) -> bool {
        false
    }

    fn hydrate<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<Hydration, Fault>> {
        Box::pin(async move {
            let seed = record.source.as_ref().map(|source| self.dir.path().join(&source.file));
            let snapshot = self.run(record, generation, Role::Hydrate, seed).await?;
            Ok(Hydration::Whole(Hydrated { snapshot }))
        })
    }

    fn dehydrate<'a>(
        &'a mut self,
        record: &'a Record,
        generation: Generation,
    ) -> Boxed<'a, Result<Option<Committed>, Fault>> {
        Box::pin(self.run(record, generation, Role::Dehydrate, None))
    }

    fn start<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(self.start_pod(record, generation))
    }

    fn sweep<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Ending, Fault>> {
        Box::pin(async {
            self.kill().await?;
            Ok(Ending { tree: record.tree, ..Ending::default() })
        })
    }

    fn end<'a>(&'a mut self, record: &'a Record, gently: bool) -> Boxed<'a, Result<Ending, Fault>> {
        Box::pin(async move {
            self.stop(record.project.status.generation, gently).await?;
            // What was written last is in the tree, which is committed after this.
            Ok(Ending { tree: Tree::Kept, ..Ending::default() })
        })
    }

    fn bury<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_tree<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        let (workspace, state) = (self.dir.workspace(), self.dir.state());
        Box::pin(on_disk_apart("remove the working tree", move || {
            remove_all(&workspace)?;
            remove_all(&state)
        }))
    }

    fn forget<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        let folder = self.dir.path().to_owned();
        Box::pin(on_disk_apart("remove the project's folder", move || remove_all(&folder)))
    }

    fn discard<'a>(&'a mut self, _: &'a Record, _: &'a [ContainerName]) -> Boxed<'a, Result<(), Fault>> {
        // Whatever runs here works in the workspace and has no data beside it.
        Box::pin(async { Ok(()) })
    }

    fn route<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        // Ports of this machine are reached as they are.
        Box::pin(async { Ok(()) })
    }

    fn tidy<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, ()> {
        Box::pin(async {
            let generation = record.project.status.generation;
            let parts = self.made(generation).as_ref().map(Pod::parts).unwrap_or_default();
            for part in parts {
                if let Err(error) = logs::bound(&self.dir.log(generation, &part)) {
                    warn!(%error, part, "a log cannot be cut");
                }
            }
        })
    }

    fn last_words(&self, generation: Generation, container: &str) -> String {
        logs::last_words_of_command(&self.dir.log(generation, container))
    }

    fn namespace(&self) -> &str {
        ""
    }

    fn endpoints(&self, _: &Record, made: &Made) -> Vec<Endpoint> {
        environment::endpoints(&made.containers)
    }
}

async fn on_disk_apart(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), Fault> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| on_disk(what, &error))
}

fn on_disk(what: &str, error: &std::io::Error) -> Fault {
    let reason = error.raw_os_error().map_or(remora_proto_model::Reason::IoError, remora_proto_model::errno_reason);
    Fault::new(reason, format!("cannot {what}: {error}")).stage("disk")
}
