//! Projects on this machine, without a server around them: real agents and
//! shims, a real store, and kill -9.

mod idle;
mod killed;
mod life;
mod many;
mod pods;
mod rig;
mod snapshots;
mod store_away;
mod transfers;
mod web_identity;
