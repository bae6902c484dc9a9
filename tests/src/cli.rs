//! The command line as the suite of a running server starts it, too.

pub use remora_tests_integration::cli::{Cli, Ran};
