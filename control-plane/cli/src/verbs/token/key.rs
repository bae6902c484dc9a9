//! `remora token key create|ls|revoke`.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use remora_proto::control::v1::{
    ApiKey as WireKey, CreateKeyRequest, ListKeysRequest, RevokeKeyRequest, Role as WireRole,
};
use remora_proto_model::{
    Fault, ProjectName, Reason,
    project::{ApiKey, Role},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Context, Failure, clients,
    output::{Listing, OutputArgs, note, print, print_one},
    project_name::project_name,
};

/// The verbs on API keys.
#[derive(Subcommand, Clone, Debug)]
pub enum KeyCommand {
    /// Make an API key and print its secret, which nobody can read again.
    Create(CreateArgs),
    /// List API keys, without their secrets.
    #[command(alias = "list")]
    Ls(LsArgs),
    /// End an API key.
    Revoke(RevokeArgs),
}

/// Flags of `remora token key create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Name of the key, for people and audit records.
    name: String,
    /// What it may do.
    #[arg(long, value_enum)]
    role: RoleArg,
    /// Project that it is for; every one where none is given; repeat for more.
    #[arg(long = "project", value_name = "NAME", value_parser = project_name)]
    projects: Vec<ProjectName>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A role as a word of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    /// Look.
    Viewer,
    /// Work in it.
    Editor,
    /// Decide over it.
    Owner,
    /// Everything, on every project.
    Admin,
}

/// Flags of `remora token key ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `remora token key revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// Id of the key.
    #[arg(value_parser = key_id)]
    id: String,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    key: ApiKey,
    secret: String,
}

fn key_id(text: &str) -> Result<String, String> {
    match Uuid::try_parse(text) {
        Ok(_) if text.len() == 36 => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a UUID; `remora token key ls` shows the ids of keys")),
    }
}

fn domain(key: WireKey) -> Result<ApiKey, Failure> {
    Ok(ApiKey::try_from(key)?)
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: KeyCommand) -> Result<(), Failure> {
    let mut client = clients::tokens(context).await?;
    match command {
        KeyCommand::Create(args) => {
            let role = match args.role {
                RoleArg::Viewer => Role::Viewer,
                RoleArg::Editor => Role::Editor,
                RoleArg::Owner => Role::Owner,
                RoleArg::Admin => Role::Admin,
            };
            let projects = args.projects.into_iter().map(String::from).collect();
            let request = CreateKeyRequest { name: args.name, role: WireRole::from(role).into(), projects };
            let answer = client.create_key(request).await?.into_inner();
            let key =
                answer.key.ok_or_else(|| Fault::new(Reason::Internal, "the server made a key and did not show it"))?;
            let created = Created { key: domain(key)?, secret: answer.secret };
            print_one(args.output.format, &created, created.key.id.as_bytes(), |text| {
                writeln!(text, "{}", created.secret)
            })?;
            note(&format!("key {} ({}); its secret cannot be read again", created.key.name, created.key.id));
            Ok(())
        }
        KeyCommand::Ls(args) => {
            let keys = client.list_keys(ListKeysRequest {}).await?.into_inner().keys;
            let keys: Vec<_> = keys.into_iter().map(domain).collect::<Result<_, _>>()?;
            let mut listing = Listing::new(args.output.format);
            listing.push(&keys)?;
            listing.finish().map(drop)
        }
        KeyCommand::Revoke(args) => {
            client.revoke_key(RevokeKeyRequest { id: args.id.clone() }).await?;
            print(format!("{}: revoked\n", args.id).as_bytes())
        }
    }
}
