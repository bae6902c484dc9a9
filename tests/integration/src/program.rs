//! Where the command line is.

use std::{env, path::PathBuf};

/// `remora`: beside this program as cargo puts it, or wherever PATH finds it.
pub(crate) fn remora() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    // A test lies in `deps/`, one below the binaries.
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("remora"));
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&on_path).map(|folder| folder.join("remora")).collect();
    let found = beside.chain(on_path).find(|path| path.is_file());
    found.expect("`remora` lies neither beside this program nor on PATH; run `cargo build --workspace --bins` first")
}
