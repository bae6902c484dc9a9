//! One container of a project: added, changed, removed. Each is a change of the spec;
//! whether what runs follows part by part or by another generation is the runtime's word.

use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId, Reason,
    project::{
        ConditionType, Container, ContainerChange, ContainerKind, Desired, ProjectSpec, TakesEffect, dependents,
    },
};

use super::{Projects, alive, driver::changed_words, is_version, now_ms};
use crate::records::Record;

impl Projects {
    /// Adds a container. One that is there with the same spec is left as it is.
    pub async fn add_container(
        &self,
        id: ProjectId,
        version: u64,
        container: Container,
    ) -> Result<ContainerChange, Fault> {
        self.change_containers(id, version, |spec, _| {
            match spec.containers.iter().find(|there| there.name == container.name) {
                Some(there) if *there == container => {}
                Some(_) => {
                    return Err(Fault::new(
                        Reason::AlreadyExists,
                        format!("there is a container {} with another spec", container.name),
                    )
                    .hint("change that one, or choose another name"));
                }
                None => spec.containers.push(container.clone()),
            }
            Ok(())
        })
        .await
    }

    /// Puts what `change` makes of a container in its place. Its name stays.
    pub async fn change_container(
        &self,
        id: ProjectId,
        version: u64,
        name: &ContainerName,
        change: impl Fn(&Container) -> Result<Container, Fault>,
    ) -> Result<ContainerChange, Fault> {
        self.change_containers(id, version, |spec, _| {
            let at = position(spec, name)?;
            let changed = change(&spec.containers[at])?;
            if changed.name != *name {
                return Err(Fault::invalid("name", format!("is {}, and cannot change", changed.name))
                    .hint("add a container with that name, and remove this one"));
            }
            let there = &spec.containers[at];
            if (changed.kind, changed.preset) != (there.kind, there.preset) {
                return Err(Fault::invalid("kind", format!("and preset of {name} cannot change"))
                    .hint("remove it, and add one of that kind"));
            }
            spec.containers[at] = changed;
            Ok(())
        })
        .await
    }

    /// Removes a container that no other one depends on. With `data` the volume and the
    /// password that it had go too; otherwise they wait for one of its name.
    pub async fn remove_container(
        &self,
        id: ProjectId,
        version: u64,
        name: &ContainerName,
        data: bool,
    ) -> Result<ContainerChange, Fault> {
        self.change_containers(id, version, |spec, discard| {
            let at = position(spec, name)?;
            let waiting: Vec<&str> =
                dependents(&spec.containers, name).into_iter().map(ContainerName::as_str).collect();
            if !waiting.is_empty() {
                return Err(Fault::new(
                    Reason::FailedPrecondition,
                    format!("{name} is what {} depends on", waiting.join(" and ")),
                )
                .hint("take it out of their dependsOn first"));
            }
            let removed = spec.containers.remove(at);
            if data && removed.kind == ContainerKind::Service && !discard.contains(name) {
                discard.push(name.clone());
            }
            Ok(())
        })
        .await
    }

    async fn change_containers(
        &self,
        id: ProjectId,
        version: u64,
        change: impl Fn(&mut ProjectSpec, &mut Vec<ContainerName>) -> Result<(), Fault>,
    ) -> Result<ContainerChange, Fault> {
        let inner = &self.inner;
        let entry = inner.entry(id)?;
        let mut takes_effect = TakesEffect::Unchanged;
        let _claim = inner.claims.lock().await;
        let project = inner
            .change(&entry, |record| {
                alive(record)?;
                is_version(record, version)?;
                record.forget_half_changes();
                let (before, mut spec) = (record.project.spec.clone(), record.project.spec.clone());
                change(&mut spec, &mut record.discard)?;
                if spec == before {
                    takes_effect = TakesEffect::Unchanged;
                    return Ok(());
                }
                before.containers_may_become(&spec.containers)?;
                spec.validate()?;
                let parts = |spec: &ProjectSpec| spec.containers.iter().map(Container::of_its_pod).collect::<Vec<_>>();
                let same_pods = parts(&before) == parts(&spec);
                inner.take_spec(record, spec)?;
                // What is there of a name that comes back is its own again.
                record.forget_half_changes();
                takes_effect = takes(record, same_pods || inner.runtime.changes_in_place(record));
                if takes_effect == TakesEffect::NewGeneration {
                    record.replace = Some(record.project.status.generation);
                }
                if takes_effect != TakesEffect::NextStart && !same_pods {
                    not_current(record);
                }
                Ok(())
            })
            .await?;
        Ok(ContainerChange { project, takes_effect })
    }
}

fn position(spec: &ProjectSpec, name: &ContainerName) -> Result<usize, Fault> {
    spec.containers.iter().position(|container| container.name == *name).ok_or_else(|| {
        let there: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
        Fault::new(Reason::NotFound, format!("there is no container {name}"))
            .hint(format!("there are {}", there.join(", ")))
    })
}

fn takes(record: &Record, in_place: bool) -> TakesEffect {
    let project = &record.project;
    match project.spec.desired {
        Desired::Running if project.status.generation == Generation(0) => TakesEffect::NextStart,
        Desired::Running if in_place => TakesEffect::InPlace,
        Desired::Running => TakesEffect::NewGeneration,
        _ => TakesEffect::NextStart,
    }
}

/// Whoever waits for the change must not take what was said before it for the answer.
fn not_current(record: &mut Record) {
    let conditions = &mut record.project.status.conditions;
    if let Some(condition) = conditions.iter_mut().find(|condition| condition.kind == ConditionType::SpecCurrent)
        && condition.status
    {
        let (reason, message) = changed_words(&["containers"]);
        (condition.status, condition.reason, condition.message) = (false, reason.to_owned(), message);
        condition.since_ms = now_ms();
    }
}
