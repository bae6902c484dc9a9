//! The command line of Remora: one file per verb under `verbs/`, all of them
//! mappings onto the same two gRPC packages that every other client uses.

mod args;
mod connect;
mod context;
mod exit;
mod input_log;
mod output;
mod patience;
mod raw_terminal;
mod verbs;

pub use args::{Command, GlobalArgs};
pub use context::{Context, ContextError};
pub use exit::Failure;
pub use verbs::run;
