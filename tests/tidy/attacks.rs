//! docs/attacks.md: each id of its section has a line, and the tests of a line are there and
//! carry the id.

use std::{fs, path::Path};

use crate::parity::is_there;

/// The ids of section I, which has gaps.
const IDS: [u32; 10] = [88, 89, 90, 92, 94, 95, 96, 97, 98, 99];

#[test]
fn every_attack_on_the_control_plane_has_tests_that_carry_its_id() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks.md");
    let text = fs::read_to_string(path).expect("docs/attacks.md is there");
    let table = text.split("\n| Id | ").nth(1).expect("the document has its table");
    let mut wrong = Vec::new();
    let mut there = Vec::new();
    for line in table.lines().skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, done, becomes, tests] = cells[..] else { panic!("`{line}` has not four cells") };
        assert!(!done.is_empty() && !becomes.is_empty(), "{id}: an empty cell");
        let id: u32 = id.parse().expect("an id is a number");
        there.push(id);
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("{id} has no test"));
        }
        let carries = |test: &&&str| test.contains(&format!("a{id:03}_"));
        wrong.extend(tests.iter().filter(|test| !carries(test)).map(|test| format!("{id}: {test} does not carry it")));
        wrong.extend(tests.iter().filter_map(|test| is_there(test).err()).map(|why| format!("{id}: {why}")));
    }
    assert_eq!(there, IDS, "the ids of docs/attacks.md");
    assert!(wrong.is_empty(), "docs/attacks.md:\n{}", wrong.join("\n"));
}
