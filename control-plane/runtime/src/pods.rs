//! The contract between a project's driver, which acts on what the plan says, and
//! the place where its pod is: processes of this machine, or a pod of Kubernetes.

use std::{collections::HashSet, fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use remora_control_plane_project::Tree;
use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId,
    project::{Container, Endpoint, Orphans, PodState},
};
use serde::{Deserialize, Serialize};

use crate::{
    records::{Boxed, Record},
    store::Committed,
};

/// What a pod is made of, as it was when its generation began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Its containers.
    pub containers: Vec<Container>,
    /// What its snapshots leave out.
    pub exclude: Vec<String>,
}

/// The agent of a pod that can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Where.
    pub address: SocketAddr,
    /// Another one once the agent was started anew.
    pub incarnation: String,
}

/// What is there of a project.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Something of it runs or ends that is no part of the present pod.
    pub strays: bool,
    /// Parts of the pod that run.
    pub running: usize,
    /// Parts of it that do not and that have to be started.
    pub missing: usize,
    /// What runs is not what the spec says, and another `start` brings it there without
    /// an end of what has not changed.
    pub behind: bool,
    /// Its agent.
    pub serving: Option<Serving>,
    /// What it was made of.
    pub made: Option<Made>,
    /// Names of the containers that run.
    pub containers: Vec<String>,
    /// Names of those that are not ready: they have not begun, or their health is not good.
    pub unready: Vec<String>,
    /// How often each was started, where that is known.
    pub starts: Vec<(String, u32)>,
    /// What keeps it from getting ready, as far as it is known.
    pub trouble: Option<Fault>,
    /// How the restore ended that went on in the pod itself.
    pub hydrated: Option<Hydrated>,
    /// The pods themselves, where there are such things.
    pub pods: Vec<PodState>,
}

impl Look {
    /// Whether nothing of the project runs.
    pub fn is_empty(&self) -> bool {
        self.running == 0 && !self.strays
    }
}

/// A workspace that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hydrated {
    /// The snapshot that it is; `None` where it began empty.
    pub snapshot: Option<Committed>,
}

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hydration {
    /// The workspace is whole.
    Whole(Hydrated),
    /// It goes on in the pod, which serves only after it.
    InPod,
}

/// How a pod ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The last snapshot that its agent says it committed.
    pub committed: Option<Committed>,
    /// Why it committed none, in words, where that may have cost something.
    pub lost: Option<String>,
    /// What the working tree is now, unless the last snapshot is read back.
    pub tree: Tree,
}

/// The pods of one project. Its driver alone calls them, one call at a time; each
/// is safe to repeat after it was cut anywhere.
pub trait Pods: Send + Sync {
    /// Looks at what is known to run. An error says nothing about what is there.
    fn look<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>>;

    /// Looks for everything that may run.
    fn look_anew<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>>;

    /// Returns when there may be something new to see. Safe to drop.
    fn changed(&mut self) -> Boxed<'_, ()>;

    /// Longest time between two looks at a pod that runs.
    fn look_interval(&self) -> Duration;

    /// Longest time between two looks at a pod that is getting ready.
    fn start_interval(&self) -> Duration;

    /// How long processes are held after the snapshot that precedes their end;
    /// `None` where what they write meanwhile is committed later on.
    fn hold(&self) -> Option<Duration>;

    /// Whether the working tree ends with the pod, so that nothing can be stopped and kept.
    fn tree_ends_with_pod(&self, record: &Record) -> bool;

    /// Restores the head. Where this is dropped, `sweep` follows.
    fn hydrate<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<Hydration, Fault>>;

    /// Commits a tree that nothing writes to. Where this is dropped, `sweep` follows.
    fn dehydrate<'a>(
        &'a mut self,
        record: &'a Record,
        generation: Generation,
    ) -> Boxed<'a, Result<Option<Committed>, Fault>>;

    /// Starts what does not run of the pod, and where it is behind, brings it to its spec.
    fn start<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<(), Fault>>;

    /// Ends everything that is no part of the present pod, and sees it gone.
    fn sweep<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Ending, Fault>>;

    /// Ends the pod and sees it end: with SIGTERM and the grace, or at once.
    fn end<'a>(&'a mut self, record: &'a Record, gently: bool) -> Boxed<'a, Result<Ending, Fault>>;

    /// What became of the last word of a pod that ended is recorded: forgets it.
    fn bury<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>>;

    /// Removes the working tree.
    fn remove_tree<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>>;

    /// Removes everything else of the project but its record.
    fn forget<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>>;

    /// Removes the data of containers that are no part of the project any more.
    fn discard<'a>(&'a mut self, record: &'a Record, containers: &'a [ContainerName]) -> Boxed<'a, Result<(), Fault>>;

    /// The housekeeping of a pod that serves.
    fn tidy<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, ()>;

    /// Brings the ways in from outside to what the spec says. A pod that runs is not touched.
    fn route<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>>;

    /// What a container's command said last; empty where that is not known.
    fn last_words(&self, generation: Generation, container: &str) -> String;

    /// The namespace of what is made for the project; empty where there are none.
    fn namespace(&self) -> &str;

    /// Where the ports of a pod can be reached: from outside, then by each other.
    fn endpoints(&self, record: &Record, made: &Made) -> Vec<Endpoint>;
}

/// Where pods are.
pub trait Runtime: fmt::Debug + Send + Sync {
    /// A word for it.
    fn name(&self) -> &'static str;

    /// The pods of the project of `record`.
    fn pods(&self, record: &Record) -> Box<dyn Pods>;

    /// Checks what only this runtime can say of a spec. The error names the field.
    fn accepts(&self, record: &Record) -> Result<(), Fault>;

    /// Whether a change of containers needs no other generation of the project of `record`.
    fn changes_in_place(&self, record: &Record) -> bool;

    /// Whether all projects share one network, so that a port is one project's.
    fn shares_ports(&self) -> bool;

    /// What carries the marks of a project that is not among `known`. It may be of one that
    /// was made a moment ago.
    fn strangers<'a>(&'a self, known: &'a HashSet<ProjectId>) -> Boxed<'a, Result<Orphans, Fault>>;

    /// The version of the agent that a start would use.
    fn agent_version(&self) -> Boxed<'_, Result<String, Fault>>;

    /// Keeps the archive that a project starts from as `file`, whole or not at all; its length.
    fn put_source<'a>(
        &'a self,
        record: &'a Record,
        file: &'a str,
        chunks: BoxStream<'a, Result<Bytes, Fault>>,
    ) -> Boxed<'a, Result<u64, Fault>>;

    /// Removes every archive of the project, which [`SOURCE_PREFIX`](crate::records::SOURCE_PREFIX) tells, but `kept`.
    fn sweep_sources<'a>(&'a self, record: &'a Record, kept: Option<&'a str>) -> Boxed<'a, Result<(), Fault>>;
}
