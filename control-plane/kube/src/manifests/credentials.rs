//! The passwords of presets: made once, kept through hibernation, gone with the
//! project or with the data that they open.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, Secret, SecretKeySelector};
use remora_proto_model::{
    ContainerName,
    project::{Container, Preset},
};

use super::{
    Context,
    labels::{SERVICE, labelled},
    preset::{POSTGRES_NAME, port},
    secrets::secret,
};

/// The key of the password in its Secret.
const PASSWORD: &str = "password";

/// The Secret of a container's password, to its project.
pub fn credentials_name(container: &ContainerName) -> String {
    format!("credentials-{container}")
}

/// The Secrets of the presets' passwords; `password` makes one. What is there stays as it is.
pub fn credentials(context: &Context<'_>, mut password: impl FnMut() -> String) -> Vec<Secret> {
    let containers = context.project.spec.containers.iter().filter(|container| container.preset.is_some());
    containers
        .map(|container| {
            let metadata = labelled(context, &credentials_name(&container.name), SERVICE, &container.name);
            Secret { immutable: Some(true), ..secret(metadata, &[(PASSWORD, &password())]) }
        })
        .collect()
}

/// A variable with the password of `container`.
pub(super) fn password(context: &Context<'_>, variable: &str, container: &Container) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: context.name(&credentials_name(&container.name)),
                key: PASSWORD.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// The URL that a preset is reached at; `variable` has its password, and Kubernetes puts that in.
pub(super) fn url(container: &Container, variable: &str, host: &str) -> Option<String> {
    let port = port(container)?;
    container.preset.map(|preset| match preset {
        Preset::Postgres => format!("postgres://{POSTGRES_NAME}:$({variable})@{host}:{port}/{POSTGRES_NAME}"),
        // By its name: clients differ in whom they mean by an empty one.
        Preset::Redis => format!("redis://default:$({variable})@{host}:{port}/0"),
    })
}

/// The name that programs know such a URL by.
pub(super) const fn well_known(preset: Preset) -> &'static str {
    match preset {
        Preset::Postgres => "DATABASE_URL",
        Preset::Redis => "REDIS_URL",
    }
}
