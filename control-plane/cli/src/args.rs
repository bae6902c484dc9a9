//! The command line, as clap sees it. Each verb's own flags stand in its file.
//! `local` and `server` are the binary's own and not here: they pull in the server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use remora_proto_model::project::variable_name;

use crate::{limits, verbs};

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
    /// Make a project of a folder and start it.
    Up(Box<verbs::up::UpArgs>),
    /// List projects.
    #[command(alias = "list")]
    Ls(verbs::ls::LsArgs),
    /// Show a project.
    Status(verbs::status::StatusArgs),
    /// Open a terminal in a project; it survives a lost connection.
    Sh(verbs::sh::ShArgs),
    /// Run a command in a project; exits as the command does.
    Exec(verbs::exec::ExecArgs),
    /// Open an exposed port of a project in the browser.
    Open(verbs::open::OpenArgs),
    /// Work with the containers of a project.
    #[command(subcommand)]
    Container(verbs::container::ContainerCommand),
    /// Copy files and folders to a project or from it.
    Cp(verbs::cp::CpArgs),
    /// Work with single files of a project.
    #[command(subcommand)]
    Fs(verbs::fs::FsCommand),
    /// Work with snapshots of a project.
    #[command(subcommand)]
    Snapshot(verbs::snapshot::SnapshotCommand),
    /// Bring the archive that a project starts from by way of the store.
    #[command(subcommand)]
    Source(verbs::source::SourceCommand),
    /// Start a project that was stopped or hibernated.
    Start(verbs::lifecycle::LifecycleArgs),
    /// End a project's processes after a final snapshot; its files stay on the machine.
    Stop(verbs::lifecycle::LifecycleArgs),
    /// Put a project on the store alone: final snapshot, processes and files go.
    Hibernate(verbs::lifecycle::LifecycleArgs),
    /// Bring a hibernated project back.
    Wake(verbs::lifecycle::LifecycleArgs),
    /// Show or set when a project that nobody uses hibernates or stops by itself.
    Idle(verbs::idle::IdleArgs),
    /// End a project for good; its snapshots stay unless --purge.
    Rm(verbs::rm::RmArgs),
    /// Make tokens and API keys.
    #[command(subcommand)]
    Token(verbs::token::TokenCommand),
    /// List what was made for projects that are not there. For admins.
    Orphans(verbs::orphans::OrphansArgs),
    /// Look for what is wrong and say what to do.
    Doctor(verbs::doctor::DoctorArgs),
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version of this program, and with --with-server the server's.
    Version(verbs::version::VersionArgs),
}

impl Command {
    /// Whether it is one conversation, which one thread does best: with workers each answer would wake one and
    /// then the thread that waits. Other commands print what may be read slowly, and that must not
    /// hold up the connection.
    pub fn is_conversation(&self) -> bool {
        matches!(self, Command::Sh(_) | Command::Exec(_))
    }
}

/// Whether and how long to wait for a project.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitArgs {
    /// Return at once and do not wait until it is there.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Seconds to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = limits::FOLLOW_SECONDS, conflicts_with = "no_wait",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::MAX_FOLLOW_SECONDS)))]
    pub(crate) timeout: u32,
}

/// Parses `NAME=VALUE` for an environment.
pub(crate) fn parse_env(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '='; write NAME=VALUE"))?;
    variable_name(name).map_err(|fault| fault.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses `KEY=VALUE` or `KEY` for a label.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("{text:?} has no key; write KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses permission bits as chmod(1) takes them in octal.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 && text.len() <= 5 => Ok(mode),
        _ => Err(format!("{text:?} is no mode; write permission bits in octal, for example 644")),
    }
}

/// Parses `FIRST:LAST`, `FIRST:` or `LINE` into the first line and the last, if there is one.
pub(crate) fn parse_lines(text: &str) -> Result<(u64, Option<u64>), String> {
    let wrong = || format!("{text:?} is no range of lines; write FIRST:LAST, FIRST: or LINE, counted from 1");
    let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
    let (first, last) = match text.split_once(':') {
        None => (number(text)?, Some(number(text)?)),
        Some((first, "")) => (number(first)?, None),
        Some((first, last)) => (number(first)?, Some(number(last)?)),
    };
    // One less than the first is the place before it, where lines go in.
    if first == 0 || last.is_some_and(|last| last + 1 < first) {
        return Err(wrong());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;
    use crate::exit::refused_line;

    #[derive(Parser)]
    #[command(name = "remora")]
    struct Cli {
        #[command(flatten)]
        _global: GlobalArgs,
        #[command(subcommand)]
        command: Command,
    }

    fn refused(line: &str) -> (String, u8) {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        match Cli::try_parse_from(&words) {
            Ok(cli) => panic!("{line} was taken as {:?}", cli.command),
            Err(error) => refused_line(&error, &words).expect("a refusal is a failure"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// One row a flag or name: the line, what its refusal must name.
    #[test]
    fn bad_lines_name_what_was_wrong() {
        for (line, named) in [
            ("remora frob", "'frob'"),
            ("remora status My-Shop", "my-shop would do"),
            ("remora status", "<NAME>"),
            ("remora ls -o xml", "'xml'"),
            ("remora exec a/b -- true", "a-b would do"),
            ("remora exec web --env A -- true", "write NAME=VALUE"),
            ("remora exec web --env 1A=b -- true", "no name of a variable"),
            ("remora exec web --env REMORA_X=b -- true", "is taken"),
            ("remora exec web", "<ARGV>"),
            ("remora exec web --timeout 0 -- true", "1..=604800"),
            ("remora sh web --attach 12", "is not a UUID"),
            ("remora sh web --list --attach 3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44", "--attach"),
            ("remora up --port 0", "1 to 65535"),
            ("remora up --port web:99999", "1 to 65535"),
            ("remora up --port UP:80", "\"UP\""),
            ("remora open shop --path docs", "begins with '/'"),
            ("remora up --port 80=me", "private, authenticated or public"),
            ("remora up --name -", "project name"),
            ("remora up --container A", "container name"),
            ("remora up --env =x", "variable"),
            ("remora up --empty .", "--empty"),
            ("remora up --image A:b:c", "no reference to an image"),
            ("remora up --cpu fast", "no quantity"),
            ("remora up --memory 1Gi:", "no quantity"),
            ("remora up --storage-class fast", "--volume"),
            ("remora up --owner a/b", "user id"),
            ("remora up --cmd x -- y", "--cmd"),
            ("remora up --idle-after 4", "5..=2592000"),
            ("remora idle web --after soon", "--idle-after"),
            ("remora idle web --action delete", "hibernate, stop or none"),
            ("remora up -f x.yaml --port 80", "--port"),
            ("remora up -f x.yaml --image a", "--image"),
            ("remora container add web", "<CONTAINER>"),
            ("remora container add web db --preset oracle", "postgres or redis"),
            ("remora container add web db --kind sidecar", "dev or service"),
            ("remora container add web api --depends-on db:done", "started or healthy"),
            ("remora container set web db --user 0", "1.."),
            ("remora container set web db --storage-path /x", "--storage"),
            ("remora start web --timeout 0", "--timeout"),
            ("remora start web --no-wait --timeout 3", "--no-wait"),
            ("remora fs read web f --lines 0", "range of lines"),
            ("remora fs read web f --lines 5:3", "range of lines"),
            ("remora fs read web f --offset x", "--offset"),
            ("remora fs read web f --lines 1 --offset 2", "--lines"),
            ("remora fs write web f --mode 999", "in octal"),
            ("remora fs write web f --create --if-match x", "--create"),
            ("remora fs edit web f", "--old"),
            ("remora fs edit web f --old a", "--new"),
            ("remora fs edit web f --old a --new b --lines 1", "--lines"),
            ("remora fs grep web x -C 21", "0..=20"),
            ("remora fs grep web x --limit 0", "1..=10000"),
            ("remora fs ls web --depth 65", "1..=64"),
            ("remora fs glob web", "<PATTERN>"),
            ("remora fs watch web --every 5", "10..=5000"),
            ("remora fs mkdir web a --mode rwx", "in octal"),
            ("remora snapshot create web --label =x", "no key"),
            ("remora snapshot diff web x", "snapshot id"),
            ("remora snapshot restore web", "<SNAPSHOT>"),
            ("remora snapshot restore web ../x", "snapshot id"),
            ("remora snapshot prune web --keep-last 0", "--keep-last"),
            ("remora token create web --verb file.eat", "file.read"),
            ("remora token create web --ttl 2592001", "1..=2592000"),
            ("remora token key create ci --role king", "viewer"),
            ("remora token key revoke 12", "is not a UUID"),
            ("remora completion tcsh", "bash"),
        ] {
            let (text, code) = refused(line);
            assert!(text.starts_with("remora: ") && text.contains("\nhint: "), "{line}: {text}");
            assert_eq!(text.lines().count(), 2, "{line}: {text}");
            assert!(text.contains(named), "{line} does not name {named:?}: {text}");
            assert_eq!(code, if line.contains(" exec ") { 125 } else { 64 }, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_verb_shows_the_verbs() {
        for line in ["remora", "remora fs", "remora snapshot", "remora container", "remora token key"] {
            let (text, code) = refused(line);
            assert!(text.contains("Usage: ") && code == 64, "{line}: {text}");
        }
    }

    #[test]
    fn ranges_of_lines() {
        assert_eq!(parse_lines("3"), Ok((3, Some(3))));
        assert_eq!(parse_lines("3:"), Ok((3, None)));
        assert_eq!(parse_lines("3:9"), Ok((3, Some(9))));
        assert_eq!(parse_lines("3:2"), Ok((3, Some(2))));
        for bad in ["", ":", ":3", "a", "1:b", "3:1", "-1"] {
            assert!(parse_lines(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!((parse_mode("644"), parse_mode("0755")), (Ok(0o644), Ok(0o755)));
        for bad in ["", "8", "rwx", "17777", "000000644"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
