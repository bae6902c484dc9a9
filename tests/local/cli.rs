//! The command line against a real server.

use remora_proto::control::v1::CreateProjectRequest;
use remora_tests::{cli::Cli, server::ServerProcess};

use crate::auth::waiting_spec;

mod keys;
mod look;
mod plugin;
mod refusals;
mod remove;
mod running;
mod sleep;
mod terminal;

/// The command line of the server's first admin.
fn admin(server: &ServerProcess) -> Cli {
    Cli::new(&server.url, &server.key)
}

/// Makes a project that waits for its source, and so does not run.
async fn waiting(server: &ServerProcess, name: &str) {
    let request = CreateProjectRequest { name: name.to_owned(), spec: Some(waiting_spec()) };
    server.projects().await.create(request).await.unwrap();
}
