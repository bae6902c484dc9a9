//! `remora start|stop|hibernate|wake NAME`: one wish, followed until it is true.

use std::time::Duration;

use clap::Args;
use remora_proto::control::v1::{HibernateProjectRequest, StartProjectRequest, StopProjectRequest, WakeProjectRequest};
use remora_proto_model::{ProjectName, project::Project};

use crate::{
    Context, Failure,
    args::WaitArgs,
    clients,
    follow::{Goal, domain, follow},
    output::{Format, OutputArgs, escape, print},
    project_name::project_name,
};

/// Flags of `remora start`, `stop`, `hibernate` and `wake`.
#[derive(Args, Clone, Debug)]
pub struct LifecycleArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Run.
    Start,
    /// End, files stay.
    Stop,
    /// The store alone.
    Hibernate,
    /// Run again.
    Wake,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: LifecycleArgs, change: Change) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let name = args.name.to_string();
    let answer = match change {
        Change::Start => client.start(StartProjectRequest { name }).await,
        Change::Stop => client.stop(StopProjectRequest { name }).await,
        Change::Hibernate => client.hibernate(HibernateProjectRequest { name }).await,
        Change::Wake => client.wake(WakeProjectRequest { name }).await,
    };
    let mut project = domain(answer?.into_inner())?;
    if !args.wait.no_wait {
        let goal = match change {
            Change::Start | Change::Wake => Goal::Ready,
            Change::Stop => Goal::Stopped,
            Change::Hibernate => Goal::Hibernated,
        };
        project = follow(context, project, goal, Duration::from_secs(args.wait.timeout.into())).await?;
    }
    match args.output.format {
        Format::Table | Format::Wide => print(summary(&project).as_bytes()),
        format => super::status::show(format, &project),
    }
}

/// Where a project is and where it can be reached, in a line each.
pub(crate) fn summary(project: &Project) -> String {
    let status = &project.status;
    let mut text = format!("{}: {}", project.name, status.phase);
    if status.phase.serves() && status.timings.ready_ms > 0 {
        text.push_str(&format!(" after {:.1} s", status.timings.ready_ms as f64 / 1_000.0));
    }
    if let Some(head) = &status.head {
        text.push_str(&format!(", snapshot {}", escape(&head.snapshot)));
    }
    text.push('\n');
    for endpoint in &status.endpoints {
        text.push_str(&format!("  {}  {}\n", escape(&endpoint.port_name), escape(&endpoint.url)));
    }
    text
}
