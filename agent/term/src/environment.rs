//! What a child gets from us: environment, working directory, and a word for why it did not start.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{TermError, invalid},
    limits::{ARGV_BYTES, ARGV_SHOWN_BYTES, ARGV_WORDS, CWD_BYTES},
    oom_score::OomScore,
};

/// Names of ours start like this. None is inherited by a child: they configure
/// the shim, and one of them says where its secret is.
const OWN_PREFIX: &str = "REMORA_";
/// The one of them by which a pod's processes are found again: everything in a
/// container carries it, even with a clean environment.
const POD_MARK: &str = "REMORA_POD";
/// These say where the other containers are.
const SERVICE_PREFIX: &str = "REMORA_SERVICE_";
/// The mark by which everything a session started is found again.
pub(crate) const SESSION_MARK: &str = "REMORA_SESSION";
/// Searched where the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment and folder that every child of a container starts with.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    folder: PathBuf,
    score: OomScore,
}

impl Environment {
    /// This process's environment without our own names; relative folders count from `folder`.
    pub fn inherited(folder: PathBuf) -> Self {
        let variables = std::env::vars_os().filter(|(name, _)| is_passed_on(&name.to_string_lossy())).collect();
        Environment { variables, folder, score: OomScore::of_children() }
    }

    /// The same with relative folders counted from `folder`.
    pub(crate) fn within(&self, folder: PathBuf) -> Self {
        Environment { folder, ..self.clone() }
    }

    /// The login shell of this container: $SHELL, else bash, else sh.
    pub(crate) fn shell(&self) -> String {
        let named = self.variables.get(&OsString::from("SHELL")).and_then(|shell| shell.to_str());
        named
            .into_iter()
            .chain(["/bin/bash", "/usr/bin/bash", "/bin/sh"])
            .find(|shell| Path::new(shell).is_file())
            .unwrap_or("/bin/sh")
            .to_owned()
    }

    /// A command that only lacks its descriptors, marked with `mark`.
    pub fn command(
        &self,
        argv: &[String],
        additions: &BTreeMap<String, String>,
        clean: bool,
        cwd: &str,
        mark: &str,
    ) -> Result<Prepared, TermError> {
        check(argv, additions, cwd)?;
        if argv.is_empty() {
            return Err(invalid("argv", "is empty; the first word names the program"));
        }
        let folder = self.folder.join(cwd);
        enterable(&folder)?;
        let mut variables = self.variables.clone();
        if clean {
            variables.retain(|name, _| name == "PATH" || name == "HOME" || name == POD_MARK);
        }
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        variables.extend(additions.iter().map(|(name, value)| (name.into(), value.into())));
        variables.insert("PWD".into(), folder.clone().into());
        variables.insert(SESSION_MARK.into(), mark.into());
        let path = variables.get(&OsString::from("PATH")).cloned().unwrap_or_default();
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear().envs(&variables).current_dir(&folder);
        crate::sys::scored(&mut command, self.score);
        Ok(Prepared { command, program: argv[0].clone(), path, folder })
    }
}

fn is_passed_on(name: &str) -> bool {
    let ours = name.starts_with(OWN_PREFIX);
    !ours || name == POD_MARK || name.starts_with(SERVICE_PREFIX)
}

/// A command about to start, with what explains its failure.
#[derive(Debug)]
pub struct Prepared {
    /// Only lacks its descriptors.
    pub command: Command,
    program: String,
    path: OsString,
    pub(crate) folder: PathBuf,
}

/// What explains why a command did not start.
pub(crate) struct Explanation {
    program: String,
    path: OsString,
    folder: PathBuf,
}

impl Prepared {
    pub(crate) fn split(self) -> (Command, Explanation) {
        (self.command, Explanation { program: self.program, path: self.path, folder: self.folder })
    }
}

impl Explanation {
    /// The word for a failed start. exec(2) says ENOENT for a missing program and
    /// for a missing interpreter alike; looking for the file tells them apart.
    pub(crate) fn of(self, error: &io::Error) -> TermError {
        let program = self.program;
        let problem = |text: &str| TermError::ProgramNotExecutable { program: program.clone(), problem: text.into() };
        match error.raw_os_error() {
            Some(2) => match find(&program, &self.path, &self.folder) {
                Some(_) => problem("its interpreter (the #! line or the dynamic loader) does not exist"),
                None => TermError::ProgramNotFound { program, path: self.path.to_string_lossy().into_owned() },
            },
            Some(1 | 13) => match find(&program, &self.path, &self.folder) {
                Some(file) if file.is_dir() => problem("it is a directory"),
                Some(_) => TermError::ProgramNotPermitted { program },
                None => TermError::WorkingDirectory { path: self.folder, problem: error.to_string() },
            },
            Some(8) => problem("it is neither a program for this machine nor a script with a #! line"),
            Some(21 | 22 | 80) => problem("its program headers are damaged"),
            Some(36) => invalid("argv", "its first word is longer than the name or path of a file can be"),
            Some(40) => problem("its path is a loop of symbolic links"),
            Some(20) => TermError::ProgramNotFound { program, path: self.path.to_string_lossy().into_owned() },
            Some(26) => problem("it is open for writing (ETXTBSY)"),
            Some(7) => invalid("argv", "argv and environment are larger than the system takes"),
            Some(11 | 12 | 23 | 24) => TermError::ProcessLimit { what: "process", problem: error.to_string() },
            _ => TermError::System { stage: "spawn", source: io::Error::new(error.kind(), error.to_string()) },
        }
    }
}

fn find(program: &str, path: &OsString, folder: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(folder.join(program)).filter(|file| file.exists());
    }
    std::env::split_paths(path).map(|entry| folder.join(entry).join(program)).find(|file| file.exists())
}

fn enterable(folder: &Path) -> Result<(), TermError> {
    let problem = match std::fs::metadata(folder) {
        Err(error) => error.to_string(),
        Ok(metadata) if !metadata.is_dir() => "it is not a directory".into(),
        // Whether *we* may enter is for the kernel to say; this only names the plain case.
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => "nobody may enter it".into(),
        Ok(_) => return Ok(()),
    };
    Err(TermError::WorkingDirectory { path: folder.into(), problem })
}

/// The argv as it is shown: a long one is cut, and says so with an ellipsis.
pub(crate) fn shown(argv: &[String]) -> Vec<String> {
    let mut room = ARGV_SHOWN_BYTES;
    let mut words = Vec::new();
    for word in argv {
        // An empty word counts too, so that their number is bounded.
        if word.len().max(1) > room {
            words.push(format!("{}\u{2026}", &word[..word.floor_char_boundary(room)]));
            break;
        }
        room -= word.len().max(1);
        words.push(word.clone());
    }
    words
}

/// Checks the working directory of a program that is kept in a folder.
pub(crate) fn stays_within(cwd: &str) -> Result<(), TermError> {
    if cwd.starts_with('/') || cwd.split('/').any(|part| part == "..") {
        return Err(invalid("cwd", "leads out of the folder that the program is kept in; it counts from that folder"));
    }
    Ok(())
}

/// Checks what a caller gives a child; an empty argv stands for the login shell.
pub(crate) fn check(argv: &[String], additions: &BTreeMap<String, String>, cwd: &str) -> Result<(), TermError> {
    if argv.first().is_some_and(String::is_empty) {
        return Err(invalid("argv", "has an empty first word; it names the program"));
    }
    if argv.len() > ARGV_WORDS {
        return Err(invalid("argv", format!("has {} words, at most {ARGV_WORDS} are taken", argv.len())));
    }
    let bytes: usize = argv.iter().map(String::len).sum::<usize>()
        + additions.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if bytes > ARGV_BYTES {
        return Err(invalid("argv", format!("with env has {bytes} bytes, at most {ARGV_BYTES} are taken")));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(invalid("argv", "has a NUL byte"));
    }
    if cwd.len() > CWD_BYTES || cwd.contains('\0') {
        return Err(invalid("cwd", format!("has a NUL byte or more than {CWD_BYTES} bytes")));
    }
    for (name, value) in additions {
        let shown: String = name.chars().take(40).collect();
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(invalid("env", format!("{shown:?} is no name of a variable, or its value has a NUL byte")));
        }
        if name.starts_with(OWN_PREFIX) {
            return Err(invalid("env", format!("{shown:?}: names that start with {OWN_PREFIX} are Remora's own")));
        }
    }
    Ok(())
}
