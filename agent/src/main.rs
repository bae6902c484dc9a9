//! The binary `remora-agent`: one role a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use remora_agent::{config::ServeArgs, logging, serve, shim};

#[derive(Parser)]
#[command(name = "remora-agent", version, about = "The agent that rides along in every dev-server pod")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve the agent's API over mutual TLS.
    Serve(Box<ServeArgs>),
    /// Wrap a container's command and own its terminals and commands.
    Shim(Box<shim::Args>),
}

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    let role = Cli::parse().role;
    let _logging = logging::start()?;
    Ok(match role {
        Role::Serve(args) => serve::run(*args).await,
        Role::Shim(args) => shim::run(*args).await.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the shim cannot go on");
            ExitCode::from(shim::EXIT_FAILURE)
        }),
    })
}
