//! `remora idle NAME`: when a project counts as idle, and what happens then.

use clap::Args;
use remora_proto::control::v1::{GetProjectRequest, PatchProjectRequest};
use remora_proto_model::{
    ProjectName,
    project::{ConditionType, Idle, IdleAction, MAX_IDLE_SECONDS, MIN_IDLE_SECONDS, Project},
};

use crate::{
    Context, Failure, clients,
    follow::domain,
    output::{Format, OutputArgs, age, now_ms, print},
    project_name::project_name,
};

/// Flags of `remora idle`; without --after and --action it shows what is set.
#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    #[command(flatten)]
    policy: IdlePolicy,
    #[command(flatten)]
    output: OutputArgs,
}

/// The policy in flags.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub(crate) struct IdlePolicy {
    /// Seconds without use after which the project counts as idle.
    #[arg(long = "idle-after", alias = "after", value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_IDLE_SECONDS)..=i64::from(MAX_IDLE_SECONDS)))]
    after: Option<u32>,
    /// What is done then: hibernate, stop or none.
    #[arg(long = "idle-action", alias = "action", value_name = "ACTION", value_parser = parse_action)]
    action: Option<IdleAction>,
}

impl IdlePolicy {
    /// `there` with what the flags name; `None` where they name nothing.
    pub(crate) fn change(self, there: Option<Idle>) -> Result<Option<Idle>, Failure> {
        let action = self.action.or(there.map(|idle| idle.action)).unwrap_or_default();
        match (self.after, self.action, there) {
            (None, None, _) => Ok(None),
            (Some(after_seconds), _, _) => Ok(Some(Idle { after_seconds, action })),
            (None, Some(_), Some(there)) => Ok(Some(Idle { action, ..there })),
            (None, Some(_), None) => Err(Failure::usage(
                "an action is given, and no time after which it is taken",
                "give it: --idle-after SECONDS",
            )),
        }
    }
}

/// Parses the word of an action.
fn parse_action(text: &str) -> Result<IdleAction, String> {
    match text.to_ascii_lowercase().as_str() {
        "hibernate" => Ok(IdleAction::Hibernate),
        "stop" => Ok(IdleAction::Stop),
        "none" => Ok(IdleAction::None),
        _ => Err(format!("{text:?} is no action; give hibernate, stop or none")),
    }
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: IdleArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let mut project = domain(client.get(GetProjectRequest { name: args.name.to_string() }).await?.into_inner())?;
    if let Some(idle) = args.policy.change(project.spec.idle)? {
        let request = PatchProjectRequest {
            name: project.id.to_string(),
            // What somebody else changed meanwhile is not taken back unseen.
            resource_version: project.resource_version,
            idle: Some(idle.into()),
            ..PatchProjectRequest::default()
        };
        project = domain(client.patch(request).await?.into_inner())?;
    }
    match args.output.format {
        Format::Table | Format::Wide => print(format!("{}: {}\n", project.name, words(&project)).as_bytes()),
        format => super::status::show(format, &project),
    }
}

/// What is set, and how it is now, in a line.
pub(crate) fn words(project: &Project) -> String {
    let status = &project.status;
    let policy = match project.spec.idle {
        None => "never idle, whoever uses it or not".to_owned(),
        Some(Idle { after_seconds, action }) => {
            let then = match action {
                IdleAction::Hibernate => "hibernates",
                IdleAction::Stop => "stops",
                IdleAction::None => "is told of",
            };
            format!("{then} after {after_seconds} s without use")
        }
    };
    let idle = status.conditions.iter().any(|condition| condition.kind == ConditionType::Idle && condition.status);
    let now = if idle { ", idle" } else { "" };
    match status.last_activity_ms {
        0 => format!("{policy}{now}"),
        at => format!("{policy}{now}, used {} ago", age(at, now_ms())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_they_name() {
        let there = Some(Idle { after_seconds: 60, action: IdleAction::Stop });
        let of = |after, action| IdlePolicy { after, action };
        for (flags, before, wanted) in [
            (of(None, None), there, None),
            (of(Some(5), None), None, Some(Idle { after_seconds: 5, action: IdleAction::Hibernate })),
            (of(Some(5), None), there, Some(Idle { after_seconds: 5, action: IdleAction::Stop })),
            (of(None, Some(IdleAction::None)), there, Some(Idle { after_seconds: 60, action: IdleAction::None })),
        ] {
            assert_eq!(flags.change(before).unwrap(), wanted);
        }
        assert!(of(None, Some(IdleAction::Stop)).change(None).is_err());
    }
}
