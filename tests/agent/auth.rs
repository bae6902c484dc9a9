//! Who is let in. The methods come from reflection, so that a new one cannot be
//! forgotten here.

use prost::Message as _;
use prost_types::FileDescriptorSet;
use rcgen::ExtendedKeyUsagePurpose;
use remora_proto::{
    fault::from_status,
    model::{Capability, Generation, METHODS, ProjectId, Reason, Verb},
};
use remora_tests::{
    agent::{AgentProcess, PATIENCE},
    pki::{CLIENT_SAN, Pki},
    reflection::{call, reflected_methods},
};
use tokio::time::timeout;
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Identity};
use tonic_prost::ProstCodec;

#[tokio::test]
async fn a079_every_reflected_method_refuses_whoever_may_not_call_it() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let channel = agent.channel(&pki).await;
    let good = pki.capability(Verb::ALL);
    let methods = reflected_methods(&channel, &pki.token(&good)).await;
    assert!(methods.contains("/remora.agent.v1.AgentService/Drain"), "{methods:?}");

    let minutes_ago = good.iat - 600;
    let refused = [
        ("another project", Capability { project: ProjectId::new(), ..good.clone() }, Reason::ProjectMismatch),
        ("an older generation", Capability { generation: Generation(2), ..good.clone() }, Reason::GenerationMismatch),
        ("a newer generation", Capability { generation: Generation(4), ..good.clone() }, Reason::GenerationMismatch),
        ("expired", Capability { iat: minutes_ago, exp: minutes_ago + 60, ..good.clone() }, Reason::CredentialsExpired),
        ("no verb", Capability { verbs: Vec::new(), ..good.clone() }, Reason::VerbNotGranted),
    ];
    for path in &methods {
        let status = call(&channel, path, None).await.expect_err(path);
        assert_eq!(from_status(&status).reason, Reason::CredentialsMissing, "{path} without a token");
        let status = call(&channel, path, Some("x.y.z")).await.expect_err(path);
        assert_eq!(from_status(&status).reason, Reason::CredentialsInvalid, "{path} with a forged token");
        for (what, capability, reason) in &refused {
            let status = call(&channel, path, Some(&pki.token(capability))).await.expect_err(path);
            assert_eq!(from_status(&status).reason, *reason, "{path}: {what}");
        }
        // Every verb but the one it needs.
        let verb = METHODS.iter().find(|(method, _)| method == path).expect("in the verb table").1;
        let others: Vec<Verb> = Verb::ALL.iter().copied().filter(|other| *other != verb).collect();
        let status = call(&channel, path, Some(&pki.token(&pki.capability(&others)))).await.expect_err(path);
        assert_eq!(from_status(&status).reason, Reason::VerbNotGranted, "{path} without {verb}");
    }
    // And the one that may: the agent lives and answers.
    call(&channel, "/remora.agent.v1.AgentService/GetInfo", Some(&pki.token(&good))).await.unwrap();
}

#[tokio::test]
async fn a099_an_unknown_method_is_unimplemented_only_for_those_who_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let channel = agent.channel(&pki).await;
    let token = pki.token(&pki.capability(Verb::ALL));
    let reason = |status: Status| from_status(&status).reason;
    let path = "/remora.agent.v1.AgentService/Nothing";
    assert_eq!(reason(call(&channel, path, None).await.unwrap_err()), Reason::CredentialsMissing);
    assert_eq!(reason(call(&channel, path, Some(&token)).await.unwrap_err()), Reason::Unimplemented);
}

/// a081: certificates that are not the control plane's.
#[tokio::test]
async fn a081_only_the_control_planes_certificate_opens_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let other_folder = tempfile::tempdir().unwrap();
    let stranger = Pki::new(other_folder.path());
    let agent = AgentProcess::start(&pki).await;
    let token = pki.token(&pki.capability(Verb::ALL));

    let foreign = stranger.issue(CLIENT_SAN, ExtendedKeyUsagePurpose::ClientAuth);
    let server_certificate = pki.issue(CLIENT_SAN, ExtendedKeyUsagePurpose::ServerAuth);
    let identity =
        |pair: remora_tests::pki::Pair| pki.anonymous_tls().identity(Identity::from_pem(pair.certificate, pair.key));
    let cases = [
        ("no certificate", pki.anonymous_tls()),
        ("another CA", identity(foreign)),
        ("a server's certificate", identity(server_certificate)),
        ("a longer name", pki.client_tls("control-plane.remora.internal.example.com")),
        ("a name before it", pki.client_tls("x.control-plane.remora.internal")),
        ("a prefix of it", pki.client_tls("control-plane.remora")),
        ("a wildcard", pki.client_tls("*.remora.internal")),
        ("the agent's own name", pki.client_tls(&pki.agent_name())),
    ];
    for (what, tls) in cases {
        // TLS 1.3 lets a client believe it is in before the server has looked at
        // its certificate, so the refusal may come with the first call.
        if let Ok(channel) = agent.dial(tls).await {
            let mut client = Grpc::new(channel);
            let answered = match client.ready().await {
                Ok(()) => {
                    let mut request = Request::new(());
                    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
                    let path = PathAndQuery::from_static("/remora.agent.v1.AgentService/GetInfo");
                    client.unary::<(), (), _>(request, path, ProstCodec::default()).await.is_ok()
                }
                Err(_) => false,
            };
            assert!(!answered, "{what} was let in");
        }
    }
    call(&agent.channel(&pki).await, "/remora.agent.v1.AgentService/GetInfo", Some(&token)).await.unwrap();
}

/// Each public method of the compiled contract has its verb, so that none is dead on arrival.
#[test]
fn the_verb_table_has_every_method_of_the_contract() {
    let files = FileDescriptorSet::decode(remora_proto::DESCRIPTORS).unwrap();
    let mut methods = 0;
    for file in files.file.iter().filter(|file| file.package() == "remora.agent.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                assert!(METHODS.iter().any(|(known, _)| *known == path), "{path} has no verb");
                methods += 1;
            }
        }
    }
    assert!(methods > 0);
}

/// A refused call leaves nothing behind: neither one whose body came whole, nor
/// one whose body is still open when the answer comes.
#[tokio::test]
async fn a_thousand_refusals_leave_the_connection_usable() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let channel = agent.channel(&pki).await;
    let path = PathAndQuery::from_static("/remora.agent.v1.AgentService/GetInfo");
    for round in 0..1_000 {
        let mut client = Grpc::new(channel.clone());
        let ready = timeout(PATIENCE, client.ready()).await;
        ready.unwrap_or_else(|_| panic!("round {round}: no stream is free")).unwrap();
        let codec = ProstCodec::<Vec<u8>, ()>::default();
        let refused = async {
            match round % 4 {
                // One message, the usual unary call.
                0 => client.unary(Request::new(vec![1; 1_000]), path.clone(), codec).await.map(drop),
                // A body without a byte.
                1 => client.streaming(Request::new(tokio_stream::empty()), path.clone(), codec).await.map(drop),
                // A body that never ends.
                2 => client.streaming(Request::new(tokio_stream::pending()), path.clone(), codec).await.map(drop),
                // A body that is too large for a window of flow control and never ends.
                _ => {
                    let large = tokio_stream::iter(std::iter::repeat_with(|| vec![2; 16_000]));
                    client.streaming(Request::new(large), path.clone(), codec).await.map(drop)
                }
            }
        };
        let status = timeout(PATIENCE, refused).await.unwrap_or_else(|_| panic!("round {round} hangs")).unwrap_err();
        assert_eq!(from_status(&status).reason, Reason::CredentialsMissing, "round {round}: {status:?}");
    }
    let token = pki.token(&pki.capability(Verb::ALL));
    let good = call(&channel, "/remora.agent.v1.AgentService/GetInfo", Some(&token));
    timeout(PATIENCE, good).await.expect("a good call is answered on the same connection").unwrap();
}
