//! The binary `remora-agent`: one role a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use remora_agent::{config::ServeArgs, logging, serve};

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
}

#[tokio::main]
async fn main() -> ExitCode {
    logging::start();
    match Cli::parse().role {
        Role::Serve(args) => serve::run(*args).await,
    }
}
