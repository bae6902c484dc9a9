//! Projects and API keys in tables.

use remora_proto_model::project::{ApiKey, Phase, Project};

use crate::output::{Column, age, bytes, now_ms, timestamp};

use crate::output::Listed;

impl Listed for Project {
    const COLUMNS: &'static [Column] = &[
        Column::text("NAME"),
        Column::text("PHASE"),
        Column::text("WANTED").only_wide(),
        Column::number("AGE"),
        Column::number("SNAPSHOT"),
        Column::number("UNSAVED"),
        Column::text("ENDPOINTS"),
        Column::number("GENERATION").only_wide(),
        Column::text("NAMESPACE").only_wide(),
        Column::text("ID").only_wide(),
    ];

    fn cells(&self) -> Vec<String> {
        let now = now_ms();
        let status = &self.status;
        let endpoints: Vec<_> = status.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        vec![
            self.name.to_string(),
            status.phase.to_string(),
            format!("{:?}", self.spec.desired),
            age(self.created_ms, now),
            status.head.as_ref().map_or_else(|| "-".to_owned(), |head| age(head.committed_ms, now)),
            unsaved(self),
            endpoints.join(","),
            status.generation.to_string(),
            if status.namespace.is_empty() { "-".to_owned() } else { status.namespace.clone() },
            self.id.to_string(),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.name.as_str().into()
    }
}

/// What would be lost if the workspace vanished now.
fn unsaved(project: &Project) -> String {
    let durability = &project.status.durability;
    match project.status.phase {
        Phase::Hibernated => "0 B".to_owned(),
        _ if durability.measured_ms == 0 => "-".to_owned(),
        _ => bytes(durability.dirty_bytes),
    }
}

/// All of a project, for a person.
pub(crate) fn sheet(project: &Project, text: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write as _;

    use crate::output::escape;

    let now = now_ms();
    let status = &project.status;
    let mut line = |name: &str, value: String| writeln!(text, "{name:<12} {}", escape(&value));
    line("name", project.name.to_string())?;
    line("id", project.id.to_string())?;
    if !project.spec.display_name.is_empty() {
        line("shown as", project.spec.display_name.clone())?;
    }
    if let Some(owner) = &project.spec.owner {
        line("owner", owner.to_string())?;
    }
    if !status.namespace.is_empty() {
        line("namespace", status.namespace.clone())?;
    }
    line(
        "phase",
        format!("{} ({:?} is wanted), generation {}", status.phase, project.spec.desired, status.generation),
    )?;
    line("made", format!("{} ({} ago)", timestamp(project.created_ms), age(project.created_ms, now)))?;
    if status.timings.ready_ms > 0 {
        let timings = &status.timings;
        line(
            "last start",
            format!(
                "{} ms: scheduled {} ms, hydrated {} ms",
                timings.ready_ms, timings.scheduled_ms, timings.hydrated_ms
            ),
        )?;
    }
    match &status.head {
        Some(head) => line("snapshot", format!("{} ({} ago)", head.snapshot, age(head.committed_ms, now)))?,
        None => line("snapshot", "none yet".to_owned())?,
    }
    let durability = &status.durability;
    if durability.measured_ms > 0 {
        line(
            "unsaved",
            format!(
                "{} files, {}, oldest change {} s (measured {} ago)",
                durability.dirty_files,
                bytes(durability.dirty_bytes),
                durability.rpo_seconds,
                age(durability.measured_ms, now)
            ),
        )?;
    }
    line(
        "active",
        if status.last_activity_ms == 0 {
            "never".to_owned()
        } else {
            format!("{} ago", age(status.last_activity_ms, now))
        },
    )?;
    line("idle", crate::verbs::idle::words(project))?;
    // There an image says what runs where the spec does not.
    let on_cluster = !status.namespace.is_empty();
    for container in &project.spec.containers {
        let state = status.containers.iter().find(|state| state.name == container.name);
        let how = match state {
            Some(state) if state.running => "runs".to_owned(),
            Some(state) if !state.ended.is_empty() => {
                format!("ended: {} (started {} times)", state.ended, state.starts)
            }
            _ if container.command.is_empty() && on_cluster => "does not run".to_owned(),
            _ if container.command.is_empty() => "no command of its own".to_owned(),
            _ => "does not run".to_owned(),
        };
        let image = container.image.as_ref().map(|image| format!(", image {image}")).unwrap_or_default();
        line("container", format!("{}: {how}{image}", container.name))?;
    }
    for pod in &status.pods {
        let ready = if pod.ready { "ready" } else { "not ready" };
        let address = if pod.ip.is_empty() { "without an address" } else { &pod.ip };
        line("pod", format!("{} {ready}, {address}", pod.name))?;
    }
    for endpoint in &status.endpoints {
        line("endpoint", format!("{} {} {}", endpoint.container, endpoint.port_name, endpoint.url))?;
    }
    for condition in &status.conditions {
        let reason = if condition.reason.is_empty() { String::new() } else { format!(" {}", condition.reason) };
        let message = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
        line(
            "condition",
            format!(
                "{} {}{reason}{message} ({} ago)",
                condition.kind,
                if condition.status { "yes" } else { "no" },
                age(condition.since_ms, now)
            ),
        )?;
    }
    Ok(())
}

impl Listed for ApiKey {
    const COLUMNS: &'static [Column] = &[
        Column::text("ID"),
        Column::text("NAME"),
        Column::text("ROLE"),
        Column::text("PROJECTS"),
        Column::number("AGE"),
        Column::number("LAST USED"),
    ];

    fn cells(&self) -> Vec<String> {
        let now = now_ms();
        let projects: Vec<_> = self.projects.iter().map(ToString::to_string).collect();
        vec![
            self.id.clone(),
            self.name.clone(),
            format!("{:?}", self.role),
            if projects.is_empty() { "all".to_owned() } else { projects.join(",") },
            age(self.created_ms, now),
            age(self.last_used_ms, now),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.id.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::{
        Generation, ProjectId,
        project::{Condition, ConditionType, Container, PodState, ProjectSpec, ProjectStatus},
    };

    use super::*;

    #[test]
    fn a_sheet_says_what_is_wrong_and_cannot_drive_the_terminal() {
        let container =
            Container { image: Some("r.io/dev:1".parse().unwrap()), ..Container::named("dev".parse().unwrap()) };
        let project = Project {
            id: ProjectId::new(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec: ProjectSpec { containers: vec![container], ..ProjectSpec::default() },
            status: ProjectStatus {
                phase: Phase::Degraded,
                generation: Generation(4),
                conditions: vec![Condition {
                    kind: ConditionType::Degraded,
                    status: true,
                    reason: "CONTAINER_UNAVAILABLE".to_owned(),
                    message: "dev \x1b[31m is gone".to_owned(),
                    since_ms: 1,
                }],
                namespace: "proj-1".to_owned(),
                pods: vec![PodState {
                    name: "dev-g4".to_owned(),
                    uid: "u".to_owned(),
                    container: None,
                    ip: "10.0.0.7".to_owned(),
                    ready: false,
                    owns_snapshots: true,
                }],
                ..ProjectStatus::default()
            },
        };
        let mut text = Vec::new();
        sheet(&project, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("Degraded yes CONTAINER_UNAVAILABLE: dev \\x1b[31m is gone"), "{text}");
        assert!(text.contains("generation 4") && text.contains("dev: does not run, image r.io/dev:1"), "{text}");
        assert!(text.contains("namespace    proj-1") && text.contains("dev-g4 not ready, 10.0.0.7"), "{text}");
        assert_eq!(project.cells().len(), Project::COLUMNS.len());
    }
}
