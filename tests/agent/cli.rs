//! The command line against a real agent: files in both directions.

use std::{fs, path::PathBuf};

use remora_proto::model::Verb;
use remora_tests::{
    agent::{AgentProcess, serve_flags},
    cli::Cli,
    pki::Pki,
    relay::Relay,
};
use tempfile::TempDir;

mod copy;
mod file_verbs;
mod terminal;

/// An agent, and the command line with a token for it.
struct Served {
    folder: TempDir,
    cli: Cli,
    _relay: Relay,
    _agent: AgentProcess,
}

impl Served {
    async fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        fs::create_dir(folder.path().join("pki")).unwrap();
        let pki = Pki::new(&folder.path().join("pki"));
        let mut flags = serve_flags(&pki);
        flags.push(("--workspace".to_owned(), folder.path().join("workspace").display().to_string()));
        let agent = AgentProcess::with_flags(&flags).await;
        let relay = Relay::start(agent.grpc, &pki).await;
        let cli = Cli::new(&relay.url, &pki.token(&pki.capability(Verb::ALL)));
        Served { folder, cli, _relay: relay, _agent: agent }
    }

    /// A path of the workspace, as this machine sees it.
    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join("workspace").join(path)
    }

    /// A path of this machine beside it.
    fn here(&self, path: &str) -> PathBuf {
        self.cli.folder().join(path)
    }
}
