//! `remora rm NAME`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;
use remora_proto::control::v1::{DeleteProjectRequest, GetProjectRequest};
use remora_proto_model::ProjectName;

use crate::{
    Context, Failure,
    args::WaitArgs,
    clients,
    follow::{Goal, domain, follow},
    output::{note, print},
    project_name::project_name,
};

/// Flags of `remora rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Make no final snapshot, and remove the snapshots from the store too.
    #[arg(long)]
    purge: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: RmArgs) -> Result<(), Failure> {
    let asks = !args.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(
            format!("{} is not deleted: there is no terminal to ask at", args.name),
            "--yes deletes without asking",
        ));
    }
    let mut client = clients::projects(context).await?;
    let project = domain(client.get(GetProjectRequest { name: args.name.to_string() }).await?.into_inner())?;
    if asks {
        confirm(&args)?;
    }
    // By its id: a project that got the same name meanwhile is not meant.
    let request = DeleteProjectRequest { name: project.id.to_string(), purge: args.purge };
    let project = domain(client.delete(request).await?.into_inner())?;
    let name = project.name.clone();
    if args.wait.no_wait {
        return print(format!("{name}: {}\n", project.status.phase).as_bytes());
    }
    follow(context, project, Goal::Deleted, Duration::from_secs(args.wait.timeout.into())).await?;
    let kept = if args.purge { "with its snapshots" } else { "its snapshots stay on the store" };
    print(format!("{name}: deleted, {kept}\n").as_bytes())
}

fn confirm(args: &RmArgs) -> Result<(), Failure> {
    let what = if args.purge { "all its files and snapshots, for good" } else { "its files; a final snapshot stays" };
    // A prompt stays on its line.
    _ = write!(io::stderr(), "delete {} and {what}? [y/N] ", args.name);
    _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Failure::local("standard input"))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    note("nothing was changed");
    Err(Failure::Code(1))
}
