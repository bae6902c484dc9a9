//! The house rules that a compiler does not check: which crate may know which,
//! what the tree may not pull in, and that documents name files that exist.

mod dependencies;
mod documents;
mod sources;
