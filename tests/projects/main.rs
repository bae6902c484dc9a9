//! Projects on this machine, without a server around them: real agents and
//! shims, a real store, and kill -9.

mod killed;
mod life;
mod rig;
mod store_away;
