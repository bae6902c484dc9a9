//! The verbs: one file each.

mod completion;
mod exec;
mod sh;

use crate::{Command, Context, Failure, GlobalArgs};

/// Runs one verb. `root` is the whole command line, for the completion script.
pub async fn run(global: &GlobalArgs, command: Command, root: clap::Command) -> Result<(), Failure> {
    match command {
        Command::Completion { shell } => completion::run(shell, root),
        Command::Exec(args) => exec::run(&context(global)?, args).await,
        Command::Sh(args) => sh::run(&context(global)?, args).await,
    }
}

/// The server to talk to: flags and environment first, then the context file.
fn context(global: &GlobalArgs) -> Result<Context, Failure> {
    if let (Some(server), Some(api_key)) = (&global.server, &global.api_key) {
        return Ok(Context { server: server.clone(), api_key: api_key.clone(), ca_file: None });
    }
    let path = match &global.context {
        Some(path) => path.clone(),
        None => Context::default_path()?,
    };
    let stored = Context::load(&path)?;
    Ok(Context {
        server: global.server.clone().unwrap_or(stored.server),
        api_key: global.api_key.clone().unwrap_or(stored.api_key),
        ca_file: stored.ca_file,
    })
}
