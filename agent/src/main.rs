//! The binary `remora-agent`: one role a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use remora_agent::{
    config::ServeArgs,
    hydrate::{self, DehydrateArgs, HydrateArgs},
    serve, shim,
};
use remora_proto_serving::logging::{self, Style};

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
    /// Make a workspace what its newest snapshot says, before its containers start.
    Hydrate(Box<HydrateArgs>),
    /// Make the last snapshot of a workspace, after its containers have ended.
    Dehydrate(Box<DehydrateArgs>),
    /// Wrap a container's command and own its terminals and commands.
    Shim(Box<shim::Args>),
}

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    let role = Cli::parse().role;
    let _logging = logging::start(Style::Json)?;
    Ok(match role {
        Role::Serve(args) => serve::run(*args).await,
        Role::Hydrate(args) => hydrate::hydrate(*args).await,
        Role::Dehydrate(args) => hydrate::dehydrate(*args).await,
        Role::Shim(args) => shim::run(*args).await.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the shim cannot go on");
            shim::exit_code_of(&error)
        }),
    })
}
