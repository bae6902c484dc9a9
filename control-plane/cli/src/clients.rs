//! A client for each service, with the caller's credentials and bounds.

use remora_proto::{
    agent::v1::{
        exec_service_client::ExecServiceClient, file_service_client::FileServiceClient,
        snapshot_service_client::SnapshotServiceClient, terminal_service_client::TerminalServiceClient,
    },
    control::v1::{
        project_service_client::ProjectServiceClient, server_service_client::ServerServiceClient,
        token_service_client::TokenServiceClient,
    },
};
use remora_proto_model::ProjectName;

use crate::{
    Context, Failure,
    connect::{Connection, connect},
    limits::MAX_ANSWER_BYTES,
};

pub(crate) type Projects = ProjectServiceClient<Connection>;
pub(crate) type Files = FileServiceClient<Connection>;

macro_rules! of_the_server {
    ($(#[$doc:meta])* $name:ident, $client:ident) => {
        $(#[$doc])*
        pub(crate) async fn $name(context: &Context) -> Result<$client<Connection>, Failure> {
            Ok($client::new(connect(context, None).await?).max_decoding_message_size(MAX_ANSWER_BYTES))
        }
    };
}

macro_rules! of_a_project {
    ($(#[$doc:meta])* $name:ident, $client:ident) => {
        $(#[$doc])*
        pub(crate) async fn $name(context: &Context, project: &ProjectName) -> Result<$client<Connection>, Failure> {
            Ok($client::new(connect(context, Some(project)).await?).max_decoding_message_size(MAX_ANSWER_BYTES))
        }
    };
}

of_the_server!(
    /// Projects.
    projects, ProjectServiceClient
);
of_the_server!(
    /// Tokens and API keys.
    tokens, TokenServiceClient
);
of_the_server!(
    /// The server itself.
    server, ServerServiceClient
);
of_a_project!(
    /// Files of a project.
    files, FileServiceClient
);
of_a_project!(
    /// Snapshots of a project.
    snapshots, SnapshotServiceClient
);
of_a_project!(
    /// Commands of a project.
    commands, ExecServiceClient
);
of_a_project!(
    /// Terminals of a project.
    terminals, TerminalServiceClient
);
