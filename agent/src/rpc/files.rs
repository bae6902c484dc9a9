//! `FileService`: which root a caller sees, where blocking work runs, and one
//! module a verb that turns a request into a call of the engine.

use std::sync::Arc;

use remora_agent_files::{FileError, Metadata};
use remora_agent_root::{EntryKind, RelPath, Root};
use remora_proto::{
    agent::v1::{
        ArchiveChunk, ArchiveGetRequest, ArchivePutRequest, ArchivePutResponse, CopyRequest, CopyResponse, EditRequest,
        EditResponse, EntryKind as WireKind, FileInfo, FileTime, GlobRequest, GlobResponse, GrepEvent, GrepRequest,
        ItemError, ListRequest, ListResponse, MkdirRequest, MkdirResponse, MoveRequest, MoveResponse, ReadLinkRequest,
        ReadLinkResponse, ReadRequest, ReadResponse, RemoveRequest, RemoveResponse, SetAttrRequest, SetAttrResponse,
        StatRequest, StatResponse, SymlinkRequest, SymlinkResponse, WatchBatch, WatchRequest, WriteRequest,
        WriteResponse, file_service_server::FileService,
    },
    fault::to_status,
    model::{Capability, Fault, PathPrefix, Reason},
};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::limits::{MAX_ARCHIVE_CALLS, MAX_FILE_CALLS, MAX_SEARCHES};

mod archive;
mod edit;
mod entries;
mod read;
mod search;
mod stat;
mod watch;
mod write;

use search::Waiting;

/// The workspace as its callers see it.
pub(crate) struct Files {
    workspace: Option<Root>,
    calls: Arc<Semaphore>,
    archives: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    watches: watch::Watches,
}

impl Files {
    /// Serves `workspace`; without one every call says what is missing. Watches end with `stop`.
    pub(crate) fn new(workspace: Option<Root>, stop: CancellationToken) -> Self {
        if let Some(root) = workspace.clone() {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || clear_unfinished(&root, &stop));
        }
        Files {
            workspace,
            calls: Arc::new(Semaphore::new(MAX_FILE_CALLS)),
            archives: Arc::new(Semaphore::new(MAX_ARCHIVE_CALLS)),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
            watches: watch::Watches::new(stop),
        }
    }

    /// What the bearer of the call's token may see.
    fn view(&self, extensions: &Extensions) -> Result<View, Fault> {
        let capability = extensions
            .get::<Capability>()
            .ok_or_else(|| Fault::new(Reason::CredentialsMissing, "the call carries no token"))?;
        let workspace = self.workspace.clone().ok_or_else(|| {
            Fault::new(Reason::FailedPrecondition, "this agent serves no workspace")
                .hint("start `remora-agent serve` with --workspace DIR")
        })?;
        Ok(View { workspace, prefix: capability.path_prefix.clone() })
    }

    /// One answer to one request: `work` runs where blocking is allowed.
    async fn answer<M, T>(
        &self,
        request: Request<M>,
        work: impl FnOnce(&Root, M) -> Result<T, Fault> + Send + 'static,
    ) -> Result<Response<T>, Status>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        let view = self.view(request.extensions());
        let message = request.into_inner();
        let done = match view {
            Ok(view) => blocking(&self.calls, move || work(&view.root()?, message)).await,
            Err(fault) => Err(fault),
        };
        done.map(Response::new).map_err(|fault| to_status(&fault))
    }
}

/// What an agent that was killed left behind is nobody's. Beside everything else,
/// since a large tree takes seconds and no call depends on it.
fn clear_unfinished(root: &Root, stop: &CancellationToken) {
    match remora_agent_files::clear_unfinished(root, || stop.is_cancelled()) {
        Ok(0) => {}
        Ok(cleared) => tracing::info!(cleared, "files that an earlier agent left unfinished are removed"),
        Err(error) => tracing::warn!(%error, "unfinished files of an earlier agent could not be looked for"),
    }
}

/// The part of the workspace that a token opens.
struct View {
    workspace: Root,
    prefix: Option<PathPrefix>,
}

impl View {
    /// The folder that is the whole world of the call, resolved anew for each:
    /// what stood at the prefix a moment ago may be elsewhere now. Blocks.
    fn root(&self) -> Result<Root, Fault> {
        let Some(prefix) = &self.prefix else { return Ok(self.workspace.clone()) };
        let path = RelPath::new(prefix.as_str())?;
        self.workspace.sub(&path).map_err(|error| {
            Fault::from(error).hint("the token is limited to this folder; make it, or ask for a token of another one")
        })
    }
}

/// Runs `work` on a thread that may block, as one of those that `calls` allows at once.
async fn blocking<T: Send + 'static>(
    calls: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let Ok(permit) = Arc::clone(calls).acquire_owned().await else {
        return Err(Fault::new(Reason::Unavailable, "the agent is stopping"));
    };
    // The permit goes with the work: a caller who leaves does not free the thread.
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(panicked(&error)))
}

fn panicked(error: &tokio::task::JoinError) -> Fault {
    tracing::error!(%error, "a call on files ended in a panic");
    Fault::new(Reason::Internal, "the agent failed in this call").hint("look at the state before you repeat it")
}

/// What is told about an entry.
fn info(path: &RelPath, found: Metadata) -> FileInfo {
    let kind = match found.kind {
        EntryKind::File => WireKind::File,
        EntryKind::Directory => WireKind::Directory,
        EntryKind::Symlink => WireKind::Symlink,
        EntryKind::Fifo => WireKind::Fifo,
        EntryKind::Socket => WireKind::Socket,
        EntryKind::CharDevice => WireKind::CharacterDevice,
        EntryKind::BlockDevice => WireKind::BlockDevice,
    };
    FileInfo {
        path: path.as_bytes().to_vec().into(),
        kind: kind.into(),
        mode: found.mode,
        size: found.size,
        allocated: found.allocated,
        modified: Some(FileTime { seconds: found.modified_seconds, nanos: found.modified_nanos }),
        uid: found.uid,
        gid: found.gid,
        links: found.links,
        etag: found.etag,
        link_target: found.link_target.map(Into::into),
    }
}

/// An error in the place of one item.
fn item_error(error: FileError) -> ItemError {
    let fault = Fault::from(error);
    ItemError {
        reason: fault.reason.as_str().to_owned(),
        message: fault.message.into_owned(),
        hint: fault.hint.into_owned(),
    }
}

#[tonic::async_trait]
impl FileService for Files {
    type GrepStream = ReceiverStream<Result<GrepEvent, Status>>;
    type ArchiveGetStream = ReceiverStream<Result<ArchiveChunk, Status>>;
    type WatchStream = ReceiverStream<Result<WatchBatch, Status>>;

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        self.answer(request, stat::stat).await
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        self.answer(request, read::read).await
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        let written = match self.view(request.extensions()) {
            Ok(view) => write::write(&self.calls, view, request.into_inner()).await,
            Err(fault) => Err(fault),
        };
        written.map(Response::new).map_err(|fault| to_status(&fault))
    }

    async fn edit(&self, request: Request<EditRequest>) -> Result<Response<EditResponse>, Status> {
        self.answer(request, edit::edit).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (_waiting, stop) = Waiting::for_page();
        self.answer(request, move |root, message| search::list(root, message, &stop)).await
    }

    async fn glob(&self, request: Request<GlobRequest>) -> Result<Response<GlobResponse>, Status> {
        let (_waiting, stop) = Waiting::for_page();
        self.answer(request, move |root, message| search::glob(root, message, &stop)).await
    }

    async fn grep(&self, request: Request<GrepRequest>) -> Result<Response<Self::GrepStream>, Status> {
        let events = match self.view(request.extensions()) {
            Ok(view) => search::grep(&self.searches, view, request.into_inner()).await,
            Err(fault) => Err(fault),
        };
        events.map(|events| Response::new(ReceiverStream::new(events))).map_err(|fault| to_status(&fault))
    }

    async fn mkdir(&self, request: Request<MkdirRequest>) -> Result<Response<MkdirResponse>, Status> {
        self.answer(request, entries::mkdir).await
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<MoveResponse>, Status> {
        self.answer(request, entries::move_entry).await
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<CopyResponse>, Status> {
        self.answer(request, entries::copy).await
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        self.answer(request, entries::remove).await
    }

    async fn set_attr(&self, request: Request<SetAttrRequest>) -> Result<Response<SetAttrResponse>, Status> {
        self.answer(request, entries::set_attr).await
    }

    async fn symlink(&self, request: Request<SymlinkRequest>) -> Result<Response<SymlinkResponse>, Status> {
        self.answer(request, entries::symlink).await
    }

    async fn read_link(&self, request: Request<ReadLinkRequest>) -> Result<Response<ReadLinkResponse>, Status> {
        self.answer(request, entries::read_link).await
    }

    async fn archive_get(
        &self,
        request: Request<ArchiveGetRequest>,
    ) -> Result<Response<Self::ArchiveGetStream>, Status> {
        let started =
            self.view(request.extensions()).and_then(|view| archive::get(&self.archives, view, request.into_inner()));
        started.map(|chunks| Response::new(ReceiverStream::new(chunks))).map_err(|fault| to_status(&fault))
    }

    async fn archive_put(
        &self,
        request: Request<Streaming<ArchivePutRequest>>,
    ) -> Result<Response<ArchivePutResponse>, Status> {
        let unpacked = match self.view(request.extensions()) {
            Ok(view) => archive::put(&self.archives, view, request.into_inner()).await,
            Err(fault) => Err(fault),
        };
        unpacked.map(Response::new).map_err(|fault| to_status(&fault))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let started = self.view(request.extensions()).and_then(|view| self.watches.start(view, request.into_inner()));
        started.map(|batches| Response::new(ReceiverStream::new(batches))).map_err(|fault| to_status(&fault))
    }
}
