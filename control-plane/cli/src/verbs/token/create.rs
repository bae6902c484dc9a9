//! `remora token create NAME`.

use std::io::Write as _;

use clap::Args;
use remora_proto::control::v1::{MintTokenRequest, MintTokenResponse};
use remora_proto_model::{ContainerName, ProjectName, Verb};
use serde::Serialize;

use crate::{
    Context, Failure, clients,
    output::{OutputArgs, note, now_ms, print_one},
    project_name::project_name,
};

/// Flags of `remora token create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// What it allows, for example file.read; repeat for more. Where none is given everything that you may, and with
    /// --path only what is about files.
    #[arg(long = "verb", value_name = "VERB")]
    verbs: Vec<Verb>,
    /// Folder that is its whole world: paths count from it, and what it runs, where a verb allows that, is kept in it.
    #[arg(long, default_value = "", value_name = "PATH")]
    path: String,
    /// Container that it opens; every one where none is given; repeat for more.
    #[arg(long = "container", value_name = "NAME")]
    containers: Vec<ContainerName>,
    /// Seconds until it ends, at most 30 days.
    #[arg(long, default_value_t = 900, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    ttl: u32,
    /// For whom it is, for the audit record; your own name where none is given.
    #[arg(long, default_value = "", value_name = "NAME")]
    subject: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Minted {
    token: String,
    token_id: String,
    expires_ms: u64,
}

/// Runs the verb. Standard output has the token and nothing else.
pub(crate) async fn run(context: &Context, args: CreateArgs) -> Result<(), Failure> {
    let mut client = clients::tokens(context).await?;
    let request = MintTokenRequest {
        project: args.name.to_string(),
        verbs: args.verbs.iter().map(ToString::to_string).collect(),
        path_prefix: args.path,
        containers: args.containers.into_iter().map(String::from).collect(),
        ttl_seconds: args.ttl,
        subject: args.subject,
    };
    let MintTokenResponse { token, expires_ms, token_id } = client.mint(request).await?.into_inner();
    let minted = Minted { token, token_id, expires_ms };
    print_one(args.output.format, &minted, minted.token.as_bytes(), |text| writeln!(text, "{}", minted.token))?;
    note(&format!("it ends in {} s", expires_ms.saturating_sub(now_ms()).div_ceil(1_000)));
    Ok(())
}
