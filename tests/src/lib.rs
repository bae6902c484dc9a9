//! What the tests of every level share.

pub mod seaweed;
pub mod tree;
