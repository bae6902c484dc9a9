//! What only the agent of a project's pod gets to see.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use remora_control_plane_runtime::StoreCredentials;

use super::{
    AgentMaterial, Context,
    context::agent_secret_name,
    labels::{GENERATION, metadata},
};

/// The Secret with the credentials of the store.
pub(crate) const STORE_SECRET: &str = "store";
pub(super) const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
pub(super) const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";

/// The credentials of the store; `None` where the agents get theirs for a token.
pub fn store_secret(context: &Context<'_>) -> Option<Secret> {
    let StoreCredentials::Keys { access_key, secret_key } = &context.settings.store.credentials else { return None };
    let data = [(ACCESS_KEY, access_key.as_str()), (SECRET_KEY, secret_key.as_str())];
    Some(secret(metadata(context, STORE_SECRET, "agent"), &data))
}

/// The identity of one generation's agent. It never changes.
pub fn agent_secret(context: &Context<'_>, material: &AgentMaterial) -> Secret {
    let mut data = vec![
        ("agent.crt", material.certificate.as_str()),
        ("agent.key", material.key.as_str()),
        ("ca.crt", material.ca_certificate.as_str()),
        ("token.pub", material.token_key.as_str()),
    ];
    if let Some(key) = &context.settings.encryption_key {
        data.push(("encryption.key", key.0.as_str()));
    }
    let mut metadata = metadata(context, &agent_secret_name(context.generation), "agent");
    metadata.labels.get_or_insert_default().insert(GENERATION.to_owned(), context.generation.to_string());
    Secret { immutable: Some(true), ..secret(metadata, &data) }
}

pub(super) fn secret(metadata: ObjectMeta, data: &[(&str, &str)]) -> Secret {
    let data: BTreeMap<_, _> =
        data.iter().map(|(name, text)| ((*name).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}
