use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::OpenApi as _;

use super::*;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn document() -> Value {
    serde_json::to_value(document::Document::openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                found.push((method.to_uppercase(), path.clone(), operation));
            }
        }
    }
    found
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let served: BTreeSet<_> =
        routes().iter().map(|(method, path, _)| (method.to_string(), path.replace("{*", "{"))).collect();
    let document = document();
    let described: BTreeSet<_> = operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(served, described);
}

/// The rules of OpenAPI 3.1 that a generated client trips over.
#[test]
fn the_document_is_openapi_3_1() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for field in ["title", "version"] {
        assert!(document["info"][field].is_string(), "info.{field}");
    }
    assert_eq!(document["components"]["securitySchemes"]["apiKey"]["scheme"], "bearer");
    assert_eq!(document["security"][0]["apiKey"], serde_json::json!([]));
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && ids.insert(id.to_owned()), "{method} {path}: operationId {id:?} is missing or twice");
        assert!(operation["summary"].is_string(), "{method} {path}: no summary");
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2') || status == "101"),
            "{method} {path}: no success"
        );
        let problem = &responses["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
        for (status, response) in responses {
            assert!(response["description"].is_string(), "{method} {path} {status}: no description");
        }
        let declared: BTreeSet<_> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| {
                assert_eq!(parameter["required"], true, "{path}");
                parameter["name"].as_str().unwrap().to_owned()
            })
            .collect();
        let in_path: BTreeSet<_> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
        assert_eq!(declared, in_path, "{method} {path}");
    }
    let mut references = 0;
    check_references(&document, &document, &mut references);
    assert!(references > 20, "{references} references");
}

fn check_references(document: &Value, at: &Value, count: &mut usize) {
    match at {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').expect("references stay in the document");
                assert!(document.pointer(pointer).is_some(), "{target} is nowhere");
                *count += 1;
            }
            members.values().for_each(|member| check_references(document, member, count));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item, count)),
        _ => {}
    }
}
