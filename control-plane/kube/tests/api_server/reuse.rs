//! Somebody else's agent answers where a project's pod is said to be: its address was given
//! to another pod, or a zombie has it again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use remora_control_plane_kube::defaults::AGENT_PORT;
use remora_control_plane_runtime::identity::{Identity, Material, Pair};
use remora_proto::agent::v1::{GetInfoRequest, agent_service_client::AgentServiceClient};
use remora_proto_model::{
    Generation, ProjectId,
    project::{Phase, Project},
};
use serde_json::json;
use tokio_util::sync::DropGuard;

use crate::{
    agent,
    kubelet::fresh_ip,
    place::Place,
    site::{Site, becomes, name, namespace, reaches, spec},
};

/// An agent that takes whatever it is asked, at an address of its own.
struct Impostor {
    ip: Ipv4Addr,
    asked: Arc<AtomicUsize>,
    _serves: DropGuard,
}

impl Impostor {
    /// One that shows `pair` and says that it is the agent of `project`.
    async fn new(site: &Site, pair: Pair, project: &Project) -> Impostor {
        let data = json!({
            "agent.crt": STANDARD.encode(pair.certificate),
            "agent.key": STANDARD.encode(pair.key),
            // Whom it lets in is its own affair: everybody from this control plane.
            "ca.crt": STANDARD.encode(site.identity().ca_certificate()),
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let place = agent::Place {
            project: project.id.to_string(),
            generation: project.status.generation.0,
            container: "web".to_owned(),
            bucket: site.bucket.shared(),
            asked: Arc::clone(&asked),
            lacks_snapshots: Arc::default(),
        };
        let ip = fresh_ip();
        let address = SocketAddr::new(ip.into(), u16::try_from(AGENT_PORT).unwrap());
        let serves = agent::serve(place, address, &json!({ "data": data })).await;
        Impostor { ip, asked, _serves: serves }
    }
}

/// What the API server says of the pod's address and of the start of its agent.
fn moves(site: &Site, id: ProjectId, ip: &str, start: &str) -> String {
    let [pod] = &site.names("pods")[..] else { panic!("one pod") };
    let place = Place { resource: "pods".to_owned(), namespace: namespace(id), name: pod.clone() };
    site.api.with(|state| {
        let mut status = state.objects.get(&place).unwrap()["status"].clone();
        let before = std::mem::replace(&mut status["podIP"], ip.into());
        for container in status["initContainerStatuses"].as_array_mut().unwrap() {
            if container["name"] == "agent" {
                container["containerID"] = format!("containerd://{start}").into();
            }
        }
        state.objects.set_status(&place, status);
        before.as_str().unwrap().to_owned()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a097_whoever_has_the_address_of_a_pod_and_not_its_certificate_is_asked_nothing() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    let project = reaches(projects, id, Phase::Ready).await;
    let (own, generation) = (site.identity(), project.status.generation);
    let stranger = Identity::of(Material::fresh().unwrap()).unwrap();
    let pairs = [
        ("another project", own.agent(ProjectId::new(), generation).unwrap()),
        ("an older generation", own.agent(id, Generation(generation.0 - 1)).unwrap()),
        ("a newer generation", own.agent(id, generation.next()).unwrap()),
        ("another CA", stranger.agent(id, generation).unwrap()),
    ];
    for (what, pair) in pairs {
        let impostor = Impostor::new(&site, pair, &project).await;
        let ip = moves(&site, id, &impostor.ip.to_string(), what);
        becomes(projects, id, |project| project.status.phase != Phase::Ready).await;
        moves(&site, id, &ip, "itself");
        let back = reaches(projects, id, Phase::Ready).await;
        assert_eq!(back.status.generation, generation, "{what}: nothing was started anew for it");
        assert_eq!(impostor.asked.load(Ordering::SeqCst), 0, "{what}");
    }
    // The same with its own: whoever is asked nothing above could have been asked.
    let twin = Impostor::new(&site, own.agent(id, generation).unwrap(), &project).await;
    moves(&site, id, &twin.ip.to_string(), "twin");
    becomes(projects, id, |_| twin.asked.load(Ordering::SeqCst) > 0).await;
}

/// A way to an agent that somebody holds does not lead to whoever has its address now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a097_a_handle_of_before_does_not_reach_the_pod_that_has_its_address_now() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let ip = fresh_ip();
    site.seen().next_ip = Some(ip);
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    let handle = projects.agent(id).await.unwrap();
    let info = || async {
        let mut client = AgentServiceClient::new(handle.channel.clone());
        client.get_info(GetInfoRequest {}).await.map(|info| info.into_inner().project_id)
    };
    assert_eq!(info().await.unwrap(), id.to_string());

    projects.set_desired(id, remora_proto_model::project::Desired::Hibernated).await.unwrap();
    reaches(projects, id, Phase::Hibernated).await;
    site.seen().next_ip = Some(ip);
    let other = projects.create("other".parse().unwrap(), spec()).await.unwrap().id;
    reaches(projects, other, Phase::Ready).await;
    let before = site.seen().asked_of(&other.to_string());
    let refused = info().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    // The driver of the other one asks it now and then, without a token of this one.
    assert!(before > 0 && projects.agent(other).await.is_ok());
}
