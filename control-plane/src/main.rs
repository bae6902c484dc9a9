//! The binary `remora`: the server, and the verbs that talk to one.

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use remora_control_plane::{ServeArgs, ServerArgs};
use remora_control_plane_cli::{GlobalArgs, refuse};
use tokio::runtime::{Builder, Runtime};

/// The static binaries stand on musl, whose allocator takes one lock for all threads and asks the kernel
/// for each larger block anew, and every frame of a stream is some of those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "remora", version, about = "Dev servers whose work outlives their pods")]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve projects on this machine for yourself, and write the context for the other commands.
    Local(Box<ServeArgs>),
    /// Serve projects; they run on when the server ends.
    Server(Box<ServerArgs>),
    #[command(flatten)]
    Verb(Box<remora_control_plane_cli::Command>),
}

/// The command line. Installed as `kubectl-remora` it is a plugin of kubectl, and
/// names itself as people call it then.
fn definition(words: &[OsString]) -> clap::Command {
    let called = words.first().map(Path::new).and_then(Path::file_stem);
    let name = if called.is_some_and(|name| name == "kubectl-remora") { "kubectl remora" } else { "remora" };
    Cli::command().bin_name(name)
}

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    let parsed = definition(&words).try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &words),
    };
    let runtime = match &cli.role {
        Role::Local(_) | Role::Server(_) => remora_proto_serving::workers::runtime(),
        Role::Verb(command) if command.is_conversation() => Builder::new_current_thread().enable_all().build(),
        Role::Verb(_) => Runtime::new(),
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("remora: no threads to run on: {error}");
            return ExitCode::from(71);
        }
    };
    let code = runtime.block_on(run(cli));
    // A read of standard input, which nothing can call off, does not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run(Cli { global, role }: Cli) -> ExitCode {
    match role {
        Role::Local(args) => remora_control_plane::local(*args, global.context).await,
        Role::Server(args) => remora_control_plane::server(*args).await,
        Role::Verb(command) => match remora_control_plane_cli::run(&global, *command, Cli::command()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if let Some(text) = failure.text() {
                    eprintln!("{text}");
                }
                ExitCode::from(failure.exit_code())
            }
        },
    }
}
