//! A name in the cluster's DNS for each container that has ports.
//!
//! Where all are in one pod that is ready only as a whole, the names of several
//! containers do not wait for that: one that is not healthy would take away its fellows'.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use remora_proto_model::project::{Layout, Port};

use super::{
    Context,
    context::PODS,
    labels::{DEV, PROJECT_ID, metadata, selector, selector_of},
};

/// The Services: a host, which [`Place`](super::Place) names, for each container with ports.
pub fn services(context: &Context<'_>) -> Vec<Service> {
    let spec = &context.project.spec;
    let apart = spec.layout == Layout::PodPerContainer;
    let together = !apart && spec.containers.len() > 1;
    let containers = spec.containers.iter().filter(|container| !container.listens().is_empty());
    let named = containers.map(|container| Service {
        metadata: metadata(context, container.name.as_str(), DEV),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(if apart { selector_of(context, &container.name) } else { selector(context) }),
            publish_not_ready_addresses: together.then_some(true),
            ports: Some(container.listens().iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    });
    named.chain(apart.then(|| pods(context))).collect()
}

fn port(port: &Port) -> ServicePort {
    ServicePort {
        name: Some(port.name.clone()),
        port: port.port.into(),
        target_port: Some(IntOrString::Int(port.port.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// What gives each pod a name of its own, before it is ready too: who waits for it asks there.
fn pods(context: &Context<'_>) -> Service {
    Service {
        metadata: metadata(context, PODS, DEV),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            selector: Some([(PROJECT_ID.to_owned(), context.project.id.to_string())].into()),
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
