//! What no source file may hold.

use std::{path::Path, process::Command};

pub(crate) fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("git lists the files of a checkout");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("tracked names are UTF-8")
        .split_terminator('\0')
        .map(str::to_owned)
        .collect()
}

#[test]
fn modules_are_named_after_what_they_hold() {
    for path in tracked().iter().filter(|path| path.ends_with(".rs")) {
        let name = path.rsplit('/').next().unwrap_or(path);
        assert!(
            !["utils.rs", "common.rs", "helpers.rs", "misc.rs", "types.rs", "mod.rs"].contains(&name),
            "{path}: name the thing that is in it"
        );
    }
}

#[test]
fn no_file_holds_two_sides_of_a_merge() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in tracked() {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        let marker = text.lines().find(|line| ["<<<<<<< ", ">>>>>>> "].iter().any(|sign| line.starts_with(sign)));
        assert!(marker.is_none(), "{path}: {marker:?} is left of a merge");
    }
}
