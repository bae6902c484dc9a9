//! Containers of a project: added, changed, removed. Each answer says when that takes effect.

use axum::{
    extract::{FromRequestParts, Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, request::Parts};
use remora_proto_model::{
    Fault, Reason,
    project::{Container, ContainerChange, TakesEffect},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, if_match, json, located, versioned},
    problem::{Problem, Refused},
};

/// The project and the container of the path.
pub(super) struct NamedContainer(String, String);

impl FromRequestParts<Shared> for NamedContainer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        match Path::<(String, String)>::from_request_parts(parts, shared).await {
            Ok(Path((project, container))) => Ok(NamedContainer(project, container)),
            Err(error) => Err(Refused(Fault::invalid("path", error))),
        }
    }
}

/// How to remove one.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Remove the volume and the password that it has, too. Without it they wait for one of its name.
    data: bool,
}

/// Adds a container. One that is there with the same spec is left as it is.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/containers",
    operation_id = "addContainer",
    tag = "containers",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the project that was read")
    ),
    request_body = Container,
    responses(
        (status = 201, body = ContainerChange, description = "It was added", headers(("etag" = String, description = "The project's version"), ("location" = String, description = "The container's path"))),
        (status = 200, body = ContainerChange, description = "It was there"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn add(
    State(shared): State<Shared>,
    By(caller): By,
    Named(project): Named,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Json(container): Json<Container>,
) -> Result<Response, Refused> {
    let version = if_match(&headers)?;
    let name = container.name.clone();
    let added = shared.control.add_container(&caller, &project, version.unwrap_or(0), container).await;
    let added = added.map_err(|fault| precondition(version, fault))?;
    let status = match added.takes_effect {
        TakesEffect::Unchanged => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    let path = format!("/api/v1/projects/{}/containers/{name}", added.project.id);
    Ok(located(answer(status, &added), &path))
}

/// Changes a container by a JSON merge patch (RFC 7396): what is absent stays, and null
/// removes. Name, kind and preset stay.
#[utoipa::path(
    patch,
    path = "/api/v1/projects/{name}/containers/{container}",
    operation_id = "patchContainer",
    tag = "containers",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("container" = String, Path, description = "Name of the container"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the project that was read")
    ),
    request_body(content = Value, description = "What is to change of the container, in the form that it has in a spec"),
    responses(
        (status = 200, body = ContainerChange, description = "The project, and when it takes effect", headers(("etag" = String, description = "The project's version"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn change(
    State(shared): State<Shared>,
    By(caller): By,
    NamedContainer(project, name): NamedContainer,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Json(patch): Json<Value>,
) -> Result<Response, Refused> {
    if !patch.is_object() {
        return Err(Refused(Fault::invalid("body", "is no object").hint("give what is to change of the container")));
    }
    let version = if_match(&headers)?;
    let merged = |there: &Container| merged(there, &patch);
    let changed = shared.control.change_container(&caller, &project, version.unwrap_or(0), &name, merged).await;
    Ok(answer(StatusCode::OK, &changed.map_err(|fault| precondition(version, fault))?))
}

/// Removes a container that no other one depends on.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{name}/containers/{container}",
    operation_id = "deleteContainer",
    tag = "containers",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("container" = String, Path, description = "Name of the container"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the project that was read"),
        RemoveQuery
    ),
    responses(
        (status = 200, body = ContainerChange, description = "The project, and when it takes effect", headers(("etag" = String, description = "The project's version"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn remove(
    State(shared): State<Shared>,
    By(caller): By,
    NamedContainer(project, name): NamedContainer,
    Asked(query): Asked<RemoveQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let version = if_match(&headers)?;
    let removed = shared.control.remove_container(&caller, &project, version.unwrap_or(0), &name, query.data).await;
    Ok(answer(StatusCode::OK, &removed.map_err(|fault| precondition(version, fault))?))
}

/// A precondition of HTTP that does not hold is 412 (RFC 9110, 13.1.1).
fn precondition(version: Option<u64>, fault: Fault) -> Refused {
    if version.is_some() && fault.reason == Reason::Conflict {
        return Refused(Fault { reason: Reason::EtagMismatch, ..fault });
    }
    Refused(fault)
}

fn answer(status: StatusCode, change: &ContainerChange) -> Response {
    versioned(json(status, change), change.project.resource_version)
}

/// `there` with `patch` merged into it.
fn merged(there: &Container, patch: &Value) -> Result<Container, Fault> {
    let mut value = serde_json::to_value(there)
        .map_err(|error| Fault::new(Reason::Internal, format!("a container cannot be written: {error}")))?;
    merge(&mut value, patch);
    serde_path_to_error::deserialize(value).map_err(|error| {
        Fault::invalid(&error.path().to_string(), error.inner()).hint("/openapi.json describes a container")
    })
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        // Of the examples in its appendix A, those that objects are about.
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{target} {patch}");
        }
    }

    #[test]
    fn what_is_no_container_after_it_is_named() {
        let there: Container = serde_json::from_value(json!({"name": "web", "env": {"A": "1", "B": "2"}})).unwrap();
        let changed = merged(&there, &json!({"env": {"A": null, "C": "3"}, "command": ["x"]})).unwrap();
        assert_eq!(changed.env, [("B".to_owned(), "2".to_owned()), ("C".to_owned(), "3".to_owned())].into());
        for (patch, field) in [
            (json!({"ports": [{"name": "a", "port": "x"}]}), "ports[0].port"),
            (json!({"comand": []}), "comand"),
            (json!({"name": null}), "name"),
        ] {
            let fault = merged(&there, &patch).unwrap_err();
            assert!(fault.reason == Reason::InvalidArgument && fault.message.contains(field), "{fault}");
        }
    }
}
