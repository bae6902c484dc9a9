//! [`ImageReference`]: which image of which registry, as people write it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest reference, in bytes: a name of 255, a tag of 128 and a digest fit.
pub const MAX_IMAGE_BYTES: usize = 512;
/// Longest name (registry and repository), in bytes: what registries take.
const MAX_NAME_BYTES: usize = 255;
/// Longest tag, in bytes (OCI distribution specification 1.1, "Pulling manifests").
const MAX_TAG_BYTES: usize = 128;
/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A reference to an image: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`. What is left
/// out means what it means to every container runtime: `node` is
/// `docker.io/library/node:latest`. Its text is kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    text: String,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// The text, as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry's host, with its port where it has one, for example `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in that registry, for example `library/node`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; where neither it nor a digest is given, `latest` is meant.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, for example `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What a registry is asked for: the digest, else the tag, else `latest`.
    pub fn manifest(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }
}

/// The text is no reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no reference to an image: {problem}; write [REGISTRY/]REPOSITORY[:TAG][@DIGEST]")]
pub struct ImageReferenceError {
    shown: String,
    problem: &'static str,
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;
    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let wrong = |problem| ImageReferenceError { shown: text.chars().take(80).collect(), problem };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() > MAX_IMAGE_BYTES {
            return Err(wrong("it is longer than 512 bytes"));
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it, a port.
        let last = named.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match named[last..].split_once(':') {
            Some((end, tag)) => (&named[..last + end.len()], Some(tag)),
            None => (named, None),
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(wrong("its name is longer than 255 bytes"));
        }
        if name.len() == 64 && name.bytes().all(is_lower_hex) {
            return Err(wrong("64 hexadecimal digits are an id and no name"));
        }
        let is_host = |first: &str| {
            first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        if !host_is_good(registry) {
            return Err(wrong("its registry is no host name or address with an optional port"));
        }
        if !path.split('/').all(component_is_good) {
            return Err(wrong("its repository must be of a-z and 0-9, parted by one of '.', '_', '__', '-' or '/'"));
        }
        if let Some(tag) = tag
            && !tag_is_good(tag)
        {
            return Err(wrong("its tag must have 1 to 128 letters, digits, '_', '.' and '-', '.' and '-' not first"));
        }
        if let Some(digest) = digest
            && !digest_is_good(digest)
        {
            return Err(wrong("its digest must be sha256: and 64, or sha512: and 128 of 0-9 and a-f"));
        }
        let repository = match (registry, path.contains('/')) {
            (DEFAULT_REGISTRY, false) => format!("library/{path}"),
            _ => path.to_owned(),
        };
        Ok(ImageReference {
            text: text.to_owned(),
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn host_is_good(host: &str) -> bool {
    let port_is_good = |port: &str| {
        (1..=5).contains(&port.len())
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (after.is_empty() || after.strip_prefix(':').is_some_and(port_is_good));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label_is_good) && port.is_none_or(port_is_good)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_is_good(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators = component.split(|character: char| u8::try_from(character).is_ok_and(alphanumeric));
    alphanumeric(*first)
        && alphanumeric(*last)
        && separators
            .filter(|between| !between.is_empty())
            .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn tag_is_good(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG_BYTES).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn digest_is_good(digest: &str) -> bool {
    match digest.split_once(':') {
        Some(("sha256", hex)) => hex.len() == 64 && hex.bytes().all(is_lower_hex),
        Some(("sha512", hex)) => hex.len() == 128 && hex.bytes().all(is_lower_hex),
        _ => false,
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ImageReferenceError;
    fn try_from(text: String) -> Result<Self, ImageReferenceError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(image: ImageReference) -> String {
        image.text
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_mean_what_runtimes_mean_by_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, repository, manifest) in [
            ("node", "docker.io", "library/node", "latest"),
            ("node:22-slim", "docker.io", "library/node", "22-slim"),
            ("my/app", "docker.io", "my/app", "latest"),
            ("ghcr.io/a/b/c:v1", "ghcr.io", "a/b/c", "v1"),
            ("localhost/x", "localhost", "x", "latest"),
            ("172.30.77.2:5000/remora/devserver:1", "172.30.77.2:5000", "remora/devserver", "1"),
            ("[fd00::1]:5000/x", "[fd00::1]:5000", "x", "latest"),
            ("Registry/x", "Registry", "x", "latest"),
            ("a.b/c__d.e--f:_T.1", "a.b", "c__d.e--f", "_T.1"),
            (&format!("r.io/x:1@{digest}"), "r.io", "x", &digest),
        ] {
            let image: ImageReference = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((image.registry(), image.repository(), image.manifest()), (registry, repository, manifest));
            assert_eq!(image.to_string(), text);
        }
    }

    #[test]
    fn what_no_registry_takes_is_refused() {
        for bad in [
            "",
            " ",
            "Node",
            "a b",
            "a/",
            "/a",
            "a//b",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:00",
            "a@md5:00",
            "a:b:c",
            "a_-b",
            "a___b",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "https://r.io/a",
            "r.io:/a",
            "r.io:0/a",
            "r.io:99999/a",
            "-r.io/a",
            "r..io/a",
            "[::1/a",
            "[x]/a",
            "a\n",
            "a;rm",
            "$(x)",
            "é",
            "../a",
            "r.io/../a",
            &format!("a:{}", "t".repeat(129)),
            &"a".repeat(256),
            &"a".repeat(64),
            &"a".repeat(513),
            &format!("a@sha256:{}", "A".repeat(64)),
        ] {
            let error = bad.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains("is no reference to an image"), "{error}");
        }
    }

    proptest! {
        /// What is taken is harmless text, and reading it again gives the same.
        #[test]
        fn any_text_is_read_or_refused(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}|.{0,20}") {
            if let Ok(image) = text.parse::<ImageReference>() {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                let full = match image.digest() {
                    Some(digest) => format!("{}/{}@{digest}", image.registry(), image.repository()),
                    None => format!("{}/{}:{}", image.registry(), image.repository(), image.manifest()),
                };
                let again: ImageReference = full.parse().unwrap();
                prop_assert_eq!(again.registry(), image.registry());
                prop_assert_eq!(again.repository(), image.repository());
                prop_assert_eq!(again.manifest(), image.manifest());
            }
        }
    }
}
