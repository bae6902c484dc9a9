//! `remora completion SHELL`.

use clap_complete::Shell;

use crate::{Failure, output::print};

/// Prints the completion script of `shell` for the whole command line `root`.
pub(crate) fn run(shell: Shell, mut root: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, "remora", &mut script);
    print(&script)
}
