//! `ProjectService`.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use remora_proto::{
    control::v1::{
        AddContainerRequest, BeginSourceUploadRequest, CompleteSourceUploadRequest, ContainerChange,
        CreateProjectRequest, DeleteContainerRequest, DeleteProjectRequest, ExportSnapshotRequest, GetProjectRequest,
        HibernateProjectRequest, ListProjectsRequest, ListProjectsResponse, MakeLinkRequest, MakeLinkResponse,
        PatchContainerRequest, PatchProjectRequest, Project, ProjectEvent, PutSourceHead, PutSourceRequest,
        RestoreProjectRequest, RestoreProjectResponse, SnapshotExport, SourceUpload, StartProjectRequest,
        StopProjectRequest, WakeProjectRequest, WatchProjectsRequest, project_event::Kind,
        project_service_server::ProjectService, put_source_request::Part,
    },
    fault::from_status,
    model::{
        Fault, Reason,
        project::{Container, Desired, ProjectPatch, ProjectSpec},
    },
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::{caller, refused};
use crate::{
    auth::Identity,
    control::{
        Control,
        watch::{Event, EventKind},
    },
    limits::{BODY_STALL_TIMEOUT, MAX_SOURCE_MESSAGE_BYTES},
};

pub(super) struct Projects(pub(super) Control);

type ContainerAnswer = Result<Response<ContainerChange>, Status>;
type Answer = Result<Response<Project>, Status>;

impl Projects {
    async fn want<T>(&self, request: Request<T>, name: impl FnOnce(T) -> String, desired: Desired) -> Answer {
        let caller = caller(&request)?;
        let name = name(request.into_inner());
        Ok(Response::new(self.0.want(&caller, &name, desired).await.map_err(refused)?.into()))
    }
}

#[tonic::async_trait]
impl ProjectService for Projects {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<ProjectEvent, Status>> + Send>>;

    async fn create(&self, request: Request<CreateProjectRequest>) -> Answer {
        let caller = caller(&request)?;
        let CreateProjectRequest { name, spec } = request.into_inner();
        let spec = spec.ok_or_else(|| refused(Fault::invalid("spec", "is missing")))?;
        let spec = ProjectSpec::try_from(spec).map_err(refused)?;
        Ok(Response::new(self.0.create(&caller, &name, spec).await.map_err(refused)?.into()))
    }

    async fn get(&self, request: Request<GetProjectRequest>) -> Answer {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.get(&caller, &request.into_inner().name).await.map_err(refused)?.into()))
    }

    async fn list(&self, request: Request<ListProjectsRequest>) -> Result<Response<ListProjectsResponse>, Status> {
        let caller = caller(&request)?;
        let ListProjectsRequest { page_size, page_token } = request.into_inner();
        let page = self.0.list(&caller, page_size, &page_token).map_err(refused)?;
        let projects = page.projects.into_iter().map(Into::into).collect();
        Ok(Response::new(ListProjectsResponse { projects, next_page_token: page.next }))
    }

    async fn patch(&self, request: Request<PatchProjectRequest>) -> Answer {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let name = request.name.clone();
        let patch = ProjectPatch::try_from(request).map_err(refused)?;
        Ok(Response::new(self.0.patch(&caller, &name, patch).await.map_err(refused)?.into()))
    }

    async fn add_container(&self, request: Request<AddContainerRequest>) -> ContainerAnswer {
        let caller = caller(&request)?;
        let AddContainerRequest { project, resource_version, container } = request.into_inner();
        let container = container.ok_or_else(|| refused(Fault::invalid("container", "is missing")))?;
        let container = Container::try_from(container).map_err(refused)?;
        let added = self.0.add_container(&caller, &project, resource_version, container).await;
        Ok(Response::new(added.map_err(refused)?.into()))
    }

    async fn patch_container(&self, request: Request<PatchContainerRequest>) -> ContainerAnswer {
        let caller = caller(&request)?;
        let PatchContainerRequest { project, resource_version, container, fields } = request.into_inner();
        let container = container.ok_or_else(|| refused(Fault::invalid("container", "is missing")))?;
        let container = Container::try_from(container).map_err(refused)?;
        let name = container.name.to_string();
        let with = |there: &Container| there.with(&container, &fields);
        let changed = self.0.change_container(&caller, &project, resource_version, &name, with).await;
        Ok(Response::new(changed.map_err(refused)?.into()))
    }

    async fn delete_container(&self, request: Request<DeleteContainerRequest>) -> ContainerAnswer {
        let caller = caller(&request)?;
        let DeleteContainerRequest { project, resource_version, container, data } = request.into_inner();
        let removed = self.0.remove_container(&caller, &project, resource_version, &container, data).await;
        Ok(Response::new(removed.map_err(refused)?.into()))
    }

    async fn make_link(&self, request: Request<MakeLinkRequest>) -> Result<Response<MakeLinkResponse>, Status> {
        let caller = caller(&request)?;
        let MakeLinkRequest { project, container, port, path } = request.into_inner();
        let link = self.0.link(&caller, &project, &container, &port, &path).await.map_err(refused)?;
        Ok(Response::new(MakeLinkResponse { url: link.url, expires_ms: link.expires_ms.unwrap_or_default() }))
    }

    async fn delete(&self, request: Request<DeleteProjectRequest>) -> Answer {
        let caller = caller(&request)?;
        let DeleteProjectRequest { name, purge } = request.into_inner();
        Ok(Response::new(self.0.delete(&caller, &name, purge).await.map_err(refused)?.into()))
    }

    async fn watch(&self, request: Request<WatchProjectsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let name = request.into_inner().name;
        let only = Some(name.as_str()).filter(|name| !name.is_empty());
        let events = self.0.watch(caller, only).await.map_err(refused)?;
        // HTTP/2's own keepalive says that the connection lives.
        let events = events.filter_map(|event| async {
            match event {
                Ok(Event::Heartbeat) => None,
                Ok(Event::Of(kind, project)) => {
                    let kind = match kind {
                        EventKind::Added => Kind::Added,
                        EventKind::Modified => Kind::Modified,
                        EventKind::Deleted => Kind::Deleted,
                        EventKind::Synced => Kind::Synced,
                    };
                    Some(Ok(ProjectEvent { kind: kind.into(), project: project.map(|project| (*project).into()) }))
                }
                Err(fault) => Some(Err(refused(fault))),
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn start(&self, request: Request<StartProjectRequest>) -> Answer {
        self.want(request, |request| request.name, Desired::Running).await
    }

    async fn stop(&self, request: Request<StopProjectRequest>) -> Answer {
        self.want(request, |request| request.name, Desired::Stopped).await
    }

    async fn hibernate(&self, request: Request<HibernateProjectRequest>) -> Answer {
        self.want(request, |request| request.name, Desired::Hibernated).await
    }

    async fn wake(&self, request: Request<WakeProjectRequest>) -> Answer {
        self.want(request, |request| request.name, Desired::Running).await
    }

    async fn restore(
        &self,
        request: Request<RestoreProjectRequest>,
    ) -> Result<Response<RestoreProjectResponse>, Status> {
        let caller = caller(&request)?;
        let RestoreProjectRequest { name, snapshot } = request.into_inner();
        let restored = self.0.restore(&caller, &name, &snapshot).await.map_err(refused)?;
        Ok(Response::new(RestoreProjectResponse {
            project: Some(restored.project.into()),
            before: restored.before,
            head: restored.head,
        }))
    }

    async fn put_source(&self, request: Request<Streaming<PutSourceRequest>>) -> Answer {
        let caller = caller(&request)?;
        let mut messages = request.into_inner();
        let first = next(&mut messages).await.map_err(refused)?;
        let Some(Part::Head(PutSourceHead { name, zstd })) = first else {
            return Err(refused(Fault::invalid("head", "is missing").hint("send the head first, then the data")));
        };
        let project = self.0.put_source(&caller, &name, zstd, chunks(messages)).await.map_err(refused)?;
        Ok(Response::new(project.into()))
    }

    async fn begin_source_upload(
        &self,
        request: Request<BeginSourceUploadRequest>,
    ) -> Result<Response<SourceUpload>, Status> {
        let caller = caller(&request)?;
        let BeginSourceUploadRequest { name, bytes, zstd, ttl_seconds } = request.into_inner();
        let begun = self.0.begin_upload(&caller, &name, bytes, zstd, ttl_seconds).await.map_err(refused)?;
        Ok(Response::new(SourceUpload {
            upload: begun.upload,
            headers: begun.signed.headers.into_iter().collect(),
            expires_ms: begun.signed.expires_ms,
            url: begun.signed.url.expose(),
        }))
    }

    async fn complete_source_upload(&self, request: Request<CompleteSourceUploadRequest>) -> Answer {
        let caller = caller(&request)?;
        let CompleteSourceUploadRequest { name, upload } = request.into_inner();
        Ok(Response::new(self.0.complete_upload(&caller, &name, &upload).await.map_err(refused)?.into()))
    }

    async fn export_snapshot(
        &self,
        request: Request<ExportSnapshotRequest>,
    ) -> Result<Response<SnapshotExport>, Status> {
        let identity = Identity::Caller(caller(&request)?);
        let ExportSnapshotRequest { name, snapshot, ttl_seconds } = request.into_inner();
        let id = self.0.may_export(&identity, &name).await.map_err(refused)?;
        let export = self.0.export(&identity, id, &snapshot, ttl_seconds).await.map_err(refused)?;
        Ok(Response::new(SnapshotExport {
            snapshot: export.snapshot,
            bytes: export.bytes,
            expires_ms: export.signed.expires_ms,
            url: export.signed.url.expose(),
        }))
    }
}

/// The next part; `None` at the end.
async fn next(messages: &mut Streaming<PutSourceRequest>) -> Result<Option<Part>, Fault> {
    match timeout(BODY_STALL_TIMEOUT, messages.message()).await {
        Ok(Ok(Some(message))) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(Fault::invalid("part", "is missing").hint("send the head first, then the data")),
        },
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(from_status(&status)),
        Err(_) => Err(Fault::new(Reason::DeadlineExceeded, "the archive stalled").hint("send it again")),
    }
}

fn chunks(messages: Streaming<PutSourceRequest>) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    stream::unfold(Some(messages), |messages| async {
        let mut messages = messages?;
        let bad = |fault| Some((Err(fault), None));
        match next(&mut messages).await {
            // A client that went away may end its stream as one that has finished.
            Ok(None) => bad(Fault::new(Reason::Cancelled, "the archive ended without its `end`, so it may be a part")
                .hint("send it again, with `end` as the last message")),
            Ok(Some(Part::End(true))) => match next(&mut messages).await {
                Ok(None) => None,
                Ok(Some(_)) => bad(Fault::invalid("end", "is not the last message").hint("close the stream after it")),
                Err(fault) => bad(fault),
            },
            Ok(Some(Part::End(false))) => bad(Fault::invalid("end", "is false").hint("send it as true, last")),
            Ok(Some(Part::Data(data))) if data.len() <= MAX_SOURCE_MESSAGE_BYTES => Some((Ok(data), Some(messages))),
            Ok(Some(Part::Data(data))) => bad(Fault::invalid(
                "data",
                format!("has {} bytes; at most {MAX_SOURCE_MESSAGE_BYTES} a message", data.len()),
            )),
            Ok(Some(Part::Head(_))) => bad(Fault::invalid("head", "is there twice").hint("send it once, first")),
            Err(fault) => bad(fault),
        }
    })
}
