//! The definition that a cluster is given, as charts/remora/crds holds it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::Project;

/// Name of the definition.
pub const PROJECTS: &str = "projects.remora.dev";
/// Keeps a project until its last snapshot is committed and all of it is gone.
pub const FINALIZER: &str = "remora.dev/project";

/// The definition of `projects.remora.dev`.
///
/// Nothing in it is nullable: an absent field has one spelling, and the API
/// server drops a null before it looks at defaults and rules. A status has no
/// defaults: it is what the control plane wrote, and no more.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = Project::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            walk(schema, &|schema| schema.nullable = None);
            if let Some(status) = schema.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
                walk(status, &|schema| schema.default = None);
            }
        }
    }
    definition
}

/// Does `change` to a schema and all that is in it.
fn walk(schema: &mut JSONSchemaProps, change: &impl Fn(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        walk(property, change);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => walk(items, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|items| walk(items, change)),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        walk(values, change);
    }
}
