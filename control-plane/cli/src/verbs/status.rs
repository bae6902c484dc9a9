//! `remora status NAME`.

use clap::Args;
use remora_proto::control::v1::GetProjectRequest;
use remora_proto_model::{ProjectName, project::Project};

use crate::{
    Context, Failure, clients,
    follow::domain,
    output::{Format, OutputArgs, print_one},
    project_name::project_name,
    view::project::sheet,
};

/// Flags of `remora status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: StatusArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let project = domain(client.get(GetProjectRequest { name: args.name.into() }).await?.into_inner())?;
    show(args.output.format, &project)
}

/// Prints one project.
pub(crate) fn show(format: Format, project: &Project) -> Result<(), Failure> {
    print_one(format, project, project.name.as_str().as_bytes(), |text| sheet(project, text))
}
