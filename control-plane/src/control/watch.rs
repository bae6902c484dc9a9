//! Projects as they change, for one watcher at its own pace. One who is too slow
//! for the changes gets the projects as they are then: states in between may be
//! missing, the last one never.

use std::collections::{HashMap, VecDeque};

use futures_util::{Stream, stream};
use remora_control_plane_runtime::{Change, ChangeKind};
use remora_proto_model::{Fault, ProjectId, Reason, project::Project};
use serde::Serialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use super::Control;
use crate::{auth::Caller, limits::WATCH_HEARTBEAT};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
    /// Everything that was there has been sent.
    Synced,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A project, or with `Synced` none.
    Of(EventKind, Option<Box<Project>>),
    /// Nothing happened for a while.
    Heartbeat,
}

struct Watcher {
    control: Control,
    caller: Caller,
    only: Option<ProjectId>,
    receiver: Receiver<Change>,
    /// The version that was sent last of each project that is there.
    sent: HashMap<ProjectId, Project>,
    waiting: VecDeque<Event>,
    over: bool,
}

impl Control {
    /// The events of the project `named`, or of every one that the caller may see.
    pub(crate) async fn watch(
        &self,
        caller: Caller,
        named: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Event, Fault>> + Send + use<>, Fault> {
        let only = match named {
            Some(named) => Some(self.resolve(&caller, named).await?),
            None => None,
        };
        let (projects, receiver) = self.projects.watch();
        let mut watcher = Watcher {
            control: self.clone(),
            caller,
            only,
            receiver,
            sent: HashMap::new(),
            waiting: VecDeque::new(),
            over: false,
        };
        watcher.catch_up(projects);
        watcher.waiting.push_back(Event::Of(EventKind::Synced, None));
        Ok(stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        }))
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, Fault>> {
        loop {
            if self.over {
                return None;
            }
            // A stream outlives the check at its beginning.
            if !self.control.caller_stands(&self.caller) {
                self.over = true;
                return Some(Err(Fault::new(
                    Reason::CredentialsInvalid,
                    "the credentials of this watch were revoked or have expired",
                )));
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            let received = tokio::select! {
                received = timeout(WATCH_HEARTBEAT, self.receiver.recv()) => received,
                () = self.control.draining.cancelled() => Ok(Err(RecvError::Closed)),
            };
            match received {
                Err(_) => return Some(Ok(Event::Heartbeat)),
                Ok(Ok(change)) => self.take(change),
                Ok(Err(RecvError::Lagged(_))) => {
                    let (projects, receiver) = self.control.projects.watch();
                    self.receiver = receiver;
                    self.catch_up(projects);
                }
                Ok(Err(RecvError::Closed)) => {
                    self.over = true;
                    return Some(Err(Fault::new(Reason::Unavailable, "the server is stopping")));
                }
            }
        }
    }

    fn watched(&self, id: ProjectId) -> bool {
        self.only.is_none_or(|only| only == id) && self.caller.sees(id)
    }

    fn take(&mut self, change: Change) {
        let Change { kind, project } = change;
        if !self.watched(project.id) {
            return;
        }
        match kind {
            ChangeKind::Deleted => {
                if self.sent.remove(&project.id).is_some() {
                    self.push(EventKind::Deleted, project);
                }
            }
            ChangeKind::Added | ChangeKind::Modified => self.update(project),
        }
    }

    /// Sends what is newer than what was sent: a change may tell of what the list held already.
    fn update(&mut self, project: Project) {
        let before = self.sent.get(&project.id).map(|sent| sent.resource_version);
        let kind = match before {
            None => EventKind::Added,
            Some(version) if version < project.resource_version => EventKind::Modified,
            Some(_) => return,
        };
        self.sent.insert(project.id, project.clone());
        self.push(kind, project);
    }

    /// Brings the watcher from what was sent to what is.
    fn catch_up(&mut self, projects: Vec<Project>) {
        let there: Vec<ProjectId> = projects.iter().map(|project| project.id).collect();
        let gone: Vec<ProjectId> = self.sent.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            if let Some(project) = self.sent.remove(&id) {
                self.push(EventKind::Deleted, project);
            }
        }
        for project in projects {
            if self.watched(project.id) {
                self.update(project);
            }
        }
    }

    fn push(&mut self, kind: EventKind, project: Project) {
        self.waiting.push_back(Event::Of(kind, Some(Box::new(project))));
    }
}
