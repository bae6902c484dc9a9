//! The binary `remora`: the server, and the verbs that talk to one.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use remora_control_plane_cli::GlobalArgs;

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
    #[command(flatten)]
    Verb(Box<remora_control_plane_cli::Command>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { global, role } = Cli::parse();
    match role {
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
