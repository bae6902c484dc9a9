//! Edges between crates. A crate exists to forbid a dependency; this is where
//! the forbidding happens.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(["--locked".to_owned(), "--filter-platform=x86_64-unknown-linux-musl".to_owned()])
        .exec()
        .expect("cargo metadata answers")
}

/// Direct, normal dependencies of each workspace member.
fn edges(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let names = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            (package.name.to_string(), names.map(|d| d.name.clone()).collect())
        })
        .collect()
}

const ENGINES: [&str; 3] = ["remora-agent-files", "remora-agent-term", "remora-agent-snapshot"];

#[test]
fn engines_know_no_transport_and_not_each_other() {
    let edges = edges(&metadata());
    let pure = ["remora-agent-root", "remora-control-plane-project", "remora-proto-model", "remora-proto-process"];
    for name in ENGINES.into_iter().chain(pure) {
        for banned in ["tonic", "tonic-prost", "kube", "k8s-openapi", "axum", "hyper", "remora-proto"] {
            assert!(!edges[name].contains(banned), "{name} may not depend on {banned}");
        }
    }
    for name in ENGINES {
        for other in ENGINES {
            assert!(!edges[name].contains(other), "{name} may not depend on {other}");
        }
    }
}

#[test]
fn the_two_binaries_meet_only_in_the_contract() {
    let edges = edges(&metadata());
    for (name, dependencies) in &edges {
        let forbidden = match name.as_str() {
            n if n.starts_with("remora-control-plane") => "remora-agent",
            n if n.starts_with("remora-agent") => "remora-control-plane",
            n if n.starts_with("remora-proto") => "remora-",
            _ => continue,
        };
        for dependency in dependencies {
            // What both binaries stand on knows the words of the contract, and no crate of theirs.
            let words = dependency == "remora-proto-model";
            assert!(!dependency.starts_with(forbidden) || words, "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn the_agent_knows_no_kubernetes_and_nobody_depends_on_the_tests() {
    for (name, dependencies) in edges(&metadata()) {
        if name.starts_with("remora-agent") {
            assert!(!dependencies.contains("kube") && !dependencies.contains("k8s-openapi"), "{name}");
        }
        assert!(!dependencies.contains("remora-tests"), "{name} depends on the tests");
    }
}

#[test]
fn crate_names_follow_their_folders() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().expect("a manifest has a folder");
        let relative = folder.strip_prefix(&metadata.workspace_root).expect("members live in the workspace");
        let expected = format!("remora-{}", relative.as_str().replace('/', "-"));
        assert_eq!(package.name.as_str(), expected);
    }
}

#[test]
fn one_tls_stack_one_crypto_provider_one_runtime() {
    let metadata = metadata();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for banned in ["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "async-std", "smol", "async-executor"] {
        assert!(!names.contains(banned), "{banned} is in the tree; `cargo tree -i {banned}` says who asks for it");
    }
}
