//! The verbs: one file each, with its flags.

mod completion;
pub(crate) mod container;
pub(crate) mod cp;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod fs;
pub(crate) mod idle;
pub(crate) mod lifecycle;
pub(crate) mod ls;
pub(crate) mod open;
pub(crate) mod orphans;
pub(crate) mod rm;
pub(crate) mod sh;
pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod version;

use crate::{Command, Context, Failure, GlobalArgs, context::ContextError};

/// Runs one verb. `root` is the whole command line, for the completion script.
pub async fn run(global: &GlobalArgs, command: Command, root: clap::Command) -> Result<(), Failure> {
    match command {
        Command::Completion { shell } => completion::run(shell, root),
        Command::Container(command) => container::run(&context(global)?, command).await,
        Command::Cp(args) => {
            let sides = args.sides()?;
            cp::run(&context(global)?, sides).await
        }
        Command::Doctor(args) => doctor::run(global, args).await,
        Command::Exec(args) => exec::run(global, args).await,
        Command::Fs(command) => fs::run(&context(global)?, command).await,
        Command::Hibernate(args) => lifecycle::run(&context(global)?, args, lifecycle::Change::Hibernate).await,
        Command::Idle(args) => idle::run(&context(global)?, args).await,
        Command::Ls(args) => ls::run(&context(global)?, args).await,
        Command::Open(args) => open::run(&context(global)?, args).await,
        Command::Orphans(args) => orphans::run(&context(global)?, args).await,
        Command::Rm(args) => rm::run(&context(global)?, args).await,
        Command::Sh(args) => sh::run(&context(global)?, args).await,
        Command::Snapshot(command) => snapshot::run(&context(global)?, command).await,
        Command::Source(command) => source::run(&context(global)?, command).await,
        Command::Start(args) => lifecycle::run(&context(global)?, args, lifecycle::Change::Start).await,
        Command::Status(args) => status::run(&context(global)?, args).await,
        Command::Stop(args) => lifecycle::run(&context(global)?, args, lifecycle::Change::Stop).await,
        Command::Token(command) => token::run(&context(global)?, command).await,
        Command::Up(args) => up::run(&context(global)?, *args).await,
        Command::Version(args) => version::run(global, args).await,
        Command::Wake(args) => lifecycle::run(&context(global)?, args, lifecycle::Change::Wake).await,
    }
}

/// The server to talk to: flags and environment first, then the context file.
pub(crate) fn context(global: &GlobalArgs) -> Result<Context, ContextError> {
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
