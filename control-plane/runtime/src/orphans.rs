//! What was made for projects that are not there: found and told of, never removed by
//! itself. It may be all that is left of somebody's work.

use std::collections::{BTreeMap, HashSet};

use remora_proto_model::{
    Fault, ProjectId,
    project::{Orphan, OrphanKind, Orphans},
};

use crate::{Projects, limits::MAX_ORPHANS};

impl Projects {
    /// What carries the marks of a project and belongs to none.
    pub async fn orphans(&self) -> Result<Orphans, Fault> {
        let inner = self.inner();
        let known = inner.known_ids();
        let Orphans { orphans, unseen } = inner.runtime.strangers(&known).await?;
        // What is of a project that was made meanwhile is no orphan: they are read after
        // what was found, and a project is there before anything of it.
        let there: HashSet<ProjectId> =
            inner.records.all().await?.into_iter().map(|record| record.project.id).collect();
        Ok(told(orphans, unseen, &there))
    }
}

/// Those of no project that is `there`, in their order, at most so many of each kind.
fn told(found: Vec<Orphan>, mut unseen: Vec<String>, there: &HashSet<ProjectId>) -> Orphans {
    let mut orphans: Vec<Orphan> = found
        .into_iter()
        .filter(|orphan| orphan.project_id.parse().map_or(true, |id: ProjectId| !there.contains(&id)))
        .collect();
    orphans.sort();
    orphans.dedup();
    let mut counts: BTreeMap<OrphanKind, usize> = BTreeMap::new();
    orphans.retain(|orphan| {
        let count = counts.entry(orphan.kind).or_default();
        *count += 1;
        *count <= MAX_ORPHANS
    });
    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > MAX_ORPHANS) {
        unseen.push(format!("{} more of kind {kind} are not listed", count - MAX_ORPHANS));
    }
    Orphans { orphans, unseen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(kind: OrphanKind, name: &str, project_id: &str) -> Orphan {
        Orphan {
            kind,
            namespace: String::new(),
            name: name.to_owned(),
            project_id: project_id.to_owned(),
            created_ms: 1,
            ending: false,
        }
    }

    #[test]
    fn what_is_of_a_project_that_is_there_is_none() {
        let (there, gone) = (ProjectId::new(), ProjectId::new());
        let found = vec![
            orphan(OrphanKind::Pod, "b", &gone.to_string()),
            orphan(OrphanKind::Pod, "a", &there.to_string()),
            orphan(OrphanKind::Namespace, "c", ""),
            orphan(OrphanKind::Pod, "b", &gone.to_string()),
        ];
        let told = told(found, vec!["x".to_owned()], &HashSet::from([there]));
        let names: Vec<&str> = told.orphans.iter().map(|orphan| orphan.name.as_str()).collect();
        assert_eq!((names, told.unseen), (vec!["c", "b"], vec!["x".to_owned()]));
    }

    #[test]
    fn many_are_bounded_and_it_is_said() {
        let found = (0..MAX_ORPHANS + 3).map(|number| orphan(OrphanKind::Pod, &format!("p{number}"), ""));
        let told = told(found.chain([orphan(OrphanKind::Secret, "s", "")]).collect(), Vec::new(), &HashSet::new());
        assert_eq!(told.orphans.len(), MAX_ORPHANS + 1);
        assert_eq!(told.unseen, ["3 more of kind Pod are not listed"]);
    }
}
