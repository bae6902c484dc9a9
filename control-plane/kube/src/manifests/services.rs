//! A name in the cluster's DNS for each container that has ports.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Context,
    labels::{DEV, metadata, selector},
};

/// The Services: `http://CONTAINER.NAMESPACE.svc` for each container with ports.
pub fn services(context: &Context<'_>) -> Vec<Service> {
    let containers = context.project.spec.containers.iter().filter(|container| !container.ports.is_empty());
    containers
        .map(|container| Service {
            metadata: metadata(context, container.name.as_str(), DEV),
            spec: Some(ServiceSpec {
                type_: Some("ClusterIP".to_owned()),
                selector: Some(selector(context)),
                ports: Some(
                    container
                        .ports
                        .iter()
                        .map(|port| ServicePort {
                            name: Some(port.name.clone()),
                            port: port.port.into(),
                            target_port: Some(IntOrString::Int(port.port.into())),
                            protocol: Some("TCP".to_owned()),
                            ..ServicePort::default()
                        })
                        .collect(),
                ),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        })
        .collect()
}
