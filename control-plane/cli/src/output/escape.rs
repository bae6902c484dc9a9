//! Text of others on a person's terminal: a file name, a message or a line of a
//! file may hold escape sequences that move the cursor, change the title or
//! worse, so what acts on a terminal is shown and not sent.

use std::borrow::Cow;

/// `text` with everything that acts on a terminal written out.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut escaped, c);
    }
    Cow::Owned(escaped)
}

/// The same for bytes; those that are no UTF-8 become `\xNN`.
pub(crate) fn escape_bytes(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut escaped, c);
        }
        for byte in chunk.invalid() {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    escaped
}

fn push(escaped: &mut String, c: char) {
    match c {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        c if acts(c) && u32::from(c) < 0x100 => escaped.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if acts(c) => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => escaped.push(c),
    }
}

/// C0, DEL and C1 controls; line and paragraph separators; and the marks that
/// turn the direction of writing, with which a name can look like another one.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_passes() {
        assert_eq!(escape("a\x1b]0;title\x07b"), "a\\x1b]0;title\\x07b");
        assert_eq!(escape("a\nb\tc\rd\u{7f}\u{9b}"), "a\\nb\\tc\\rd\\x7f\\x9b");
        assert_eq!(escape("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        for c in (0..=0x2070).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!escape(&c.to_string()).contains(c), "{c:?}");
        }
    }

    #[test]
    fn words_of_every_language_stay() {
        let text = "naïve 日本語 🦈 \\x1b";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        assert_eq!(escape_bytes(text.as_bytes()), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        assert_eq!(escape_bytes(b"a\xff\xc3b\n"), "a\\xff\\xc3b\\n");
    }
}
