//! docs/limits.md is written from the sources, and the README's table from it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Where bounds stand, in the order of docs/limits.md.
const SOURCES: [&str; 13] = [
    "proto/serving/src/limits.rs",
    "proto/archive/src/limits.rs",
    "proto/process/src/limits.rs",
    "agent/src/limits.rs",
    "agent/term/src/limits.rs",
    "agent/files/src/limits.rs",
    "agent/root/src/limits.rs",
    "agent/snapshot/src/limits.rs",
    "control-plane/src/limits.rs",
    "control-plane/runtime/src/limits.rs",
    "control-plane/kube/src/limits.rs",
    "control-plane/project/src/limits.rs",
    "control-plane/cli/src/limits.rs",
];

/// Set, the test writes docs/limits.md anew.
const WRITE: &str = "REMORA_WRITE_DOCS";

struct Bound {
    name: String,
    value: String,
    reason: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The bounds of one file, in its order.
fn bounds(source: &str) -> Vec<Bound> {
    let mut known = BTreeMap::new();
    let mut bounds = Vec::new();
    let mut docs = Vec::new();
    let mut open = String::new();
    for line in source.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("/// ") {
            docs.push(doc.to_owned());
        } else if open.is_empty() && !line.starts_with("pub const ") && !line.starts_with("pub(crate) const ") {
            docs.clear();
        } else {
            open.push_str(line);
            if !open.ends_with(';') {
                open.push(' ');
                continue;
            }
            let (declared, value) = open.trim_end_matches(';').split_once(" = ").expect("a constant has a value");
            let (declared, kind) = declared.split_once(": ").expect("a constant has a type");
            let name = declared.rsplit(' ').next().expect("a constant has a name").to_owned();
            let value = evaluate(value, &known).unwrap_or_else(|| panic!("{name}: `{value}` is not understood"));
            known.insert(name.clone(), value);
            let value = if kind.ends_with("Duration") || name.ends_with("_MS") {
                duration(value)
            } else if name.ends_with("_SECONDS") {
                duration(value * 1_000)
            } else if name.contains("BYTES") || ["_RAW", "_STORED"].iter().any(|end| name.ends_with(end)) {
                bytes(value)
            } else {
                grouped(value)
            };
            bounds.push(Bound { name, value, reason: docs.join(" ") });
            docs.clear();
            open.clear();
        }
    }
    bounds
}

/// Products, sums and shifts of numbers and of constants that stand above; durations as milliseconds.
fn evaluate(text: &str, known: &BTreeMap<String, u128>) -> Option<u128> {
    let text = text.trim();
    for (sign, apply) in [(" + ", u128::checked_add as fn(_, _) -> _), (" << ", shift), (" * ", u128::checked_mul)] {
        if let Some((left, right)) = outside(text, sign) {
            return apply(evaluate(left, known)?, evaluate(right, known)?);
        }
    }
    for (unit, milliseconds) in [("from_hours(", 3_600_000), ("from_secs(", 1_000), ("from_millis(", 1)] {
        if let Some((_, inner)) = text.strip_suffix(')').and_then(|text| text.split_once(unit)) {
            return evaluate(inner, known)?.checked_mul(milliseconds);
        }
    }
    let number = text.replace('_', "");
    known.get(text).copied().or_else(|| number.parse().ok())
}

fn shift(value: u128, by: u128) -> Option<u128> {
    value.checked_shl(by.try_into().ok()?)
}

/// Cuts at the last `sign` that stands in no parentheses.
fn outside<'a>(text: &'a str, sign: &str) -> Option<(&'a str, &'a str)> {
    let at = text.rmatch_indices(sign).map(|(at, _)| at).find(|at| {
        let before = &text[..*at];
        before.matches('(').count() == before.matches(')').count()
    })?;
    Some((&text[..at], &text[at + sign.len()..]))
}

fn duration(milliseconds: u128) -> String {
    let units = [(24 * 3_600_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| milliseconds.is_multiple_of(*length) && milliseconds > *length)
        .unwrap_or((1, "ms"));
    match milliseconds {
        1_000 => "1 s".to_owned(),
        _ => format!("{} {unit}", milliseconds / length),
    }
}

fn bytes(value: u128) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(length, _)| value.is_multiple_of(*length)) {
        Some((length, unit)) => format!("{} {unit}", grouped(value / length)),
        None => format!("{} B", grouped(value)),
    }
}

fn grouped(value: u128) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn document() -> String {
    let mut text = String::from(
        "# Limits\n\nEvery bound of the product: its name in the sources, its value, its unit and its reason. Written from the\n\
         sources by `REMORA_WRITE_DOCS=1 cargo test --workspace --test tidy limits`; a test fails where it differs.\n",
    );
    for path in SOURCES {
        let source = fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        writeln!(text, "\n## {path}\n\n| Name | Value | What and why |\n|---|---|---|").unwrap();
        for Bound { name, value, reason } in bounds(&source) {
            assert!(!reason.is_empty(), "{path}: {name} says neither its unit nor its reason");
            writeln!(text, "| `{name}` | {value} | {} |", reason.replace('|', "\\|")).unwrap();
        }
    }
    text
}

#[test]
fn every_file_of_limits_is_documented() {
    for path in
        super::sources::tracked().iter().filter(|path| path.ends_with("limits.rs") && !path.starts_with("tests/"))
    {
        assert!(SOURCES.contains(&path.as_str()), "{path} is not in docs/limits.md");
    }
}

#[test]
fn the_document_of_limits_is_the_sources() {
    let path = repository().join("docs/limits.md");
    let document = document();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &document).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = document.lines().zip(there.lines()).find(|(made, there)| made != there);
    assert!(
        there == document,
        "docs/limits.md is not what the sources say; run {WRITE}=1 cargo test --workspace --test tidy limits; \
         first difference: {differs:?}"
    );
}

/// Each row of the README's table: what, value, and the constant by name.
#[test]
fn the_readme_tells_limits_that_are_so() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let document = document();
    let mut checked = 0;
    let section = readme.split("\n## Limits\n").nth(1).expect("the README has limits");
    for row in section.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, value, name] = cells[..] else { panic!("`{row}` has not three cells") };
        if name == "Constant" {
            continue;
        }
        let (file, name) = name.trim_matches('`').split_once(' ').unwrap_or_else(|| panic!("{what}: no constant"));
        let wanted = format!("| `{name}` | {value} |");
        let part = document.split(&format!("\n## {file}/src/limits.rs\n")).nth(1);
        let part = part.and_then(|part| part.split("\n## ").next()).unwrap_or_else(|| panic!("{what}: no {file}"));
        let there = part.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(
            part.lines().any(|line| line.starts_with(&wanted)),
            "README: {what} is {value}; the sources: {there:?}"
        );
        checked += 1;
    }
    assert!(checked >= 20, "the README's table has {checked} rows");
}
