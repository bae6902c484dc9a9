//! What an image runs by itself, read from its registry: a container under the
//! shim needs its command spelled out, and a spec may leave that to the image.
//!
//! ```text
//!  reference ──► manifest or index (of this platform) ──► configuration: Entrypoint and Cmd
//! ```
//!
//! The reference is a stranger's word, so that every request is one to a host of
//! a stranger's choice: only by https (or to a registry that the settings name),
//! within a time and a size, and nothing of an answer is shown to anybody.

mod challenge;
mod documents;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use remora_proto_model::{
    Fault, Reason,
    project::{ImageReference, MAX_COMMAND_WORDS, MAX_WORD_BYTES},
};
use tokio::time::timeout;

use self::{
    documents::{Configuration, Document},
    registry::Registry,
};
use crate::limits::{MAX_KNOWN_IMAGES, REGISTRY_PATIENCE};

/// Reads what images run by themselves.
#[derive(Debug)]
pub struct Commands {
    registry: Registry,
    /// The architecture of the nodes, in the words of image indexes.
    architecture: String,
    patience: Duration,
    /// The command of each manifest, by its digest.
    known: Mutex<BTreeMap<String, Configuration>>,
}

impl Commands {
    /// For nodes of this program's own architecture. The registries in `insecure`
    /// (`HOST` or `HOST:PORT`) are spoken to by plain http.
    pub fn new(insecure: Vec<String>) -> Commands {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Commands {
            registry: Registry::new(insecure.into_iter().collect()),
            architecture: architecture.to_owned(),
            patience: REGISTRY_PATIENCE,
            known: Mutex::default(),
        }
    }

    /// With another bound on the time for one image.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Commands {
        self.patience = patience;
        self
    }

    /// What `image` runs by itself: its entry point and the arguments of that, or
    /// `args` in their place where there are any.
    pub async fn of(&self, image: &ImageReference, args: &[String]) -> Result<Vec<String>, Fault> {
        let known = image.digest().and_then(|digest| self.known(digest));
        let asked = match known {
            Some(configuration) => Ok(Ok(configuration)),
            None => timeout(self.patience, self.ask(image)).await,
        };
        match asked {
            Ok(answer) => {
                let Configuration { entry_point, arguments } = answer?;
                let arguments = if args.is_empty() { arguments } else { args.to_vec() };
                usable(image, entry_point.into_iter().chain(arguments).collect())
            }
            Err(_) => Err(Fault::new(
                Reason::Unavailable,
                format!("the registry {} did not answer within {} s", image.registry(), self.patience.as_secs()),
            )
            .hint("give the container a command, then the registry is not asked")),
        }
    }

    async fn ask(&self, image: &ImageReference) -> Result<Configuration, Fault> {
        let mut session = self.registry.session(image);
        let found = session.manifest(image.manifest()).await?;
        if let Some(known) = self.known(&found.digest) {
            return Ok(known);
        }
        let read = |bytes: &[u8]| Document::read(bytes).map_err(|problem| unreadable(image, &problem));
        let configuration = match read(&found.bytes)? {
            Document::Manifest { configuration } => configuration,
            Document::Index { platforms } => {
                let own = platforms.iter().find(|platform| platform.is("linux", &self.architecture));
                let Some(own) = own else {
                    let names: BTreeSet<String> = platforms.iter().map(ToString::to_string).collect();
                    let names: Vec<String> = names.into_iter().take(20).collect();
                    return Err(Fault::new(
                        Reason::FormatUnsupported,
                        format!(
                            "image {image} is not there for linux/{}; it is for {}",
                            self.architecture,
                            names.join(", ")
                        ),
                    )
                    .hint("name an image for the nodes of this cluster"));
                };
                match read(&session.manifest(&own.digest).await?.bytes)? {
                    Document::Manifest { configuration } => configuration,
                    Document::Index { .. } => return Err(unreadable(image, "its index names another index")),
                }
            }
        };
        let bytes = session.blob(&configuration).await?;
        let read = Configuration::read(&bytes).map_err(|problem| unreadable(image, &problem))?;
        self.remember(found.digest, read.clone());
        Ok(read)
    }

    fn known(&self, digest: &str) -> Option<Configuration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn remember(&self, digest: String, read: Configuration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN_IMAGES {
            // Whichever: it is asked for again.
            known.pop_first();
        }
        known.insert(digest, read);
    }
}

/// Checks that a command can be one of a container.
fn usable(image: &ImageReference, command: Vec<String>) -> Result<Vec<String>, Fault> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Fault::new(Reason::FailedPrecondition, format!("image {image} has no command of its own"))
            .hint("give the container a command"));
    }
    let fits = |word: &String| word.len() <= MAX_WORD_BYTES && !word.contains('\0');
    if command.len() > MAX_COMMAND_WORDS || !command.iter().all(fits) {
        return Err(Fault::new(
            Reason::FailedPrecondition,
            format!("the command of image {image} has more than {MAX_COMMAND_WORDS} words, one of more than {MAX_WORD_BYTES} bytes, or a NUL"),
        )
        .hint("give the container a command"));
    }
    Ok(command)
}

fn unreadable(image: &ImageReference, problem: &str) -> Fault {
    Fault::new(Reason::FormatUnsupported, format!("what the registry says of image {image} cannot be read: {problem}"))
        .hint("give the container a command, then the registry is not asked")
}
