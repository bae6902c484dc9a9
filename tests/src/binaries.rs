//! Where the binaries under test are.

use std::path::PathBuf;

/// The binary `name` of the same build as this test: cargo puts tests into
/// `deps/` below the folder of the binaries.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let folder = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built; run `cargo build --workspace --bins` first", path.display());
    path
}
