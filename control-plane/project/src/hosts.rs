//! The name in DNS of a port that is reached from outside: one label below the
//! domain for ports, the same in every mode of routing.
//!
//! `PROJECT--CONTAINER--PORT` where that is a label that means nothing else: no name in
//! it has `--` itself, it has 63 bytes at most, and its third and fourth characters are
//! not `--`, which RFC 5890 reserves and certificate authorities refuse. Otherwise the
//! project's id and a hash of the other two. No two ports have one label.

use remora_proto_model::{
    ContainerName, ProjectId, ProjectName,
    project::{Container, Port, Project},
};

/// Between the parts of a label.
const SEPARATOR: &str = "--";
/// Longest label of a name in DNS, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// Hexadecimal digits of the hash: 80 bits, and only the ports of one project could be alike.
const HASH_DIGITS: usize = 20;

/// The label of a port.
pub fn host_label(id: ProjectId, project: &ProjectName, container: &ContainerName, port: &str) -> String {
    let parts = [project.as_str(), container.as_str(), port];
    let label = parts.join(SEPARATOR);
    let plain = parts.iter().all(|part| !part.contains(SEPARATOR))
        && label.len() <= MAX_LABEL_BYTES
        && label.get(2..4) != Some(SEPARATOR);
    if plain {
        return label;
    }
    let hash = blake3::hash(format!("{container}/{port}").as_bytes()).to_hex();
    format!("{}{SEPARATOR}{}", id.to_string().replace('-', ""), &hash[..HASH_DIGITS])
}

/// Which project a label is of, unless it is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The project of that name.
    Name(ProjectName),
    /// The project of that id.
    Id(ProjectId),
}

/// Whose port a label may be; [`port_of`] says whether it is.
pub fn whose(label: &str) -> Option<Whose> {
    let parts: Vec<&str> = label.split(SEPARATOR).collect();
    match parts[..] {
        [project, _, _] => project.parse().ok().map(Whose::Name),
        [id, _] if id.len() == 32 && id.is_ascii() => {
            let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
            parts.join("-").parse().ok().map(Whose::Id)
        }
        _ => None,
    }
}

/// The exposed port of `project` that has this label.
pub fn port_of<'a>(project: &'a Project, label: &str) -> Option<(&'a Container, &'a Port)> {
    exposed(project)
        .find(|(container, port)| host_label(project.id, &project.name, &container.name, &port.name) == label)
}

/// The ports of a project that are reached from outside.
pub fn exposed(project: &Project) -> impl Iterator<Item = (&Container, &Port)> {
    project.spec.containers.iter().flat_map(|container| {
        container.ports.iter().filter(|port| port.expose.is_some()).map(move |port| (container, port))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use remora_proto_model::project::{Exposure, ProjectSpec, ProjectStatus};

    use super::*;

    const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

    fn label(project: &str, container: &str, port: &str) -> String {
        host_label(ID.parse().unwrap(), &project.parse().unwrap(), &container.parse().unwrap(), port)
    }

    fn project(name: &str, container: &str, port: &str) -> Project {
        let port = Port { expose: Some(Exposure::Private), ..Port::named(port, 80) };
        let container =
            Container { ports: vec![Port::named("a", 1), port], ..Container::named(container.parse().unwrap()) };
        Project {
            id: ID.parse().unwrap(),
            name: name.parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec: ProjectSpec { containers: vec![container], ..ProjectSpec::default() },
            status: ProjectStatus::default(),
        }
    }

    #[test]
    fn a_label_says_who_it_is_for_where_it_can() {
        assert_eq!(label("shop", "web", "http"), "shop--web--http");
        assert_eq!(label("s", "w", "h"), "s--w--h");
        let hashed = "3f0c9a528d1b4a779a0e6b1d6c1f2e44--";
        // Reserved by RFC 5890, `xn--` above all.
        for reserved in ["xn", "ab"] {
            assert!(label(reserved, "web", "http").starts_with(hashed));
        }
        assert!(label("shop", "a--b", "http").starts_with(hashed));
        assert!(label(&"a".repeat(40), &"b".repeat(40), "http").starts_with(hashed));
    }

    #[test]
    fn a_port_that_is_not_exposed_has_no_host() {
        let shop = project("shop", "web", "http");
        assert_eq!(port_of(&shop, "shop--web--http").unwrap().1.port, 80);
        assert_eq!(port_of(&shop, "shop--web--a"), None);
        assert_eq!(port_of(&shop, "shop--other--http"), None);
    }

    #[test]
    fn what_is_no_label_is_nobodys() {
        let long = format!("{}--x", "é".repeat(16));
        for bad in ["", "shop", "-", "--", "----", "shop--web", "a--b--c--d", "SHOP--web--http", long.as_str()] {
            assert_eq!(whose(bad), None, "{bad}");
        }
    }

    proptest! {
        /// a094: names that look alike when they are put together.
        #[test]
        fn a094_every_port_has_a_label_of_its_own_and_is_found_by_it(
            names in prop::collection::vec(
                ("[a-z]([a-b-]{0,8}[a-z])?", "[a-z]([a-b-]{0,38}[a-z])?", "[a-z]([a-b-]{0,12}[a-z])?"), 1..60)
        ) {
            let mut seen = HashMap::new();
            for (name, container, port) in names.into_iter().filter(|(_, _, port)| port != "a") {
                let project = project(&name, &container, &port);
                let label = label(&name, &container, &port);
                prop_assert!(label.len() <= MAX_LABEL_BYTES && label.get(2..4) != Some("--"), "{label}");
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'), "{label}");
                let found = match whose(&label) {
                    Some(Whose::Name(found)) => found == project.name,
                    Some(Whose::Id(found)) => found == project.id,
                    None => false,
                };
                prop_assert!(found, "{label} is not found again");
                prop_assert_eq!(port_of(&project, &label).map(|(_, port)| port.port), Some(80));
                // Of two projects with one id the name tells nothing, so it is no part of the key there.
                let of = (label.split(SEPARATOR).count() == 3).then_some(name);
                let key = (of, container, port);
                prop_assert_eq!(seen.entry(label).or_insert_with(|| key.clone()), &key);
            }
        }
    }
}
