//! What the control plane does for a caller, whatever the caller speaks: gRPC
//! and REST are mappings onto this.

mod containers;
pub(crate) mod transfers;
pub(crate) mod watch;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use remora_control_plane_kube::service_accounts::ServiceAccounts;
use remora_control_plane_runtime::{Projects, Restored};
use remora_proto_model::{
    AccessToken, ContainerName, Fault, ProjectId, ProjectName, Reason,
    project::{ApiKey, Desired, Orphans, Project, ProjectPatch, ProjectSpec, Role},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{
        Caller, Credentials, Identity,
        access::AccessTokens,
        credentials,
        keys::{Keys, now_ms},
        tokens,
    },
    gate::{Gate, Link},
    limits::{DEFAULT_PAGE_PROJECTS, MAX_KEY_PROJECTS, MAX_PAGE_PROJECTS},
};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) projects: Projects,
    pub(crate) keys: Arc<Keys>,
    pub(crate) access_tokens: Arc<AccessTokens>,
    /// Callers that are ServiceAccounts, where this server runs in a cluster.
    pub(crate) accounts: Option<Arc<ServiceAccounts>>,
    /// Who may pass to exposed ports, where there is a domain for them.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) about: Arc<About>,
    /// Cancelled when the server is told to stop.
    pub(crate) draining: CancellationToken,
}

/// What the server says of itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) boot_id: String,
    pub(crate) runtime: &'static str,
    /// Where snapshots go, without credentials.
    pub(crate) store: String,
}

/// One page of projects.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) projects: Vec<Project>,
    /// Empty on the last page.
    pub(crate) next: String,
}

impl Control {
    /// Who calls, with whatever credentials.
    pub(crate) async fn identity(&self, headers: &HeaderMap) -> Result<Identity, Fault> {
        match (credentials(headers)?, &self.accounts) {
            (Credentials::Key(secret), _) => self.keys.authenticate(secret).map(Identity::Caller),
            (Credentials::Access(secret), _) => {
                let token = self.access_tokens.authenticate(secret).await?;
                self.maker_stands(&token)?;
                Ok(Identity::Token(token))
            }
            (Credentials::Token(token), Some(accounts)) if ServiceAccounts::is_for_us(token) => {
                let account = accounts.authenticate(token).await?;
                Ok(Identity::Caller(Caller::service_account(account)))
            }
            _ => Err(Fault::new(
                Reason::CredentialsInvalid,
                "the bearer token is neither an API key nor an access token",
            )
            .hint(
                "send an API key (rmk_...), or for a project's files, commands and terminals an access token (rmt_...)",
            )),
        }
    }

    /// Who calls. An access token opens what is in its project and nothing here.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        match self.identity(headers).await? {
            Identity::Caller(caller) => Ok(caller),
            Identity::Token(_) => Err(Fault::new(Reason::CredentialsInvalid, "the bearer token is no API key").hint(
                "this call takes an API key (rmk_...); an access token opens the files, commands and terminals of its project",
            )),
        }
    }

    /// A token is as much as its maker: it ends with the key it was made with.
    fn maker_stands(&self, token: &AccessToken) -> Result<(), Fault> {
        match &token.made_by_key {
            Some(key) if !self.keys.has(key) => {
                Err(Fault::new(Reason::CredentialsInvalid, "the key that made this access token was revoked")
                    .hint("ask for a token that another key makes"))
            }
            _ => Ok(()),
        }
    }

    /// Whether what a call came with still stands: a stream outlives the check at its beginning.
    pub(crate) fn stands(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Caller(caller) => self.caller_stands(caller),
            Identity::Token(token) => self.access_tokens.stands(token) && self.maker_stands(token).is_ok(),
        }
    }

    /// [`Control::stands`] of somebody with a role.
    pub(crate) fn caller_stands(&self, caller: &Caller) -> bool {
        match caller.expires() {
            Some(expires) => now_ms() / 1_000 < expires,
            None => self.keys.stands(caller),
        }
    }

    /// The project that `named` means to `caller`. One that the caller may not
    /// know of is as one that does not exist.
    pub(crate) async fn resolve(&self, caller: &Caller, named: &str) -> Result<ProjectId, Fault> {
        if named.is_empty() {
            return Err(Fault::invalid("name", "is missing").hint("give the project's name or id"));
        }
        match self.projects.resolve(named).await {
            Ok(id) if caller.sees(id) => Ok(id),
            Err(fault) if caller.sees_all() => Err(fault),
            // The runtime's text may propose names, which are not for this caller.
            _ => {
                let shown: String = named.chars().take(ProjectName::MAX_BYTES).collect();
                Err(Fault::new(Reason::NotFound, format!("there is no project {shown:?}"))
                    .hint("list the projects to see their names"))
            }
        }
    }

    async fn owned(&self, caller: &Caller, named: &str) -> Result<ProjectId, Fault> {
        let id = self.resolve(caller, named).await?;
        caller.at_least(Role::Owner)?;
        Ok(id)
    }

    pub(crate) async fn create(&self, caller: &Caller, name: &str, spec: ProjectSpec) -> Result<Project, Fault> {
        let name: ProjectName = name.parse().map_err(|error| Fault::invalid("name", error))?;
        caller.at_least(Role::Owner)?;
        if !caller.sees_all() {
            return Err(Fault::new(Reason::RoleNotGranted, "this key is for some projects and makes no others")
                .hint("ask an admin for a key that names no projects"));
        }
        let project = self.projects.create(name, spec).await?;
        tracing::info!(project = %project.id, name = %project.name, caller = caller.name(), "create");
        Ok(project)
    }

    pub(crate) async fn get(&self, caller: &Caller, named: &str) -> Result<Project, Fault> {
        self.projects.current(self.resolve(caller, named).await?).await
    }

    /// A link that opens an exposed port in a browser, as the caller.
    pub(crate) async fn link(
        &self,
        caller: &Caller,
        named: &str,
        container: &str,
        port: &str,
        path: &str,
    ) -> Result<Link, Fault> {
        let project = self.get(caller, named).await?;
        let gate = self.gate.as_ref().ok_or_else(no_domain)?;
        let link = gate.link(caller, &project, container, port, path)?;
        tracing::info!(project = %project.id, caller = caller.name(), container, port, "link");
        Ok(link)
    }

    pub(crate) fn list(&self, caller: &Caller, page_size: u32, page_token: &str) -> Result<Page, Fault> {
        if page_size > MAX_PAGE_PROJECTS {
            return Err(Fault::invalid("pageSize", format!("is {page_size}; at most {MAX_PAGE_PROJECTS}")));
        }
        let size = if page_size == 0 { DEFAULT_PAGE_PROJECTS } else { page_size } as usize;
        let mut after = decode_page_token(page_token)?;
        let mut projects = Vec::new();
        // One more than asked for says whether there is another page.
        while projects.len() <= size {
            let batch = self.projects.list(after.as_ref(), size + 1);
            let Some(last) = batch.last() else { break };
            after = Some(last.name.clone());
            projects.extend(batch.into_iter().filter(|project| caller.sees(project.id)));
        }
        let more = projects.len() > size;
        projects.truncate(size);
        let next = projects
            .last()
            .filter(|_| more)
            .map_or_else(String::new, |last| URL_SAFE_NO_PAD.encode(last.name.as_str()));
        Ok(Page { projects, next })
    }

    pub(crate) async fn patch(&self, caller: &Caller, named: &str, patch: ProjectPatch) -> Result<Project, Fault> {
        let id = self.owned(caller, named).await?;
        let project = self.projects.patch(id, patch).await.map_err(|fault| discreet(caller, fault))?;
        tracing::info!(project = %id, caller = caller.name(), "patch");
        Ok(project)
    }

    pub(crate) async fn want(&self, caller: &Caller, named: &str, desired: Desired) -> Result<Project, Fault> {
        let id = self.owned(caller, named).await?;
        let project = self.projects.set_desired(id, desired).await.map_err(|fault| discreet(caller, fault))?;
        tracing::info!(project = %id, caller = caller.name(), ?desired, "want");
        Ok(project)
    }

    pub(crate) async fn delete(&self, caller: &Caller, named: &str, purge: bool) -> Result<Project, Fault> {
        let id = self.owned(caller, named).await?;
        let project = self.projects.delete(id, purge).await?;
        tracing::info!(project = %id, caller = caller.name(), purge, "delete");
        Ok(project)
    }

    pub(crate) async fn restore(&self, caller: &Caller, named: &str, snapshot: &str) -> Result<Restored, Fault> {
        let id = self.owned(caller, named).await?;
        if snapshot.is_empty() {
            return Err(Fault::invalid("snapshot", "is missing")
                .hint("give the id of one; the project's snapshots are listed by its agent"));
        }
        let restored = self.projects.restore(id, snapshot).await?;
        tracing::info!(project = %id, caller = caller.name(), snapshot, "restore");
        Ok(restored)
    }

    pub(crate) async fn put_source(
        &self,
        caller: &Caller,
        named: &str,
        zstd: bool,
        chunks: impl Stream<Item = Result<Bytes, Fault>> + Send,
    ) -> Result<Project, Fault> {
        let id = self.owned(caller, named).await?;
        self.projects.put_source(id, zstd, chunks).await
    }

    /// The version of the agent's binary, or what is wrong with it.
    pub(crate) async fn agent_version(&self) -> (String, String) {
        match self.projects.agent_version().await {
            Ok(version) => (version, String::new()),
            Err(fault) => (String::new(), fault.message.into_owned()),
        }
    }

    /// Makes an access token; the second value is its secret.
    pub(crate) async fn mint(
        &self,
        caller: &Caller,
        named: &str,
        asked: tokens::Asked,
    ) -> Result<(AccessToken, String), Fault> {
        if named.is_empty() {
            return Err(Fault::invalid("project", "is missing").hint("give the project's name or id"));
        }
        let wanted = tokens::granted(caller, asked)?;
        let project = self.get(caller, named).await?;
        let there = || project.spec.containers.iter().map(|container| &container.name);
        if let Some(stranger) = wanted.containers.iter().flatten().find(|name| !there().any(|known| known == *name)) {
            let names: Vec<&str> = there().map(ContainerName::as_str).collect();
            return Err(Fault::invalid("containers", format!("there is no container {stranger}"))
                .hint(format!("there are {}", names.join(", "))));
        }
        let key = caller.expires().is_none().then(|| caller.id().to_owned());
        let (token, secret) = self.access_tokens.mint(project.id, wanted, caller.name().to_owned(), key).await?;
        tracing::info!(project = %project.id, caller = caller.name(), subject = token.subject, token = token.id, "mint");
        Ok((token, secret))
    }

    /// The access tokens of a project: all of them for its owners, for others those that they made.
    pub(crate) async fn list_tokens(&self, caller: &Caller, named: &str) -> Result<Vec<AccessToken>, Fault> {
        let project = self.resolve(caller, named).await?;
        let mut tokens = self.access_tokens.of_project(project);
        tokens.retain(|token| may_manage(caller, token).is_ok());
        Ok(tokens)
    }

    /// Ends an access token. For the project's owners, and for whoever made it.
    pub(crate) async fn revoke_token(&self, caller: &Caller, named: &str, id: &str) -> Result<(), Fault> {
        let project = self.resolve(caller, named).await?;
        self.access_tokens.revoke(project, id, |token| may_manage(caller, token)).await?;
        tracing::info!(%project, token = id, caller = caller.name(), "revoke token");
        Ok(())
    }

    pub(crate) async fn create_key(
        &self,
        caller: &Caller,
        name: &str,
        role: Role,
        projects: &[String],
    ) -> Result<(ApiKey, String), Fault> {
        caller.at_least(Role::Admin)?;
        if projects.len() > MAX_KEY_PROJECTS {
            return Err(Fault::invalid("projects", format!("{} given; at most {MAX_KEY_PROJECTS}", projects.len())));
        }
        let mut ids = Vec::new();
        for named in projects {
            let id = self
                .projects
                .resolve(named)
                .await
                .map_err(|fault| Fault { message: format!("projects: {}", fault.message).into(), ..fault })?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let (key, secret) = self.keys.create(name, role, ids).await?;
        tracing::info!(key = key.id, name = key.name, ?role, caller = caller.name(), "create key");
        Ok((key, secret))
    }

    pub(crate) fn list_keys(&self, caller: &Caller) -> Result<Vec<ApiKey>, Fault> {
        caller.at_least(Role::Admin)?;
        Ok(self.keys.list())
    }

    /// What was made for projects that are not there.
    pub(crate) async fn list_orphans(&self, caller: &Caller) -> Result<Orphans, Fault> {
        caller.at_least(Role::Admin)?;
        self.projects.orphans().await
    }

    pub(crate) async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<(), Fault> {
        caller.at_least(Role::Admin)?;
        self.keys.revoke(id).await?;
        tracing::info!(key = id, caller = caller.name(), "revoke key");
        Ok(())
    }
}

/// Whether `caller` may know of a token of a project that it sees, and end it.
fn may_manage(caller: &Caller, token: &AccessToken) -> Result<(), Fault> {
    let made_it = match &token.made_by_key {
        Some(key) => caller.expires().is_none() && key == caller.id(),
        None => caller.expires().is_some() && token.made_by == caller.name(),
    };
    if made_it { Ok(()) } else { caller.at_least(Role::Owner) }
}

/// `fault` without the name of a project that is not for this caller to know.
fn discreet(caller: &Caller, fault: Fault) -> Fault {
    if fault.reason != Reason::PortInUse || caller.sees_all() {
        return fault;
    }
    Fault::new(Reason::PortInUse, "one of its ports is taken by another project of this server")
        .hint("give it another port, or ask an admin which project has it")
}

/// The token is the last name of the page before, so that pages hold while projects come and go.
fn decode_page_token(token: &str) -> Result<Option<ProjectName>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let name = name.and_then(|text| text.parse().ok());
    name.map(Some).ok_or_else(|| {
        Fault::invalid("pageToken", "is none that a list gave out")
            .hint("pass the token of the page before unchanged, or none for the first page")
    })
}

/// Nothing is reached from outside.
pub(crate) fn no_domain() -> Fault {
    Fault::new(Reason::FailedPrecondition, "this server has no domain for ports")
        .hint("its operator sets one with --route-domain, in the chart with routing.domain")
}
