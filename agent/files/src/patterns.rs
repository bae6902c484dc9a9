//! Glob patterns of a caller, compiled together: bounded before they are looked
//! at, and matched in linear time (globset makes finite automata of them).

use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use remora_proto_model::Reason;

use crate::{
    FileError,
    limits::{MAX_PATTERN_BYTES, MAX_PATTERNS},
};

/// Patterns; those that begin with `!` take back what others match.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    wanted: GlobSet,
    unwanted: GlobSet,
}

impl Patterns {
    /// Compiles `patterns`; `field` is what the caller calls them.
    pub(crate) fn new(field: &str, patterns: &[String]) -> Result<Self, FileError> {
        if patterns.len() > MAX_PATTERNS {
            return Err(FileError::refused(
                Reason::InvalidArgument,
                format!("{field}: {} patterns in one call", patterns.len()),
                format!("send at most {MAX_PATTERNS}"),
            ));
        }
        let (mut wanted, mut unwanted) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(rest) => unwanted.add(glob(field, rest)?),
                None => wanted.add(glob(field, pattern)?),
            };
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| {
                FileError::refused(
                    Reason::PatternInvalid,
                    format!("{field}: {error}"),
                    "send fewer or shorter patterns",
                )
            })
        };
        Ok(Patterns { wanted: build(wanted)?, unwanted: build(unwanted)? })
    }

    /// Whether `path` is wanted: one of the patterns matches it, or there is none
    /// but those that begin with `!`, and none of these matches.
    pub(crate) fn wants(&self, path: &[u8]) -> bool {
        let path = globset::Candidate::from_bytes(path);
        (self.wanted.is_empty() || self.wanted.is_match_candidate(&path)) && !self.unwanted.is_match_candidate(&path)
    }

    /// Whether a pattern that begins with `!` matches `path`, so that nothing below it is wanted.
    pub(crate) fn unwants(&self, path: &[u8]) -> bool {
        !self.unwanted.is_empty() && self.unwanted.is_match(std::ffi::OsStr::from_bytes(path))
    }

    /// Whether one of the patterns matches `path` and none that begins with `!`.
    pub(crate) fn leave_out(&self, path: &[u8]) -> bool {
        let path = globset::Candidate::from_bytes(path);
        self.wanted.is_match_candidate(&path) && !self.unwanted.is_match_candidate(&path)
    }
}

fn glob(field: &str, pattern: &str) -> Result<globset::Glob, FileError> {
    let shown: String = pattern.chars().take(80).flat_map(char::escape_default).collect();
    if matches!(pattern, "" | "/") || pattern.len() > MAX_PATTERN_BYTES {
        return Err(FileError::refused(
            Reason::PatternInvalid,
            format!("{field}: a pattern has {} bytes", pattern.len()),
            format!("a pattern has 1 to {MAX_PATTERN_BYTES} bytes"),
        ));
    }
    // As in .gitignore: without a slash it is a name wherever it is, and a slash
    // in front ties it to the directory itself.
    let placed = match pattern.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    };
    GlobBuilder::new(&placed).literal_separator(true).backslash_escape(true).build().map_err(|error| {
        FileError::refused(
            Reason::PatternInvalid,
            format!("{field}: \"{shown}\" is no pattern: {}", error.kind()),
            "patterns have *, **, ?, [...] and {a,b}; a backslash before one of these takes it literally",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Result<Patterns, FileError> {
        Patterns::new("globs", &list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn patterns_leave_out_and_bring_back() {
        let set = patterns(&["**/*.rs", "src/{a,b}", "!**/gen.rs"]).unwrap();
        for (path, taken) in [
            ("x.rs", true),
            ("a/b/x.rs", true),
            ("a/gen.rs", false),
            ("src/a", true),
            ("src/a/c", false),
            ("x.rsx", false),
        ] {
            assert_eq!(set.leave_out(path.as_bytes()), taken, "{path}");
        }
        assert!(!patterns(&[]).unwrap().leave_out(b"anything"));
        assert!(patterns(&["*"]).unwrap().leave_out(b"\xff\n") && patterns(&["*"]).unwrap().leave_out(b"a/b"));
        assert!(patterns(&["/*"]).unwrap().leave_out(b"a") && !patterns(&["/*"]).unwrap().leave_out(b"a/b"));
    }

    #[test]
    fn a023_patterns_are_bounded_and_never_explode() {
        let started = std::time::Instant::now();
        let alternatives = "{a,b}".repeat(30);
        let stars = "**/".repeat(1_000) + "x";
        assert!(!patterns(&[&alternatives]).unwrap().leave_out(&[b'c'; 30]));
        assert!(patterns(&[&alternatives]).unwrap().leave_out(&b"ab".repeat(15)));
        assert!(!patterns(&[&stars]).unwrap().leave_out("a/".repeat(2_000).as_bytes()));
        let nested = "{".repeat(2_000) + &"}".repeat(2_000);
        assert!(patterns(&[&nested]).is_ok_and(|set| !set.leave_out(b"a")));
        for bad in ["", "!", "/", "[", "{a", "a\\", &"a".repeat(4_097)] {
            let reason = patterns(&[bad]).err().map(|error| error.reason());
            assert_eq!(reason, Some(Reason::PatternInvalid), "{bad:.20}");
        }
        assert_eq!(patterns(&["a"; 65]).unwrap_err().reason(), Reason::InvalidArgument);
        // On a busy machine in a debug build; an exponential one would need years.
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
