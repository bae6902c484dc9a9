//! [`RelPath`]: a client's path, checked without looking at the file system.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use crate::{
    RootError,
    limits::{MAX_NAME_BYTES, MAX_PATH_BYTES},
};

/// A path relative to a [`Root`](crate::Root): bytes, never interpreted as text.
///
/// Empty components and `.` are dropped, so the root itself is the empty path.
/// A `..` is kept, because what it means depends on the links before it; one
/// that would leave the root even without links is refused here.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Checks `path`. Empty and `.` are the root itself.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, RootError> {
        let path = path.as_ref();
        let refuse = |problem: &'static str| Err(RootError::PathInvalid { path: shown(path), problem });
        if path.len() > MAX_PATH_BYTES {
            return refuse("it is longer than 4095 bytes");
        }
        if path.contains(&0) {
            return refuse("it contains a NUL byte");
        }
        if path.first() == Some(&b'/') {
            return refuse("it is absolute; name it relative to the root, without the leading slash");
        }
        let mut depth = 0_usize;
        for part in parts(path) {
            if part.len() > MAX_NAME_BYTES {
                return refuse("a component is longer than 255 bytes");
            }
            depth = match (part, depth) {
                (b"..", 0) => return refuse("its '..' leads above the root"),
                (b"..", _) => depth - 1,
                _ => depth + 1,
            };
        }
        Ok(RelPath(clean(path)))
    }

    /// The root itself.
    pub fn root() -> Self {
        RelPath(Vec::new())
    }

    /// What a link's target means from `base`. It may climb past the root as
    /// far as words go, because only the resolver knows where `base` lies.
    pub(crate) fn of_link(base: &RelPath, target: &[u8]) -> Self {
        let mut joined = base.0.clone();
        joined.push(b'/');
        joined.extend_from_slice(target);
        RelPath(clean(&joined))
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes; empty for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the standard library spells it; empty for the root itself.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The components, first to last; some may be `..`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &OsStr> {
        parts(&self.0).map(OsStr::from_bytes)
    }

    /// Whether a component is `..`.
    pub fn climbs(&self) -> bool {
        parts(&self.0).any(|part| part == b"..")
    }

    /// The last component, unless that is `..` or this is the root itself.
    pub fn file_name(&self) -> Option<&OsStr> {
        parts(&self.0).next_back().filter(|part| *part != b"..").map(OsStr::from_bytes)
    }

    /// Everything before the last component; `None` for the root itself.
    pub fn parent(&self) -> Option<RelPath> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(RelPath(self.0[..cut].to_vec()))
    }

    /// The entry `name` below this path, under the same checks.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<RelPath, RootError> {
        if self.is_root() {
            return RelPath::new(name);
        }
        let mut joined = self.0.clone();
        joined.push(b'/');
        joined.extend_from_slice(name.as_ref());
        RelPath::new(joined)
    }

    /// The rest of this path below `prefix`, or `None` where it lies elsewhere.
    /// Both must be free of `..` for the answer to mean anything.
    pub fn strip_prefix(&self, prefix: &RelPath) -> Option<RelPath> {
        if prefix.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(prefix.as_bytes())? {
            [] => Some(RelPath::root()),
            [b'/', rest @ ..] => Some(RelPath(rest.to_vec())),
            _ => None,
        }
    }

    /// The name as the system spells it.
    pub fn into_os_string(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

/// The path for people and logs: control bytes and invalid UTF-8 escaped, long ones clipped.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&shown(&self.0)) }
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn clean(path: &[u8]) -> Vec<u8> {
    parts(path).collect::<Vec<_>>().join(&b'/')
}

/// Longest text of a path in a message, in bytes of the path.
const SHOWN_BYTES: usize = 200;

pub(crate) fn shown(path: &[u8]) -> String {
    let cut = &path[..path.len().min(SHOWN_BYTES)];
    let mut text = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if path.len() > SHOWN_BYTES {
        text.push_str(&format!("… ({} bytes)", path.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use remora_proto_model::Reason;

    use super::*;

    #[test]
    fn a001_lexical_escapes_and_absolute_paths_are_refused() {
        for bad in ["..", "../x", "a/../..", "a/../../x", "./../x", "/etc/passwd", "/", "//", "//a", "a\0b"] {
            let error = RelPath::new(bad).unwrap_err();
            assert_eq!(error.reason(), Reason::PathInvalid, "{bad:?}");
        }
        for (input, cleaned) in
            [("", ""), (".", ""), ("./", ""), ("a//b/", "a/b"), ("a/./b", "a/b"), ("a/../b", "a/../b")]
        {
            assert_eq!(RelPath::new(input).unwrap().as_bytes(), cleaned.as_bytes(), "{input:?}");
        }
    }

    #[test]
    fn a011_lengths_are_bounded_at_the_kernels_numbers() {
        assert!(RelPath::new("x".repeat(255)).is_ok());
        assert!(RelPath::new("x".repeat(256)).is_err());
        let long = |bytes: usize| "ab/".repeat(bytes / 3) + &"c".repeat(bytes % 3);
        assert!(RelPath::new(long(4_095)).is_ok());
        assert!(RelPath::new(long(4_096)).is_err());
    }

    #[test]
    fn a012_odd_names_are_literal() {
        for name in ["~", "$HOME", "-rf", " ", "a ", "a.", "...", "é", "e\u{301}", "*", "\\"] {
            assert_eq!(RelPath::new(name).unwrap().as_bytes(), name.as_bytes());
        }
    }

    #[test]
    fn a_message_shows_control_and_invalid_bytes_escaped() {
        assert_eq!(RelPath::new(b"a\x1b[31m\n\xff").unwrap().to_string(), "a\\u{1b}[31m\\n\\xff");
        assert_eq!(RelPath::root().to_string(), ".");
    }

    #[test]
    fn parent_name_and_prefix() {
        let path = RelPath::new("a/b/c").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert_eq!(path.file_name().unwrap(), "c");
        assert_eq!(RelPath::new("a").unwrap().parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(RelPath::new("a/..").unwrap().file_name(), None);
        let prefix = RelPath::new("a/b").unwrap();
        assert_eq!(path.strip_prefix(&prefix).unwrap().as_bytes(), b"c");
        assert_eq!(RelPath::new("a/bc").unwrap().strip_prefix(&prefix), None);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_clean_and_stays_below(bytes in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..64)) {
            if let Ok(path) = RelPath::new(&bytes) {
                let again = RelPath::new(path.as_bytes()).unwrap();
                prop_assert_eq!(&again, &path);
                let mut depth = 0_i32;
                for part in path.components() {
                    prop_assert!(!part.is_empty() && part != ".");
                    depth += if part == ".." { -1 } else { 1 };
                    prop_assert!(depth >= 0);
                }
            }
        }
    }
}
