//! `remora token revoke NAME ID`.

use clap::Args;
use remora_proto::control::v1::RevokeTokenRequest;
use remora_proto_model::ProjectName;
use uuid::Uuid;

use crate::{Context, Failure, clients, output::print, project_name::project_name};

/// Flags of `remora token revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Id of the token.
    #[arg(value_parser = token_id)]
    id: String,
}

fn token_id(text: &str) -> Result<String, String> {
    match Uuid::try_parse(text) {
        Ok(_) if text.len() == 36 => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a UUID; `remora token ls NAME` shows the ids of tokens")),
    }
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: RevokeArgs) -> Result<(), Failure> {
    let mut client = clients::tokens(context).await?;
    client.revoke_token(RevokeTokenRequest { project: args.name.to_string(), id: args.id.clone() }).await?;
    print(format!("{}: revoked\n", args.id).as_bytes())
}
