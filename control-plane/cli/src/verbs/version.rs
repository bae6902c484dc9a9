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
    /// Of the agent that the server starts; empty where it cannot be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
}

/// Runs the verb.
pub(crate) async fn run(global: &GlobalArgs, args: VersionArgs) -> Result<(), Failure> {
    let info = if args.with_server {
        let mut client = clients::server(&super::context(global)?).await?;
        Some(client.get_info(GetServerInfoRequest {}).await?.into_inner())
    } else {
        None
    };
    let (server, agent) = info.map(|info| (info.version, info.agent_version)).unzip();
    let versions = Versions { client: CLIENT, server, agent };
    print_one(args.output.format, &versions, CLIENT.as_bytes(), |text| {
        writeln!(text, "remora {CLIENT}")?;
        match &versions.server {
            Some(server) => writeln!(text, "server {}", escape(server))?,
            None => return Ok(()),
        }
        match versions.agent.as_deref() {
            None | Some("") => writeln!(text, "agent  cannot be run; `remora doctor` says why"),
            Some(agent) => writeln!(text, "agent  {}", escape(agent)),
        }
    })
}
