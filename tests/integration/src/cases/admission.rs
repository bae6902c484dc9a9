//! What the API server refuses of a project, and what an edit beside the server does.

use serde_json::{Map, Value, json};

use crate::{cluster::kubectl, harness::Case, project::Project, project::phase, target::Target};

/// Specs that a cluster takes and specs that it refuses; the strict types are held to the same table.
const TABLE: &str = include_str!("../../../../control-plane/kube/tests/projects.yaml");

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("admission::each_bad_spec_is_refused_with_its_field", table).on_cluster(),
        Case::new("admission::an_edit_that_cannot_be_followed_costs_no_project", edited).on_cluster(),
    ]
}

/// A project with the parts of `specs` over the smallest good one.
fn object(name: &str, specs: &[&Value]) -> String {
    let mut spec = Map::new();
    spec.insert("containers".to_owned(), json!([{"name": "dev", "image": "node"}]));
    for part in specs {
        spec.extend(part.as_object().expect("a spec is an object").clone());
    }
    json!({"apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": name}, "spec": spec})
        .to_string()
}

async fn table(_: Target) {
    let table: Value = serde_norway::from_str(TABLE).expect("the table is YAML");
    let rows = |name: &str| table[name].as_array().cloned().expect("the table has its parts");
    let create = async |object: String| kubectl(&["create", "--dry-run=server", "--filename", "-"], &object).await;
    let text = |row: &Value, name: &str| row[name].as_str().expect("a row is whole").to_owned();
    for good in rows("good") {
        if let Err(said) = create(object("it-good", &[&good["spec"]])).await {
            panic!("{good}: {said}");
        }
    }
    for bad in rows("bad") {
        let said = create(object("it-bad", &[&bad["spec"]])).await.expect_err(&bad.to_string());
        assert!(said.contains(&text(&bad, "names")) && said.contains(&text(&bad, "says")), "{bad}: {said}");
    }
    for bad in rows("names") {
        let said = create(object(&text(&bad, "name"), &[])).await.expect_err(&bad.to_string());
        assert!(said.contains(&text(&bad, "says")), "{bad}: {said}");
    }
    // Of one that is there. It waits for its archive, or does not run: nothing comes of it.
    for (at, change) in rows("changes").iter().enumerate() {
        let name = format!("it-change-{at}-{}", std::process::id());
        let still = json!({"desired": "Stopped"});
        let there = object(&name, &[&still, &change["from"]]);
        kubectl(&["create", "--filename", "-"], &there).await.unwrap_or_else(|said| panic!("{change}: {said}"));
        // As a patch: the control plane writes its status meanwhile.
        let next: Value = serde_json::from_str(&object(&name, &[&still, &change["spec"]])).expect("it is JSON");
        let patch = json!([{"op": "replace", "path": "/spec", "value": next["spec"]}]).to_string();
        let args = ["patch", "projects.remora.dev", &name, "--type=json", "--dry-run=server", "--patch", &patch];
        let said = kubectl(&args, "").await.expect_err(&name);
        assert!(said.contains(&text(change, "names")) && said.contains(&text(change, "says")), "{change}: {said}");
        kubectl(&["delete", "projects.remora.dev", &name, "--wait=false"], "").await.expect("it is deleted");
    }
}

async fn edited(target: Target) {
    let project = Project::empty(&target, "edit", super::IDLE).await;
    let patch = async |patch: Value| {
        let patch = patch.to_string();
        let args = ["patch", "projects.remora.dev", &project.name, "--type=json", "--patch", &patch];
        kubectl(&args, "").await.expect("the rules let it pass")
    };
    let current = |status: &Value| {
        let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "SpecCurrent").unwrap_or_default()
    };
    // A quantity above 0, and less than a processor can be divided into.
    patch(json!([{"op": "add", "path": "/spec/containers/0/resources/limits/cpu", "value": "1u"}])).await;
    let refused = |status: &Value| current(status)["reason"] == "SPEC_REFUSED";
    let status = project.becomes("a word about the spec", refused).await;
    let message = current(&status)["message"].to_string();
    assert!(message.contains("limits.cpu: 1u is finer"), "{message}");
    assert!(phase("Ready")(&status), "{status:#}");
    assert_eq!(project.shell("echo it goes on").await, "it goes on\n");

    patch(json!([{"op": "remove", "path": "/spec/containers/0/resources/limits/cpu"}])).await;
    project.becomes("the spec is followed", |status| current(status)["status"] == true).await;
    project.remove().await;
}
