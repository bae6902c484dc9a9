//! What opens the store for the containers of the agent's image: keys from a
//! Secret, or a token of the pod's ServiceAccount that a token service takes. The
//! token is a volume that only these containers mount, and no annotation asks an
//! admission webhook for one, which would give it to every container.

use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ProjectedVolumeSource, SecretKeySelector, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use remora_control_plane_runtime::{StoreCredentials, WebIdentity};

use super::mount_read_only;
use crate::{
    limits::TOKEN_SECONDS,
    manifests::{
        Context,
        secrets::{ACCESS_KEY, SECRET_KEY, STORE_SECRET},
        text::verbatim,
    },
};

/// The volume of the token.
const TOKEN: &str = "store-token";
/// Where it is mounted.
const TOKEN_FOLDER: &str = "/var/run/secrets/store.remora.dev";
/// The token in it.
const TOKEN_FILE: &str = "token";

fn web_identity<'a>(context: &Context<'a>) -> Option<&'a WebIdentity> {
    match &context.settings.store.credentials {
        StoreCredentials::Keys { .. } => None,
        StoreCredentials::WebIdentity(identity) => Some(identity),
    }
}

/// The names are those that every AWS SDK reads.
pub(super) fn variables(context: &Context<'_>) -> Vec<EnvVar> {
    let Some(WebIdentity { role_arn, sts_endpoint, .. }) = web_identity(context) else {
        return vec![from_secret(context, ACCESS_KEY), from_secret(context, SECRET_KEY)];
    };
    let mut variables = vec![
        value("AWS_ROLE_ARN", role_arn),
        value("AWS_WEB_IDENTITY_TOKEN_FILE", &format!("{TOKEN_FOLDER}/{TOKEN_FILE}")),
        // What the token service's own log calls the project.
        value("AWS_ROLE_SESSION_NAME", &format!("proj-{}", context.project.id)),
    ];
    variables.extend(sts_endpoint.iter().map(|url| value("AWS_ENDPOINT_URL_STS", url)));
    variables
}

/// The token, which the kubelet replaces before it expires.
pub(super) fn volume(context: &Context<'_>) -> Option<Volume> {
    let WebIdentity { audience, .. } = web_identity(context)?;
    let token = ServiceAccountTokenProjection {
        audience: Some(audience.clone()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: TOKEN_FILE.to_owned(),
    };
    Some(Volume {
        name: TOKEN.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    })
}

/// Where the agent finds it.
pub(super) fn mount(context: &Context<'_>) -> Option<VolumeMount> {
    web_identity(context).map(|_| mount_read_only(TOKEN, TOKEN_FOLDER))
}

fn value(name: &str, text: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(verbatim(text)), ..EnvVar::default() }
}

fn from_secret(context: &Context<'_>, key: &str) -> EnvVar {
    EnvVar {
        name: key.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: context.name(STORE_SECRET),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}
