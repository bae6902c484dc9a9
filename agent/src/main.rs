//! The binary `remora-agent`: one role a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use remora_agent::{
    config::ServeArgs,
    gates::{self, WaitArgs},
    hydrate::{self, DehydrateArgs, HydrateArgs},
    install::{self, InstallArgs},
    limits::EXIT_PATIENCE,
    precopy::{self, PrecopyArgs},
    serve, shim,
};
use remora_proto_serving::{
    logging::{self, Style},
    workers,
};

/// The static binaries stand on musl, whose allocator takes one lock for all threads and asks the kernel
/// for each larger block anew, and every frame of a stream is some of those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "remora-agent", version, about = "The agent that rides along in every dev-server pod")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Copy this program to where a container can run it, and make the shims' secret.
    Install(InstallArgs),
    /// Serve the agent's API over mutual TLS.
    Serve(Box<ServeArgs>),
    /// Make a workspace what its newest snapshot says, before its containers start.
    Hydrate(Box<HydrateArgs>),
    /// Make the last snapshot of a workspace, after its containers have ended.
    Dehydrate(Box<DehydrateArgs>),
    /// Ask a serving agent to make a snapshot now, without waiting for it.
    Precopy(PrecopyArgs),
    /// Wait for what a container needs, and become its command where one is given.
    Wait(WaitArgs),
    /// Wrap a container's command and own its terminals and commands.
    Shim(Box<shim::Args>),
}

fn main() -> std::io::Result<ExitCode> {
    let role = Cli::parse().role;
    let _logging = logging::start(Style::Json)?;
    let runtime = match role {
        Role::Serve(_) => workers::runtime()?,
        // A restore has its node to itself, and a shim does what only it can do on its workers, too.
        _ => tokio::runtime::Runtime::new()?,
    };
    let code = runtime.block_on(run(role));
    // The outcome is written: a thread that waits for a disk or a store does not hold up the end.
    runtime.shutdown_timeout(EXIT_PATIENCE);
    Ok(code)
}

async fn run(role: Role) -> ExitCode {
    match role {
        Role::Install(args) => install::install(args),
        Role::Serve(args) => serve::run(*args).await,
        Role::Hydrate(args) => hydrate::hydrate(*args).await,
        Role::Dehydrate(args) => hydrate::dehydrate(*args).await,
        Role::Precopy(args) => precopy::precopy(args),
        Role::Wait(args) => gates::wait(args).await,
        Role::Shim(args) => shim::run(*args).await.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the shim cannot go on");
            shim::exit_code_of(&error)
        }),
    }
}
