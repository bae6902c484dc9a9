//! `remora version`.

use std::io::Write as _;

use clap::Args;
use remora_proto::control::v1::GetServerInfoRequest;
use serde::Serialize;

use crate::{
    Failure, GlobalArgs, clients,
    output::{OutputArgs, escape, print_one},
};

/// The version of this program.
pub(crate) const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Flags of `remora version`.
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {
    /// Ask the server for its version too.
    #[arg(long = "with-server")]
    with_server: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

/// Runs the verb.
pub(crate) async fn run(global: &GlobalArgs, args: VersionArgs) -> Result<(), Failure> {
    let server = if args.with_server {
        let mut client = clients::server(&super::context(global)?).await?;
        Some(client.get_info(GetServerInfoRequest {}).await?.into_inner().version)
    } else {
        None
    };
    let versions = Versions { client: CLIENT, server };
    print_one(args.output.format, &versions, CLIENT.as_bytes(), |text| {
        writeln!(text, "remora {CLIENT}")?;
        match &versions.server {
            Some(server) => writeln!(text, "server {}", escape(server)),
            None => Ok(()),
        }
    })
}
