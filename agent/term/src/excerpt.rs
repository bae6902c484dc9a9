//! The beginning and the end of a long output, as text.

/// Part in a hundred of an excerpt that is the beginning: what failed first is
/// mostly there, the verdict at the end.
const HEAD_PERCENT: usize = 60;

/// A stream as text: whole, or its beginning and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The beginning, or the whole.
    pub head: String,
    /// The end, where something before it is left out.
    pub tail: String,
    /// Whether something is left out.
    pub truncated: bool,
    /// Whether bytes that are not UTF-8 were replaced.
    pub replaced: bool,
}

/// At most `limit` characters of a stream of which `first` is the beginning and
/// `last` the end; `whole` says that `first` is all of it.
pub fn excerpt(first: &[u8], last: &[u8], whole: bool, limit: usize) -> Excerpt {
    let text = String::from_utf8_lossy(first);
    let replaced = whole && matches!(text, std::borrow::Cow::Owned(_));
    if whole && text.chars().count() <= limit {
        return Excerpt { head: text.into_owned(), tail: String::new(), truncated: false, replaced };
    }
    let head_limit = limit * HEAD_PERCENT / 100;
    let head: String = text.chars().take(head_limit).collect();
    // The end may start within a character: its continuation bytes belong to what is left out.
    let start = last.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
    let end = String::from_utf8_lossy(if whole { first } else { &last[start..] });
    let skip = end.chars().count().saturating_sub(limit - head_limit);
    let tail: String = end.chars().skip(skip).collect();
    let replaced = head.contains('\u{FFFD}') || tail.contains('\u{FFFD}');
    Excerpt { head, tail, truncated: true, replaced }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_output_is_whole() {
        let excerpt = excerpt("é\n".as_bytes(), b"", true, 10);
        assert_eq!((excerpt.head.as_str(), excerpt.tail.as_str(), excerpt.truncated), ("é\n", "", false));
    }

    #[test]
    fn a_long_one_is_its_first_60_and_its_last_40_percent() {
        let text: Vec<u8> = (0..100_u8).map(|n| b'a' + n % 26).collect();
        let excerpt = excerpt(&text, b"", true, 10);
        assert_eq!(excerpt.head.as_bytes(), &text[..6]);
        assert_eq!(excerpt.tail.as_bytes(), &text[96..]);
        assert!(excerpt.truncated);
    }

    #[test]
    fn an_end_that_starts_within_a_character_loses_only_that() {
        let excerpt = excerpt(b"start", &"éxyz".as_bytes()[1..], false, 10);
        assert_eq!((excerpt.head.as_str(), excerpt.tail.as_str()), ("start", "xyz"));
        assert!(!excerpt.replaced);
    }
}
