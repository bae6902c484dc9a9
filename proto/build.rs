//! Compiles the contract with protox, a protobuf compiler in Rust, so that no
//! installed protoc is needed; the descriptors serve reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "remora/agent/v1/common.proto",
    "remora/agent/v1/agent.proto",
    "remora/agent/v1/terminal.proto",
    "remora/agent/v1/exec.proto",
    "remora/agent/v1/files.proto",
    "remora/agent/v1/snapshot.proto",
    "remora/shim/v1/shim.proto",
    "remora/control/v1/control.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=remora");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
