//! Which server to talk to and with which key: the context file that
//! `remora local` writes, so that the next command just works.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The server a command talks to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Its address, for example `http://127.0.0.1:7070`.
    pub server: String,
    /// The API key, `rmk_…`.
    pub api_key: String,
    /// PEM file with the CA of an https server, where it is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret and debug output ends up in logs.
        f.debug_struct("Context").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Nothing says which server to use.
    #[error("no server is known: {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The file is there and cannot be used.
    #[error("{}: {problem}", .path.display())]
    Unusable {
        /// The context file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no home folder to look in.
    #[error("neither REMORA_CONFIG, XDG_CONFIG_HOME nor HOME is set, so there is nowhere to look for the context file")]
    NoHome,
}

impl ContextError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ContextError::Missing(_) => {
                "run `remora local` in another terminal, or set REMORA_SERVER and REMORA_API_KEY"
            }
            ContextError::Unusable { .. } => "remove it and run `remora local` to write it again",
            ContextError::NoHome => "set REMORA_CONFIG to the file, or REMORA_SERVER and REMORA_API_KEY",
        }
    }
}

impl Context {
    /// Where the context file is: `REMORA_CONFIG`, else `remora/config.json` under
    /// the user's configuration folder (XDG Base Directory Specification).
    pub fn default_path() -> Result<PathBuf, ContextError> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("REMORA_CONFIG") {
            return Ok(path);
        }
        let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        Ok(folder.ok_or(ContextError::NoHome)?.join("remora/config.json"))
    }

    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let unusable = |problem: String| ContextError::Unusable { path: path.to_owned(), problem };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ContextError::Missing(path.to_owned())),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Writes the file at `path`, readable by its owner alone; a reader sees the
    /// old one or the new one, never half of it.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_saved_context_is_private_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/config.json");
        let context = Context { server: "http://127.0.0.1:1".to_owned(), api_key: "rmk_a_b".to_owned(), ca_file: None };
        context.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Context::load(&path).unwrap(), context);
        assert!(!format!("{context:?}").contains("rmk_"), "a key in debug output");
    }

    #[test]
    fn a_missing_or_broken_file_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(Context::load(&path).unwrap_err().hint().contains("remora local"));
        fs::write(&path, "{").unwrap();
        assert!(Context::load(&path).unwrap_err().hint().contains("remove it"));
    }
}
