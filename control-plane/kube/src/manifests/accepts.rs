//! What only a cluster refuses of a spec that is good elsewhere.

use remora_proto_model::{Fault, project::ProjectSpec};

use super::made;
use crate::limits::MAX_MADE_BYTES;

/// Names that the pod's own containers have.
const TAKEN: [&str; 3] = ["install", "hydrate", "agent"];

/// Checks what a pod needs beyond [`ProjectSpec::validate`]. The error names the field.
pub fn accepts(spec: &ProjectSpec) -> Result<(), Fault> {
    for container in &spec.containers {
        let name = container.name.as_str();
        if TAKEN.contains(&name) {
            return Err(Fault::invalid("containers.name", format!("{name} is a container of every pod here"))
                .hint("choose another name"));
        }
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(Fault::invalid("containers.name", format!("{name} does not begin with a letter"))
                .hint("a Service of Kubernetes has this name; begin it with a-z"));
        }
        if container.image.is_none() {
            return Err(Fault::invalid("containers.image", format!("of {name} is missing"))
                .hint("name the image that it runs in, for example with `remora up --image`"));
        }
    }
    let bytes = made(spec).len();
    if bytes > MAX_MADE_BYTES {
        return Err(Fault::invalid("containers", format!("have {bytes} bytes as JSON; a pod takes {MAX_MADE_BYTES}"))
            .hint("put long commands and values into files of the workspace"));
    }
    Ok(())
}
