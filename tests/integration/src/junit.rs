//! The outcomes as JUnit, the form that every CI reads.

use std::fmt::Write as _;

use crate::harness::Outcome;

pub(crate) fn document(outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{seconds:.3}\"",
        outcomes.len()
    );
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a text cannot fail.
    _ = writeln!(text, "<testsuites name=\"remora-integration\" {counts}>");
    _ = writeln!(text, "  <testsuite name=\"integration\" {counts}>");
    for outcome in outcomes {
        let (subject, name) = outcome.name.split_once("::").unwrap_or(("integration", outcome.name));
        let (subject, name, time) = (escaped(subject), escaped(name), outcome.took.as_secs_f64());
        _ = write!(text, "    <testcase classname=\"{subject}\" name=\"{name}\" time=\"{time:.3}\"");
        _ = match (&outcome.failure, outcome.skipped) {
            (None, None) => writeln!(text, "/>"),
            (None, Some(why)) => {
                writeln!(text, ">\n      <skipped message=\"{}\"/>\n    </testcase>", escaped(why))
            }
            (Some(why), _) => {
                let first = escaped(why.lines().next().unwrap_or_default());
                let all = escaped(why);
                writeln!(text, ">\n      <failure message=\"{first}\">{all}</failure>\n    </testcase>")
            }
        };
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// As text or a value in XML 1.0, which knows no other control characters than these.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push('\t'),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_keeps_its_words_whatever_they_are() {
        let outcome = |name, failure: Option<&str>| Outcome {
            name,
            took: Duration::from_millis(1_500),
            failure: failure.map(str::to_owned),
            skipped: None,
        };
        let skipped = Outcome { skipped: Some("not <here>"), took: Duration::ZERO, ..outcome("life::not", None) };
        let failed = outcome("life::<&>", Some("a \"b\"\n\u{1b}[31m<c>"));
        let text = document(&[outcome("life::well", None), failed, skipped]);
        let counts = "tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"3.000\"";
        assert_eq!(text.matches(counts).count(), 2, "{text}");
        assert!(text.contains("name=\"not\" time=\"0.000\">\n      <skipped message=\"not &lt;here&gt;\"/>"), "{text}");
        assert!(text.contains("<testcase classname=\"life\" name=\"well\" time=\"1.500\"/>"), "{text}");
        assert!(text.contains("name=\"&lt;&amp;&gt;\""), "{text}");
        assert!(
            text.contains("<failure message=\"a &quot;b&quot;\">a &quot;b&quot;&#10;\u{fffd}[31m&lt;c&gt;</failure>"),
            "{text}"
        );
    }
}
