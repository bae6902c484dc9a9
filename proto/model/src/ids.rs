//! Names and identifiers, parsed once at the edge. After that their type says
//! that they are safe to put into a path component, a label or a DNS name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A name or identifier does not have the form it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {shown:?} {problem}")]
pub struct IdError {
    what: &'static str,
    shown: String,
    problem: &'static str,
}

impl IdError {
    fn new(what: &'static str, text: &str, problem: &'static str) -> Self {
        // Bounded: the text is a stranger's and goes into a message.
        let shown = text.chars().take(80).collect();
        IdError { what, shown, problem }
    }
}

/// RFC 1123 label: 1 to `max` of `[a-z0-9-]`, no hyphen at either end.
fn dns_label(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    let fail = |problem| Err(IdError::new(what, text, problem));
    if text.is_empty() {
        return fail("is empty; give 1 to 40 of a-z, 0-9 and '-'");
    }
    if text.len() > max {
        return fail("is too long; at most 40 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fail("has a character other than a-z, 0-9 and '-'");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return fail("begins or ends with '-'");
    }
    Ok(())
}

macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Longest name, in bytes: a DNS label has 63 (RFC 1123), and what we
            /// derive from a name (`-{generation}`, `-{container}`) needs the rest.
            pub const MAX_BYTES: usize = 40;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                dns_label($what, text, Self::MAX_BYTES)?;
                Ok($name(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label_type!(
    /// The name of a project, unique on its server.
    ProjectName, "project name"
);
label_type!(
    /// The name of a container inside its project.
    ContainerName, "container name"
);

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random one (UUID version 4, RFC 9562).
            #[expect(clippy::new_without_default, reason = "a random value is no default")]
            pub fn new() -> Self {
                $name(Uuid::new_v4())
            }

            /// The one of 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes.
            pub fn into_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the hyphenated form: one id has one spelling.
                match Uuid::try_parse(text) {
                    Ok(id) if text.len() == 36 => Ok($name(id)),
                    _ => Err(IdError::new($what, text, "is not a UUID such as 3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44")),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }
    };
}

uuid_type!(
    /// A project for ever, whatever its name becomes.
    ProjectId, "project id"
);
uuid_type!(
    /// A terminal or a command. Never a PID: those are reused.
    SessionId, "session id"
);

/// The epoch of a project: raised before each new pod is made, carried by every
/// identity, token and snapshot, so that an old pod can be told from the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whoever a project belongs to, in the words of who signs them in. Its grammar is
/// that of a label's value, since it becomes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Longest id, in bytes: what a label's value has.
    pub const MAX_BYTES: usize = 63;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = text.len() <= Self::MAX_BYTES && text.bytes().all(inside);
        if !fits || !ends(text.bytes().next()) || !ends(text.bytes().next_back()) {
            let problem = "must have 1 to 63 letters, digits, '-', '_' and '.', a letter or digit at both ends";
            return Err(IdError::new("user id", text, problem));
        }
        Ok(UserId(text.to_owned()))
    }
}

impl TryFrom<String> for UserId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> String {
        user.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A caller's word for one intended effect: repeating a call with the same key
/// and the same request returns the first result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Longest key, in bytes: a UUID twice over, and it is kept per session.
    pub const MAX_BYTES: usize = 128;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fail = |problem| Err(IdError::new("idempotency key", text, problem));
        if text.is_empty() {
            return fail("is empty; give a fresh UUID for each new intent and the same one to repeat it");
        }
        if text.len() > Self::MAX_BYTES {
            return fail("is longer than 128 bytes");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return fail("has a character outside printable ASCII");
        }
        Ok(IdempotencyKey(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a016: names that become paths and labels are refused by grammar.
    #[test]
    fn a016_names_outside_the_grammar_are_refused() {
        let long = "a".repeat(41);
        for bad in ["", "..", ".", "a/b", "A", "é", "-a", "a-", "a b", "a\0", "a\n", long.as_str()] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad:?}");
            assert!(bad.parse::<ContainerName>().is_err(), "{bad:?}");
        }
        assert_eq!("web-1".parse::<ProjectName>().unwrap().as_str(), "web-1");
    }

    #[test]
    fn a_user_is_a_label() {
        for bad in ["", "-a", "a-", "a/b", "a b", "a@b", "é", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
        for good in ["a", "Alice_1.x", "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44", &"a".repeat(63)] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        let id = SessionId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().replace('-', "").parse::<SessionId>().is_err());
        assert!("../../etc".parse::<SessionId>().is_err());
    }

    #[test]
    fn keys_are_printable_and_bounded() {
        assert!("".parse::<IdempotencyKey>().is_err());
        assert!("a b".parse::<IdempotencyKey>().is_err());
        assert!("x".repeat(129).parse::<IdempotencyKey>().is_err());
        assert!("x".repeat(128).parse::<IdempotencyKey>().is_ok());
    }
}
