//! What a pod's processes get: nothing of the server's environment but what
//! every program needs, and credentials only where they belong.

use std::{collections::BTreeMap, ffi::OsString};

use remora_proto_model::{
    ContainerName,
    project::{Container, Endpoint},
};

use crate::config::{StoreCredentials, StoreEndpoint, WebIdentity};

/// What is passed on from the server: where programs are, whose they are, and in which language they speak.
const PASSED: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Where programs are if the server itself does not know.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of one process.
pub(crate) type Variables = BTreeMap<OsString, OsString>;

/// What every process gets.
fn base() -> Variables {
    let passed = PASSED.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    let mut variables: Variables = passed.collect();
    variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    variables
}

/// The agent's: with the credentials of the store, which no flag and no other process carries.
pub(crate) fn agent(store: &StoreEndpoint) -> Variables {
    let mut variables = base();
    match &store.credentials {
        StoreCredentials::Keys { access_key, secret_key } => {
            variables.insert("AWS_ACCESS_KEY_ID".into(), access_key.into());
            variables.insert("AWS_SECRET_ACCESS_KEY".into(), secret_key.into());
        }
        StoreCredentials::WebIdentity(WebIdentity { role_arn, token_file, audience: _, sts_endpoint }) => {
            variables.insert("AWS_ROLE_ARN".into(), role_arn.into());
            variables.insert("AWS_WEB_IDENTITY_TOKEN_FILE".into(), token_file.into());
            variables.insert("AWS_ROLE_SESSION_NAME".into(), "remora-agent".into());
            if let Some(url) = sts_endpoint {
                variables.insert("AWS_ENDPOINT_URL_STS".into(), url.into());
            }
        }
    }
    variables
}

/// A container's: where its fellows are, which port it should listen on, and what its spec says.
pub(crate) fn container(own: &Container, all: &[Container]) -> Variables {
    let mut variables = base();
    for container in all {
        let name = variable_part(&container.name);
        variables.insert(format!("REMORA_SERVICE_{name}_HOST").into(), "127.0.0.1".into());
        if let Some(port) = container.ports.first() {
            variables.insert(format!("REMORA_SERVICE_{name}_PORT").into(), port.port.to_string().into());
        }
    }
    if let Some(port) = own.ports.first() {
        variables.insert("PORT".into(), port.port.to_string().into());
    }
    variables.extend(own.env.iter().map(|(name, value)| (name.into(), value.into())));
    variables
}

fn variable_part(name: &ContainerName) -> String {
    name.as_str().to_ascii_uppercase().replace('-', "_")
}

/// Where the ports of `containers` can be reached.
pub(crate) fn endpoints(containers: &[Container]) -> Vec<Endpoint> {
    let endpoint = |container: &Container, name: &str, port: u16| Endpoint {
        container: container.name.clone(),
        port_name: name.to_owned(),
        url: format!("http://127.0.0.1:{port}"),
    };
    containers
        .iter()
        .flat_map(|container| container.ports.iter().map(move |port| endpoint(container, &port.name, port.port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use remora_proto_model::project::Port;

    use super::*;

    fn with(name: &str, port: u16) -> Container {
        Container {
            env: [("A".to_owned(), "b".to_owned())].into(),
            ports: vec![Port::named("http", port)],
            ..Container::named(name.parse().unwrap())
        }
    }

    #[test]
    fn containers_get_hints_and_no_credentials() {
        let all = [with("web", 5173), with("api-2", 8080)];
        let variables = container(&all[0], &all);
        let value = |name: &str| variables.get(&OsString::from(name)).and_then(|value| value.to_str());
        assert_eq!(value("PORT"), Some("5173"));
        assert_eq!(value("REMORA_SERVICE_API_2_HOST"), Some("127.0.0.1"));
        assert_eq!(value("REMORA_SERVICE_API_2_PORT"), Some("8080"));
        assert_eq!(value("A"), Some("b"));
        assert!(variables.keys().all(|name| !name.to_string_lossy().starts_with("AWS_")));
        assert_eq!(endpoints(&all)[1].url, "http://127.0.0.1:8080");
    }
}
