//! `remora up -f FILE`: a whole project as YAML or JSON, in the form of the custom
//! resource, so that one file does for `kubectl apply` and for any server.

use std::{io::Read as _, path::Path};

use remora_proto_model::{
    Fault, ProjectName, Reason,
    project::{Project, ProjectSpec},
};
use serde::Deserialize;

use super::spec::Changed;
use crate::{Failure, limits::MAX_PROJECT_FILE_BYTES};

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProjectFile {
    api_version: String,
    kind: String,
    metadata: Metadata,
    pub(super) spec: ProjectSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: ProjectName,
}

impl ProjectFile {
    pub(super) fn name(&self) -> &ProjectName {
        &self.metadata.name
    }
}

/// Reads the file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<ProjectFile, Failure> {
    let shown = path.display().to_string();
    let failed = Failure::local(shown.clone());
    let mut text = String::new();
    let most = MAX_PROJECT_FILE_BYTES + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(Failure::local(shown.clone()))?;
        file.take(most).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > MAX_PROJECT_FILE_BYTES {
        return Err(Failure::usage(
            format!("{shown} has more than {MAX_PROJECT_FILE_BYTES} bytes"),
            "give the file of one project",
        ));
    }
    parse(&shown, &text)
}

fn parse(shown: &str, text: &str) -> Result<ProjectFile, Failure> {
    let hint = "write apiVersion: remora.dev/v1alpha1, kind: Project, metadata with the name alone, and spec";
    let file: ProjectFile =
        serde_norway::from_str(text).map_err(|error| Failure::usage(format!("{shown}: {error}"), hint))?;
    if (file.api_version.as_str(), file.kind.as_str()) != ("remora.dev/v1alpha1", "Project") {
        let what = format!("{shown} is a {} of {}, and no Project of remora.dev/v1alpha1", file.kind, file.api_version);
        return Err(Failure::usage(what, hint));
    }
    Ok(file)
}

/// The spec of `project` as the file wants it. What is wanted of it now is another verb's.
pub(super) fn changed(project: &Project, wanted: &ProjectSpec) -> Result<Changed, Fault> {
    let there = &project.spec;
    let fixed = [
        ("owner", there.owner != wanted.owner),
        ("source", there.source != wanted.source),
        ("layout", there.layout != wanted.layout),
        ("isolation", there.isolation != wanted.isolation),
    ];
    if let Some((field, _)) = fixed.into_iter().find(|(_, differs)| *differs) {
        return Err(Fault::new(
            Reason::AlreadyExists,
            format!("{} is there with another {field}, which cannot change", project.name),
        )
        .hint("write what it has into the file, or give the project another name"));
    }
    let differs = [
        ("displayName", there.display_name != wanted.display_name),
        ("containers", there.containers != wanted.containers),
        ("workspace", there.workspace != wanted.workspace),
        ("snapshots", there.snapshots != wanted.snapshots),
        ("idle", there.idle != wanted.idle && wanted.idle.is_some()),
        ("quota", there.quota != wanted.quota && wanted.quota.is_some()),
    ];
    let what = differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect();
    Ok(Changed { spec: ProjectSpec { desired: there.desired, ..wanted.clone() }, what })
}

#[cfg(test)]
mod tests {
    use remora_proto_model::{
        ProjectId,
        project::{Desired, ProjectStatus},
    };

    use super::*;

    const SHOP: &str = "
apiVersion: remora.dev/v1alpha1
kind: Project
metadata: {name: shop}
spec:
  containers:
  - name: web
    command: [npm, run, dev]
    ports: [{name: http, port: 5173}]
    dependsOn: [{name: db, condition: Healthy}]
  - {name: db, kind: Service, preset: Postgres, storage: {size: 2Gi}}
";

    fn project(text: &str) -> Project {
        let file = parse("x", text).unwrap();
        Project {
            id: ProjectId::new(),
            name: file.name().clone(),
            resource_version: 1,
            created_ms: 1,
            spec: ProjectSpec { desired: Desired::Stopped, ..file.spec },
            status: ProjectStatus::default(),
        }
    }

    #[test]
    fn a_file_is_a_project_and_a_later_one_its_change() {
        let file = parse("x", SHOP).unwrap();
        file.spec.validate().unwrap();
        assert_eq!((file.name().as_str(), file.spec.containers.len()), ("shop", 2));
        let there = project(SHOP);
        let same = changed(&there, &file.spec).unwrap();
        assert_eq!((&same.spec, same.what), (&there.spec, Vec::new()));
        let other = parse("x", &SHOP.replace("5173", "5174")).unwrap();
        let change = changed(&there, &other.spec).unwrap();
        assert_eq!(change.what, ["containers"]);
        assert_eq!(change.spec.desired, Desired::Stopped);
        let apart = parse("x", &SHOP.replace("spec:", "spec:\n  layout: PodPerContainer")).unwrap();
        let fault = changed(&there, &apart.spec).unwrap_err();
        assert!(fault.message.contains("layout, which cannot change"), "{fault}");
        let shared = parse("x", &SHOP.replace("spec:", "spec:\n  isolation: Shared")).unwrap();
        let fault = changed(&there, &shared.spec).unwrap_err();
        assert!(fault.message.contains("isolation, which cannot change"), "{fault}");
    }

    #[test]
    fn what_is_no_project_is_said() {
        for (bad, says) in [
            ("", "x: "),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n", "is a Pod of v1"),
            (&SHOP.replace("name: shop", "name: A"), "project name"),
            (&SHOP.replace("preset: Postgres", "preset: Oracle"), "Oracle"),
            (&SHOP.replace("containers:", "container:"), "container"),
        ] {
            let failure = parse("x", bad).unwrap_err().to_string();
            assert!(failure.contains(says), "{bad}: {failure}");
        }
    }
}
