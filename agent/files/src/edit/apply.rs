//! One change applied to bytes: pure, so that it can say before anything is
//! written what does not fit and where it nearly does.

use memchr::memmem;
use remora_agent_root::RelPath;
use remora_proto_model::Reason;

use crate::{
    FileError,
    limits::{MAX_EDIT_BYTES, MAX_HINT_PLACES},
};

/// One change to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Every place of `old` becomes `new`; there must be exactly `expected`.
    Replace {
        /// The bytes that are there.
        old: Vec<u8>,
        /// The bytes to be there.
        new: Vec<u8>,
        /// How many places there must be.
        expected: u64,
    },
    /// The lines `first` to `last` become `new`; with `last` one less than
    /// `first`, `new` goes in before line `first`.
    Lines {
        /// The first line, from 1.
        first: u64,
        /// The last line.
        last: u64,
        /// What stands there instead, with its line ends.
        new: Vec<u8>,
    },
}

pub(super) fn apply(path: &RelPath, content: &[u8], change: &Change) -> Result<Vec<u8>, FileError> {
    let changed = match change {
        Change::Replace { old, new, expected } => replace(path, content, old, new, *expected)?,
        Change::Lines { first, last, new } => lines(path, content, *first, *last, new)?,
    };
    if changed.len() as u64 > MAX_EDIT_BYTES {
        return Err(FileError::refused(
            Reason::TooLarge,
            format!("\"{path}\" would have {} bytes", changed.len()),
            format!("an edit leaves at most {MAX_EDIT_BYTES}; use Write for larger files"),
        ));
    }
    Ok(changed)
}

fn replace(path: &RelPath, content: &[u8], old: &[u8], new: &[u8], expected: u64) -> Result<Vec<u8>, FileError> {
    if old.is_empty() || expected == 0 {
        return Err(FileError::refused(
            Reason::InvalidArgument,
            format!("a replacement in \"{path}\" needs text to replace and a count of at least 1"),
            "use a line range to put text in, or Write for a new file",
        ));
    }
    let places = places(content, old);
    if places.is_empty() {
        return Err(FileError::refused(
            Reason::EditNoMatch,
            format!("the text to replace is not in \"{path}\""),
            near_miss(content, old, new),
        ));
    }
    if places.len() as u64 != expected {
        return Err(FileError::refused(
            Reason::EditCountMismatch,
            format!("the text to replace is {} times in \"{path}\", not {expected} times", places.len()),
            format!(
                "it is at {}; add lines around it to name one place, or expect {}",
                listed(places.iter().map(|at| line_of(content, *at))),
                places.len()
            ),
        ));
    }
    let mut changed = Vec::with_capacity(content.len());
    let mut from = 0;
    for at in places {
        changed.extend_from_slice(&content[from..at]);
        changed.extend_from_slice(new);
        from = at + old.len();
    }
    changed.extend_from_slice(&content[from..]);
    Ok(changed)
}

fn lines(path: &RelPath, content: &[u8], first: u64, last: u64, new: &[u8]) -> Result<Vec<u8>, FileError> {
    let all: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let count = all.len() as u64;
    if first == 0 || last.checked_add(1).is_none_or(|after| after < first) || last > count || first > count + 1 {
        return Err(FileError::refused(
            Reason::OutOfRange,
            format!("\"{path}\" has no lines {first} to {last}"),
            format!("it has {count} lines; lines count from 1, and last = first - 1 puts text in before first"),
        ));
    }
    let (head, tail) = (all[..(first - 1) as usize].concat(), all[last as usize..].concat());
    Ok([head, new.to_vec(), tail].concat())
}

/// Where `needle` is, without overlaps. In linear time whatever the two are: a
/// search that begins again at every byte takes hours for megabytes of one letter.
fn places(content: &[u8], needle: &[u8]) -> Vec<usize> {
    memmem::find_iter(content, needle).collect()
}

fn find(content: &[u8], needle: &[u8]) -> Option<usize> {
    memmem::find(content, needle)
}

fn line_of(content: &[u8], at: usize) -> usize {
    content[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn listed(lines: impl Iterator<Item = usize>) -> String {
    let lines: Vec<usize> = lines.collect();
    let shown: Vec<String> = lines.iter().take(MAX_HINT_PLACES).map(|line| format!("line {line}")).collect();
    let more = lines.len().saturating_sub(MAX_HINT_PLACES);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Why the text is not there, as far as can be told.
fn near_miss(content: &[u8], old: &[u8], new: &[u8]) -> String {
    if !new.is_empty()
        && let Some(at) = find(content, new)
    {
        return format!("the new text is already at line {}: the edit may have been made before", line_of(content, at));
    }
    if find(&without_returns(content), &without_returns(old)).is_some() {
        return "it is there with other line ends (CRLF against LF); send those of the file".to_owned();
    }
    let Some(wanted) = old.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty()) else {
        return "read the file again and copy the text exactly".to_owned();
    };
    let near: Vec<usize> = content
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| line.trim_ascii() == wanted)
        .map(|(number, _)| number + 1)
        .collect();
    if near.is_empty() {
        return "read the file again and copy the text exactly".to_owned();
    }
    format!("its first line, apart from white space, is at {}; compare what follows there", listed(near.into_iter()))
}

fn without_returns(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b'\r').collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(content: &str, old: &str, new: &str) -> (Reason, String) {
        let change = Change::Replace { old: old.into(), new: new.into(), expected: 1 };
        match apply(&RelPath::new("f").unwrap(), content.as_bytes(), &change) {
            Err(FileError::Refused { reason, hint, .. }) => (reason, hint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_miss_says_where_it_nearly_hits() {
        let (reason, hint) = refusal("a\n  let x = 1;\nb\n", "let x = 1;\nc", "y");
        assert_eq!(reason, Reason::EditNoMatch);
        assert!(hint.contains("line 2"), "{hint}");
        assert!(refusal("a\nnew\n", "old", "new").1.contains("already at line 2"));
        assert!(refusal("a\r\nb\r\n", "a\nb", "c").1.contains("CRLF"));
        let (reason, hint) = refusal("x\nx\nx\n", "x", "y");
        assert_eq!(reason, Reason::EditCountMismatch);
        assert!(hint.contains("line 1, line 2, line 3"), "{hint}");
    }

    #[test]
    fn line_ranges_replace_put_in_and_append() {
        let path = RelPath::new("f").unwrap();
        let run = |first, last, new: &str| apply(&path, b"1\n2\n3", &Change::Lines { first, last, new: new.into() });
        assert_eq!(run(2, 2, "two\n").unwrap(), b"1\ntwo\n3");
        assert_eq!(run(1, 0, "0\n").unwrap(), b"0\n1\n2\n3");
        assert_eq!(run(4, 3, "\n4").unwrap(), b"1\n2\n3\n4");
        for (first, last) in [(0, 1), (2, 4), (5, 4), (3, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            assert_eq!(run(first, last, "").unwrap_err().reason(), Reason::OutOfRange, "{first} {last}");
        }
    }

    #[test]
    fn text_made_to_be_slow_is_searched_in_linear_time() {
        let started = std::time::Instant::now();
        let content = "a".repeat(4 << 20);
        let (old, new) = ("a".repeat(2 << 20) + "b", "a".repeat(1 << 20) + "c");
        assert_eq!(refusal(&content, &old, &new).0, Reason::EditNoMatch);
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn a_replacement_can_be_taken_back(head in any::<Vec<u8>>(), tail in any::<Vec<u8>>()) {
            let path = RelPath::new("f").unwrap();
            let (old, new) = (b"\x00<one>\xff".to_vec(), b"\x01<other>\xfe".to_vec());
            let content = [head, old.clone(), tail].concat();
            let there = apply(&path, &content, &Change::Replace { old: old.clone(), new: new.clone(), expected: 1 }).unwrap();
            let back = apply(&path, &there, &Change::Replace { old: new, new: old, expected: 1 }).unwrap();
            prop_assert_eq!(back, content);
        }
    }
}
