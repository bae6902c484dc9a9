//! A project on a real store: its workspace, what is kept beside it, and the
//! agent's roles on them.

use std::{fs, path::PathBuf, process::Output, sync::Arc};

use remora_agent_snapshot::store::Store;
use remora_proto::{
    agent::v1::snapshot_service_client::SnapshotServiceClient,
    model::{Capability, Generation, Verb},
};
use remora_tests::{
    agent::{AgentProcess, role_command, serve_flags},
    pki::Pki,
    s3_server::{BUCKET, S3Server, fresh_prefix},
    seaweed::seaweed,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

pub(crate) type Client = SnapshotServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts a token on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// See the module. One folder holds workspace, state and certificates.
pub(crate) struct Project {
    pub(crate) folder: TempDir,
    pub(crate) pki: Pki,
    server: &'static S3Server,
    prefix: String,
    key: Option<[u8; 32]>,
}

/// How a role ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Its termination message.
    pub(crate) message: Value,
    pub(crate) log: String,
}

impl Project {
    /// A new project with a lineage of its own.
    pub(crate) fn new() -> Self {
        Project::at(&fresh_prefix(), None)
    }

    /// Another body of the project whose lineage is at `prefix`.
    pub(crate) fn at(prefix: &str, key: Option<[u8; 32]>) -> Self {
        Project::on(seaweed(), prefix, key)
    }

    /// The same on a store of `server`.
    pub(crate) fn on(server: &'static S3Server, prefix: &str, key: Option<[u8; 32]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "pki"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        if let Some(key) = key {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            fs::write(folder.path().join("key"), STANDARD.encode(key)).unwrap();
        }
        let pki = Pki::new(&folder.path().join("pki"));
        Project { pki, folder, server, prefix: prefix.to_owned(), key }
    }

    /// Where its lineage is.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        self.server.store(&self.prefix).await.unwrap()
    }

    /// What every role is told of the workspace and the store.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        let mut flags = vec![
            ("--workspace", self.workspace().display().to_string()),
            ("--state-dir", self.state().display().to_string()),
            ("--s3-bucket", BUCKET.to_owned()),
            ("--s3-endpoint", self.server.endpoint.clone()),
            ("--s3-prefix", self.prefix.clone()),
            ("--s3-path-style", String::new()),
        ];
        if self.key.is_some() {
            flags.push(("--encryption-key-file", self.folder.path().join("key").display().to_string()));
        }
        flags.into_iter().map(|(flag, value)| (flag.to_owned(), value)).collect()
    }

    /// `serve` for the generation of its certificates.
    pub(crate) async fn serve(&self) -> (AgentProcess, Client) {
        // Only a store that answers is one to serve from.
        self.store().await;
        let agent = AgentProcess::with_flags(&[serve_flags(&self.pki), self.flags()].concat()).await;
        let client = self.client(&agent).await;
        (agent, client)
    }

    pub(crate) async fn client(&self, agent: &AgentProcess) -> Client {
        self.client_with(agent, &self.pki.capability(Verb::ALL)).await
    }

    /// A client of whoever has `capability`.
    pub(crate) async fn client_with(&self, agent: &AgentProcess, capability: &Capability) -> Client {
        let token = self.pki.token(capability);
        let bearer = Bearer(format!("Bearer {token}").parse().unwrap());
        SnapshotServiceClient::with_interceptor(agent.channel(&self.pki).await, bearer)
    }

    /// Starts a role for `generation`.
    pub(crate) fn start(&self, role: &str, generation: Generation, extra: &[(&str, &str)]) -> Child {
        let mut flags = self.flags();
        flags.push(("--project".to_owned(), self.pki.project.to_string()));
        flags.push(("--generation".to_owned(), generation.to_string()));
        flags.push(("--termination-message".to_owned(), self.message().display().to_string()));
        flags.extend(extra.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())));
        let _ = fs::remove_file(self.message());
        role_command(role, &flags).spawn().unwrap()
    }

    /// Runs a role to its end.
    pub(crate) async fn run(&self, role: &str, generation: u64, extra: &[(&str, &str)]) -> Ended {
        self.store().await;
        let output = self.start(role, Generation(generation), extra).wait_with_output().await.unwrap();
        self.ended(&output)
    }

    /// How a role ended that wrote its message where [`Project::start`] says.
    pub(crate) fn ended(&self, output: &Output) -> Ended {
        let bytes = fs::read(self.message()).unwrap_or_default();
        assert!(bytes.len() <= 4_096);
        Ended {
            code: output.status.code(),
            message: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn message(&self) -> PathBuf {
        self.folder.path().join("termination-log")
    }
}
