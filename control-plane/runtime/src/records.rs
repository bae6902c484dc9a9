//! What is kept of a project, and the contract of whoever keeps it: the embedded
//! store of the local runtime, or the custom resources of a cluster.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use futures_util::stream::BoxStream;
use remora_control_plane_project::Tree;
use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId, ProjectName,
    project::{Desired, Project, Source},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A project as it is kept: its public face and how far its sagas are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What callers see.
    pub project: Project,
    /// The `resource_version` of the last change of the spec.
    pub spec_version: u64,
    /// What the working tree is where no pod has it.
    pub tree: Tree,
    /// The generation whose processes are to end: decided, and not yet seen done.
    pub condemned: Option<Generation>,
    /// The archive that it starts from, once that is here whole.
    pub source: Option<SourceFile>,
    /// Its end was asked for.
    pub deletion: Option<Deletion>,
    /// Counts calls that ask for what is wanted already: an attempt that failed is made
    /// again at once. Kept, because the server that is asked may not be the one that acts.
    #[serde(default)]
    pub asked: u64,
    /// What a pod that ended without a last snapshot took with it, in words.
    #[serde(default)]
    pub lost: Option<String>,
    /// Why the spec that somebody wrote beside us is not gone by, in words: the last
    /// one that could be read is.
    #[serde(default)]
    pub refused: Option<String>,
    /// The generation that is to end and to be followed by another one, because its
    /// containers are to be others: decided by whoever changed them, and not yet seen done.
    #[serde(default)]
    pub replace: Option<Generation>,
    /// Containers that were removed together with their data, which may still be there.
    #[serde(default)]
    pub discard: Vec<ContainerName>,
    /// The generation whose end is wanted because nobody used it: use that shows before
    /// its processes are condemned calls it off.
    #[serde(default)]
    pub idled: Option<Generation>,
    /// Where its agent serves, for those who do not drive it: IP and port.
    #[serde(default)]
    pub agent: Option<std::net::SocketAddr>,
}

/// What the names of archives begin with.
pub const SOURCE_PREFIX: &str = "source-";

/// An archive that was brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceFile {
    /// Its name: of a file in the project's folder, or of an object below the lineage's prefix.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

impl SourceFile {
    /// A name that no other archive has: whoever brings one twice never mixes them.
    pub(crate) fn fresh_name(zstd: bool) -> String {
        format!("{SOURCE_PREFIX}{}.{}", Uuid::new_v4(), if zstd { "tar.zst" } else { "tar" })
    }

    /// The same for the archive that was brought as `upload`: it can be told from the name.
    pub(crate) fn name_of_upload(upload: Uuid, zstd: bool) -> String {
        let name = SourceFile::fresh_name(zstd);
        format!("{SOURCE_PREFIX}{upload}-{}", &name[SOURCE_PREFIX.len()..])
    }

    /// Whether it is the archive that was brought as `upload`.
    pub(crate) fn is_of_upload(&self, upload: Uuid) -> bool {
        self.file.starts_with(&format!("{SOURCE_PREFIX}{upload}-"))
    }
}

/// How a project ends, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Without a final snapshot, and with its snapshots.
    pub purge: bool,
    /// The tombstone is on the store: from here nothing brings it back.
    pub tombstone: bool,
}

impl Record {
    /// A record that was never stored: of a project that is to be made.
    pub fn new(project: Project) -> Record {
        Record {
            spec_version: project.resource_version,
            project,
            tree: Tree::Absent,
            condemned: None,
            source: None,
            deletion: None,
            asked: 0,
            lost: None,
            refused: None,
            replace: None,
            discard: Vec::new(),
            idled: None,
            agent: None,
        }
    }

    /// Whether its present generation is to end so that another one takes its place.
    pub(crate) fn is_being_replaced(&self) -> bool {
        let project = &self.project;
        project.spec.desired == Desired::Running && self.replace == Some(project.status.generation)
    }

    /// Containers whose data is to be removed now.
    pub(crate) fn to_discard(&self) -> Vec<ContainerName> {
        self.discard.iter().filter(|name| !self.has(name)).cloned().collect()
    }

    /// Whether data is to go of a container that is still in the spec. Where these are two
    /// writes, somebody is between them, or was ended there.
    pub(crate) fn is_half_changed(&self) -> bool {
        self.discard.iter().any(|name| self.has(name))
    }

    /// Forgets what was to go with a change that never came: no later one is to find it and
    /// take it for its own.
    pub(crate) fn forget_half_changes(&mut self) {
        self.discard = self.to_discard();
    }

    fn has(&self, name: &ContainerName) -> bool {
        self.project.spec.containers.iter().any(|container| container.name == *name)
    }

    /// Whether it cannot start yet, because what it starts from was not brought.
    pub(crate) fn waits_for_its_source(&self) -> bool {
        let project = &self.project;
        project.spec.source == Source::Archive && self.source.is_none() && project.status.generation == Generation(0)
    }
}

/// What others did to the records.
#[derive(Clone, Debug)]
pub enum Feed {
    /// All there are: what is not among them is gone.
    Listed(Vec<Record>),
    /// One was made or changed.
    Put(Box<Record>),
    /// One is gone.
    Gone(ProjectId),
}

/// A future of a trait that is used as an object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where records are kept. What a method acknowledged is durable; an error has
/// changed nothing, unless its effect says otherwise.
pub trait Records: fmt::Debug + Send + Sync {
    /// Every record there is.
    fn all(&self) -> Boxed<'_, Result<Vec<Record>, Fault>>;

    /// Keeps a new one, and returns it with the id and the version that it has
    /// now. A name that is taken is ALREADY_EXISTS.
    fn create(&self, record: Record) -> Boxed<'_, Result<Record, Fault>>;

    /// Puts `after` in the place of `before`, and returns it with its version.
    /// CONFLICT where the record is no longer `before`.
    fn update(&self, before: Record, after: Record) -> Boxed<'_, Result<Record, Fault>>;

    /// As `update`, for a status that is measured anew: it may be lost with the
    /// server, and need not be kept at each call.
    fn touch(&self, before: Record, after: Record) -> Boxed<'_, Result<Record, Fault>>;

    /// The record as it is kept now; `None` where it is gone.
    fn read(&self, id: ProjectId) -> Boxed<'_, Result<Option<Record>, Fault>>;

    /// The same of the project that has this name now.
    fn named(&self, name: ProjectName) -> Boxed<'_, Result<Option<Record>, Fault>>;

    /// Removes it, once nothing of the project is left.
    fn remove(&self, record: Record) -> Boxed<'_, Result<(), Fault>>;

    /// What others change, from now on; `None` where nobody else can.
    fn feed(self: Arc<Self>) -> Option<BoxStream<'static, Feed>>;
}

#[cfg(test)]
mod tests {
    use remora_proto_model::project::{ProjectSpec, ProjectStatus};

    use super::*;

    fn record(containers: &[&str], discard: &[&str]) -> Record {
        let containers: Vec<_> = containers.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let spec: ProjectSpec = serde_json::from_value(serde_json::json!({ "containers": containers })).unwrap();
        let mut record = Record::new(Project {
            id: ProjectId::new(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec,
            status: ProjectStatus::default(),
        });
        record.discard = discard.iter().map(|name| name.parse().unwrap()).collect();
        record
    }

    fn names(all: &[ContainerName]) -> Vec<&str> {
        all.iter().map(ContainerName::as_str).collect()
    }

    #[test]
    fn data_goes_only_once_its_container_is_out_of_the_spec() {
        // Between the write of what is to go and that of the spec.
        let mut half = record(&["web", "db"], &["db", "cache"]);
        assert!(half.is_half_changed());
        assert_eq!(names(&half.to_discard()), ["cache"]);
        // The second one came.
        let whole = record(&["web"], &["db", "cache"]);
        assert!(!whole.is_half_changed());
        assert_eq!(names(&whole.to_discard()), ["db", "cache"]);
        // It never came, and a later removal says nothing of the data.
        half.forget_half_changes();
        half.project.spec.containers.pop();
        assert_eq!(names(&half.to_discard()), ["cache"]);
    }
}
