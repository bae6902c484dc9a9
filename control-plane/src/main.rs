//! The binary `remora`: the server, and the verbs that talk to one.

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use remora_control_plane::{ServeArgs, ServerArgs};
use remora_control_plane_cli::{GlobalArgs, refuse};

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

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &words),
    };
    let runtime = match tokio::runtime::Runtime::new() {
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
