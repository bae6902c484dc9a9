//! What the tests of every level share.

pub mod agent;
pub mod binaries;
pub mod cli;
pub mod eventually;
pub mod impostor;
pub mod issuer;
pub mod log;
pub mod pki;
pub mod pod;
pub mod pty;
pub mod reflection;
pub mod relay;
pub mod s3_server;
pub mod seaweed;
pub mod server;
pub mod store_way;
pub mod token_service;
pub mod tree;
pub mod versitygw;
