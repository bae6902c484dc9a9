//! The suite that runs in a cluster, against a server on this machine.

use remora_tests::server::ServerProcess;
use remora_tests_integration::{cases, harness, target::Target};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_this_machine_does_what_one_in_a_cluster_does() {
    let server = ServerProcess::start().await;
    let target = Target {
        server: server.url.clone(),
        key: server.key.clone(),
        image: None,
        databases: None,
        shop: None,
        ingress: None,
        namespace: String::new(),
        host_faults: false,
        full_profile: false,
    };
    let cases = harness::selected(cases::all(), &target, &[]);
    assert!(cases.len() > 10, "the suite is gone");
    let outcomes = harness::run(cases, &target, 2).await;
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("junit.xml");
    harness::report(&outcomes, &junit).unwrap();
    let written = std::fs::read_to_string(junit).unwrap();
    assert_eq!(written.matches("<testcase ").count(), outcomes.len());
}
