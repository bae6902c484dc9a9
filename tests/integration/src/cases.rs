//! The cases, one file a subject.

mod admission;
mod agent;
mod cluster;
mod commands;
mod faults;
mod files;
mod input;
mod life;
mod many;
mod terminal;
mod volume;

use crate::harness::Case;

/// A command that runs until it is asked to end.
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

/// Every case, the quick ones first.
pub fn all() -> Vec<Case> {
    [
        input::cases(),
        files::cases(),
        commands::cases(),
        terminal::cases(),
        admission::cases(),
        agent::cases(),
        life::cases(),
        many::cases(),
        volume::cases(),
        cluster::cases(),
        faults::cases(),
    ]
    .concat()
}
