//! What the documents claim about the tree.

use std::{fs, path::Path};

/// Every `path/like.this` in backticks in ARCHITECTURE.md exists.
#[test]
fn architecture_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let mut named = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/')
            && !word.starts_with('/')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
        if is_path {
            named += 1;
            assert!(root.join(word).exists(), "ARCHITECTURE.md names `{word}`, which does not exist");
        }
    }
    assert!(named > 0, "ARCHITECTURE.md names no file");
}
