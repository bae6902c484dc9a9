//! The server as its callers meet it: a real process, both surfaces, real bytes.

mod agent_loop;
mod audit;
mod auth;
mod bounds;
mod bucket;
mod cli;
mod containers;
mod data;
mod input;
mod integration;
mod keys;
mod orphans;
mod ports;
mod projects;
mod proxy;
mod restart;
mod running;
mod start;
mod tokens;
mod transfers;
