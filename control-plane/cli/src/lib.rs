//! The command line of Remora: one file per verb under `verbs/`, all of them
//! mappings onto the same two gRPC packages that every other client uses.

mod args;
mod clients;
mod connect;
mod context;
mod exit;
mod follow;
mod input_log;
mod limits;
mod output;
mod patience;
mod progress;
mod project_name;
mod raw_terminal;
mod transfer;
mod verbs;
mod view;

pub use args::{Command, GlobalArgs};
pub use context::{Context, ContextError};
pub use exit::{Failure, refuse};
pub use verbs::run;
