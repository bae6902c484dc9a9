//! What the tests of every level share.

pub mod tree;
