//! The house rules that a compiler does not check: which crate may know which,
//! what the tree may not pull in, and that documents say what is so.

mod attacks;
mod chart;
mod dependencies;
mod documents;
mod limits;
mod parity;
mod sources;
mod suite;
