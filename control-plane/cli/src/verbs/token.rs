//! `remora token …`: access tokens for programs, and API keys.

pub(crate) mod create;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod revoke;

use clap::Subcommand;

use crate::{Context, Failure};

/// The verbs on tokens and keys.
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Make a token for one project, and print it.
    Create(create::CreateArgs),
    /// List the tokens of a project, without their secrets.
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// End a token, and what it has open.
    Revoke(revoke::RevokeArgs),
    /// Work with API keys; for admins.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create::run(context, args).await,
        TokenCommand::Ls(args) => ls::run(context, args).await,
        TokenCommand::Revoke(args) => revoke::run(context, args).await,
        TokenCommand::Key(command) => key::run(context, command).await,
    }
}
