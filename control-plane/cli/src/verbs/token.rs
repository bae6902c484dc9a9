//! `remora token …`: capabilities for programs, and API keys.

pub(crate) mod create;
pub(crate) mod key;

use clap::Subcommand;

use crate::{Context, Failure};

/// The verbs on tokens and keys.
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Make a token for one project, at most 15 minutes valid, and print it.
    Create(create::CreateArgs),
    /// Work with API keys; for admins.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create::run(context, args).await,
        TokenCommand::Key(command) => key::run(context, command).await,
    }
}
