//! The cases, one file a subject.

mod accounts;
mod admission;
mod agent;
mod cluster;
mod commands;
mod containers;
mod faults;
mod files;
mod host;
mod idle;
mod input;
mod isolation;
mod killed;
mod life;
mod many;
mod nodes;
mod orphans;
mod routes;
mod shared;
mod shop;
mod store;
mod terminal;
mod tools;
mod transfers;
mod trouble;
mod volume;
mod web_identity;

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
        tools::cases(),
        admission::cases(),
        accounts::cases(),
        agent::cases(),
        life::cases(),
        idle::cases(),
        transfers::cases(),
        many::cases(),
        shared::cases(),
        volume::cases(),
        containers::cases(),
        trouble::cases(),
        routes::cases(),
        isolation::cases(),
        shop::cases(),
        cluster::cases(),
        faults::cases(),
        orphans::cases(),
        store::cases(),
        web_identity::cases(),
        killed::cases(),
        host::cases(),
        nodes::cases(),
    ]
    .concat()
}
