//! The environment of a container: where its fellows are, how their data is
//! opened, and what its spec says, which is last and wins.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;
use remora_proto_model::project::{Container, ContainerKind, Layout, Preset};

use super::{Context, credentials, preset, text::verbatim};

/// The variables of `own`. Those with a password are first: others are made of them.
pub(super) fn variables(context: &Context<'_>, own: &Container) -> Vec<EnvVar> {
    let mut secrets = Vec::new();
    let mut variables = BTreeMap::new();
    for container in &context.project.spec.containers {
        let name = container.name.as_str().to_ascii_uppercase().replace('-', "_");
        let host = host(context, container);
        variables.insert(format!("REMORA_SERVICE_{name}_HOST"), host.clone());
        if let Some(port) = preset::port(container) {
            variables.insert(format!("REMORA_SERVICE_{name}_PORT"), port.to_string());
        }
        let Some(preset) = container.preset.filter(|_| own.kind == ContainerKind::Dev) else { continue };
        let password = format!("REMORA_SERVICE_{name}_PASSWORD");
        if let Some(url) = credentials::url(container, &password, &host) {
            secrets.push(credentials::password(context, &password, container));
            // Of several the first one has the well-known name.
            variables.entry(credentials::well_known(preset).to_owned()).or_insert_with(|| url.clone());
            variables.insert(format!("REMORA_SERVICE_{name}_URL"), url);
        }
    }
    if own.kind == ContainerKind::Dev
        && let Some(port) = own.ports.first()
    {
        variables.insert("PORT".to_owned(), port.port.to_string());
    }
    if let Some(preset) = own.preset {
        of_the_server(context, own, preset, &mut secrets, &mut variables);
    }
    variables.extend(own.env.iter().map(|(name, value)| (name.clone(), verbatim(value))));
    // What the spec says instead of a password is said once.
    secrets.retain(|secret| !own.env.contains_key(&secret.name));
    let plain = variables.into_iter().map(|(name, value)| EnvVar { name, value: Some(value), ..EnvVar::default() });
    secrets.into_iter().chain(plain).collect()
}

/// What the preset's own server is told.
fn of_the_server(
    context: &Context<'_>,
    own: &Container,
    preset: Preset,
    secrets: &mut Vec<EnvVar>,
    variables: &mut BTreeMap<String, String>,
) {
    match preset {
        Preset::Postgres => {
            secrets.push(credentials::password(context, "POSTGRES_PASSWORD", own));
            let port = preset::port(own).map(|port| ("PGPORT", port.to_string()));
            let named = [
                ("POSTGRES_USER", preset::POSTGRES_NAME.to_owned()),
                ("POSTGRES_DB", preset::POSTGRES_NAME.to_owned()),
                ("PGDATA", preset::POSTGRES_FOLDER.to_owned()),
            ];
            variables.extend(named.into_iter().chain(port).map(|(name, value)| (name.to_owned(), value)));
        }
        // For its own client, which asks whether it is ready, and for its arguments.
        Preset::Redis => secrets.push(credentials::password(context, "REDISCLI_AUTH", own)),
    }
}

/// Where a container is reached from its fellows: in one pod beside them, else by its Service.
pub(super) fn host(context: &Context<'_>, container: &Container) -> String {
    match context.project.spec.layout {
        Layout::SinglePod => "127.0.0.1".to_owned(),
        Layout::PodPerContainer => context.place().service_host(&container.name),
    }
}
