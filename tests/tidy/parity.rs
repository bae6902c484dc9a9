//! docs/parity.md: each item has its one line, each test that a line names is there, and
//! runs where the line says. Whether it passed in a cluster is looked up in the suite's
//! JUnit by tests/cluster/parity.sh.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use remora_tests_integration::{
    cases,
    harness::{self, Outcome},
};

/// How many items there are of each letter, in the order of the document.
const ITEMS: [(char, usize); 10] =
    [('N', 5), ('S', 5), ('W', 8), ('T', 7), ('F', 10), ('M', 9), ('C', 3), ('H', 1), ('L', 10), ('K', 11)];

/// What comes before the words that say what is missing.
const MISSING: &str = "not yet: ";

struct Item {
    id: String,
    what: String,
    tests: Vec<String>,
    missing: Option<String>,
    runs: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(repository().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// The lines of the table, each held to its form.
fn items() -> Vec<Item> {
    let text = read("docs/parity.md").unwrap();
    let table = text.split("\n| Id | ").nth(1).expect("the document has its table");
    table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [id, what, shown, runs] = cells[..] else { panic!("`{line}` has not four cells") };
            let (named, missing) = match shown.split_once(MISSING) {
                Some((named, missing)) => (named, Some(missing.to_owned())),
                None => (shown, None),
            };
            let tests: Vec<String> = named.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            let quoted: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
            let parts =
                [(!tests.is_empty()).then(|| quoted.join(", ")), missing.as_ref().map(|it| format!("{MISSING}{it}"))];
            let whole: Vec<String> = parts.into_iter().flatten().collect();
            assert_eq!(shown, whole.join("; "), "{id}: tests in backticks, and what is missing");
            Item { id: id.to_owned(), what: what.to_owned(), tests, missing, runs: runs.to_owned() }
        })
        .collect()
}

/// Where a test runs, by how its name is written.
fn place(test: &str) -> &'static str {
    match test.split_once(": ") {
        None if test.starts_with("make ") => "a whole run",
        None => "a Job in a cluster",
        Some(("acceptance-cluster", _)) => "beside a cluster",
        Some(("e2e", _)) => "a Job in the full profile",
        Some(("agent" | "local" | "projects", _)) => "one machine",
        Some(_) => "unit",
    }
}

/// Whether the suite has it, for the full profile or for a cluster as any.
fn is_case(name: &str, full_profile: bool) -> bool {
    cases::all().iter().any(|case| case.name == name && case.is_of_full_profile() == full_profile)
}

/// That there is such a test, and that it is one that runs.
pub(crate) fn is_there(test: &str) -> Result<(), String> {
    let Some((program, test)) = test.split_once(": ") else {
        let (list, there) = match test.strip_prefix("make ") {
            Some(target) => {
                let rule = format!("{target}:");
                ("the Makefile", read("Makefile")?.lines().any(|line| line.starts_with(&rule)))
            }
            None => ("the suite", is_case(test, false)),
        };
        return there.then_some(()).ok_or_else(|| format!("{list} has no {test}"));
    };
    if program == "e2e" {
        return is_case(test, true)
            .then_some(())
            .ok_or_else(|| format!("the suite has no {test} for the full profile"));
    }
    let (modules, name) = test.rsplit_once("::").unwrap_or(("", test));
    let path = match (program, modules) {
        ("acceptance-cluster", "") => "tests/acceptance/cluster.rs".to_owned(),
        (file, "") if file.contains('/') => format!("{file}.rs"),
        ("agent" | "local" | "projects" | "tidy", modules) if !modules.is_empty() => {
            format!("tests/{program}/{}.rs", modules.replace("::", "/"))
        }
        _ => return Err(format!("`{program}: {test}` is no name of a test")),
    };
    let source = read(&path)?;
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let heads = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| heads.iter().any(|head| line.starts_with(head)));
    let at = at.ok_or_else(|| format!("{path} has no {name}"))?;
    let attributes: Vec<&&str> = lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).collect();
    let runs = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        && !attributes.iter().any(|line| line.starts_with("#[ignore"));
    runs.then_some(()).ok_or_else(|| format!("{path}: {name} is no test that runs"))
}

#[test]
fn every_item_has_its_line_once_and_in_its_place() {
    let wanted: Vec<String> =
        ITEMS.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}"))).collect();
    let there: Vec<String> = items().into_iter().map(|item| item.id).collect();
    assert_eq!(there, wanted, "the ids of docs/parity.md");
}

#[test]
fn every_line_names_tests_that_are_there_or_says_what_is_missing() {
    let mut wrong = Vec::new();
    for Item { id, what, tests, missing, runs } in items() {
        if what.is_empty() || tests.is_empty() && missing.is_none() || missing.is_some_and(|words| words.is_empty()) {
            wrong.push(format!("{id}: an empty cell"));
        }
        wrong.extend(tests.iter().filter_map(|test| is_there(test).err()).map(|why| format!("{id}: {why}")));
        let mut places: Vec<&str> = Vec::new();
        for test in &tests {
            if !places.contains(&place(test)) {
                places.push(place(test));
            }
        }
        let places = if places.is_empty() { "nowhere".to_owned() } else { places.join(", ") };
        if runs != places {
            wrong.push(format!("{id}: runs in `{runs}`, and its tests in `{places}`"));
        }
    }
    assert!(wrong.is_empty(), "docs/parity.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_no_test_is_found_out() {
    for name in [
        "files::no_such_case",
        "isolation::a_pod_gets_no_packet_through_before_its_policies_hold",
        "e2e: files::they_are_written_read_changed_listed_and_removed",
        "make no-such-target",
        "agent: files::paths::no_such_test",
        "agent: no_such_file::no_such_test",
        "agent: no_module",
        "elsewhere: files::paths::x",
        "tests/tidy/parity: is_there",
        "tests/tidy/parity: items",
        "tests/tidy/no_such_file: x",
    ] {
        assert!(is_there(name).is_err(), "`{name}` is taken for a test");
    }
    for name in [
        "tidy: parity::what_is_no_test_is_found_out",
        "tests/tidy/parity: what_is_no_test_is_found_out",
        "e2e: isolation::a_pod_gets_no_packet_through_before_its_policies_hold",
    ] {
        is_there(name).unwrap();
    }
}

/// tests/cluster/parity.sh with a JUnit as the suite writes it.
fn compared(outcomes: &[Outcome], document: &str, full_profile: bool) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (junit, path) = (folder.path().join("junit.xml"), folder.path().join("parity.md"));
    harness::report(outcomes, &junit).unwrap();
    fs::write(&path, document).unwrap();
    let full_profile = if full_profile { "yes" } else { "no" };
    let script = repository().join("tests/cluster/parity.sh");
    Command::new(script).args([junit, path, full_profile.into()]).output().unwrap()
}

fn outcome(name: &'static str, failure: Option<&str>, skipped: Option<&'static str>) -> Outcome {
    Outcome { name, took: Duration::ZERO, failure: failure.map(str::to_owned), skipped }
}

#[test]
fn the_run_has_to_have_passed_what_the_document_counts_on() {
    let document = "`notation::is_no_line`\n| N1 | x | `a::passes`, `agent: a::elsewhere` | x |\n\
                    | N2 | x | `a::fails`, `a::is_skipped`; not yet: x | x |\n| K11 | x | `a::is_absent`, `a::passes` | x |\n";
    let fails = outcome("a::fails", Some("it <testcase classname=\"a\" name=\"is_absent\"/>\n<b>"), None);
    let ran = [outcome("a::passes", None, None), fails, outcome("a::is_skipped", None, Some("not here"))];
    let told = compared(&ran, document, false);
    assert_eq!(told.status.code(), Some(1));
    let said = String::from_utf8(told.stderr).unwrap();
    let lines: BTreeSet<String> = said
        .lines()
        .map(|line| {
            let words = line.split("counts on ").nth(1).unwrap_or_else(|| panic!("{said}"));
            words.split(" in ").next().unwrap().to_owned()
        })
        .collect();
    let wanted = ["a::fails, which is failed", "a::is_absent, which is absent", "a::is_skipped, which is skipped"];
    assert_eq!(lines, wanted.map(str::to_owned).into());

    let passed = compared(&ran, "| N1 | x | `a::passes`, `e2e: a::fails` | x |\n", false);
    assert!(passed.status.success(), "{passed:?}");
    assert!(String::from_utf8_lossy(&passed.stdout).starts_with("parity: the 1 cases"), "{passed:?}");
    let nothing = compared(&ran, "| N1 | x | not yet: x | nowhere |\n", false);
    assert!(!nothing.status.success(), "{nothing:?}");

    let document = "| N1 | x | `a::fails`, `e2e: a::passes` | x |\n";
    let passed = compared(&ran, document, true);
    assert!(passed.status.success(), "{passed:?}");
    let failed = compared(&ran, &document.replace("passes", "is_absent"), true);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("a::is_absent, which is absent"), "{failed:?}");
}
