//! The command line, as clap sees it. `local` and `server` are the binary's own
//! and not here: they pull in the server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use remora_proto_model::{ContainerName, ProjectName};

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub struct GlobalArgs {
    /// Server to talk to, instead of the one in the context file.
    #[arg(long, global = true, env = "REMORA_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// API key, instead of the one in the context file.
    #[arg(long, global = true, env = "REMORA_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Context file, instead of ~/.config/remora/config.json.
    #[arg(long, global = true, value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub context: Option<PathBuf>,
}

/// The verbs that talk to a server.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Open a terminal in a project; it survives a lost connection.
    Sh(ShArgs),
    /// Run a command in a project; exits as the command does.
    Exec(ExecArgs),
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `remora sh`.
#[derive(Args, Clone, Debug)]
pub struct ShArgs {
    /// Name of the project.
    pub name: ProjectName,
    /// Container; the dev container where none is given.
    #[arg(short, long)]
    pub container: Option<ContainerName>,
    /// Come back to the terminal with this id.
    #[arg(long, value_name = "ID", conflicts_with = "argv")]
    pub attach: Option<remora_proto_model::SessionId>,
    /// Command instead of a login shell.
    #[arg(last = true)]
    pub argv: Vec<String>,
}

/// `remora exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecArgs {
    /// Name of the project.
    pub name: ProjectName,
    /// Container; the dev container where none is given.
    #[arg(short, long)]
    pub container: Option<ContainerName>,
    /// Folder to run in, relative to the workspace.
    #[arg(short = 'C', long, default_value = "", value_name = "PATH")]
    pub cwd: String,
    /// Seconds after which the command and all it started is ended (exit code 124).
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub timeout: Option<u32>,
    /// Environment of the command, NAME=VALUE; repeat for more.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    pub env: Vec<(String, String)>,
    /// The command and its arguments; no shell reads them.
    #[arg(last = true, required = true)]
    pub argv: Vec<String>,
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '='; write NAME=VALUE"))?;
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts_well || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("{name:?} is no name of an environment variable; use letters, digits and '_'"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        _global: GlobalArgs,
        #[command(subcommand)]
        command: Command,
    }

    fn refused(line: &str) -> String {
        match Cli::try_parse_from(line.split(' ')) {
            Ok(cli) => panic!("{line} was taken as {:?}", cli.command),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_flags_say_what_was_wrong() {
        assert!(refused("remora exec a/b -- true").contains("a-z, 0-9 and '-'"));
        assert!(refused("remora exec web --env A -- true").contains("write NAME=VALUE"));
        assert!(refused("remora exec web --env 1A=b -- true").contains("no name of an environment variable"));
        assert!(refused("remora exec web").contains("<ARGV>"));
        assert!(refused("remora exec web --timeout 0 -- true").contains("1..=600"));
        assert!(refused("remora sh web --attach 12").contains("is not a UUID"));
    }
}
