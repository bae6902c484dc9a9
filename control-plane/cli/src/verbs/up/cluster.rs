//! What only a cluster gives a meaning to: image, resources, where the workspace is and what holds it.

use clap::Args;
use remora_proto_model::{
    Fault, Reason, UserId,
    project::{AccessMode, Amounts, Container, ImageReference, Quantity, Resources, Volume, Workspace},
};

/// Flags that a server on Kubernetes follows; a local one takes them and does not need them.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ClusterArgs {
    /// Image that the container runs in, on a cluster: [REGISTRY/]REPOSITORY[:TAG][@DIGEST].
    #[arg(long, value_name = "REFERENCE")]
    image: Option<ImageReference>,
    /// Processors of the container, on a cluster: promised, and at most; one amount is both.
    #[arg(long, value_name = "REQUEST[:LIMIT]", value_parser = parse_share)]
    cpu: Option<Share>,
    /// Memory of the container, on a cluster: promised, and at most; one amount is both.
    #[arg(long, value_name = "REQUEST[:LIMIT]", value_parser = parse_share)]
    memory: Option<Share>,
    /// Folder that the container sees the workspace at, on a cluster [default: /workspace].
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// Keep the workspace on a volume of this size that outlives the pod, on a cluster, instead of on the node's disk.
    #[arg(long, value_name = "SIZE")]
    volume: Option<Quantity>,
    /// Storage class of the volume [default: the cluster's].
    #[arg(long, value_name = "NAME", requires = "volume")]
    storage_class: Option<String>,
    /// Whose the project is, for the labels of what is made for it.
    #[arg(long, value_name = "USER")]
    owner: Option<UserId>,
}

/// What is promised and what is the most.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    request: Quantity,
    limit: Quantity,
}

fn parse_share(text: &str) -> Result<Share, String> {
    let parse = |text: &str| text.parse::<Quantity>().map_err(|error| error.to_string());
    match text.split_once(':') {
        Some((request, limit)) => Ok(Share { request: parse(request)?, limit: parse(limit)? }),
        None => Ok(Share { request: parse(text)?, limit: parse(text)? }),
    }
}

impl ClusterArgs {
    pub(super) fn owner(&self) -> Option<&UserId> {
        self.owner.as_ref()
    }

    /// `container` with what the flags name in place of what it has, and what differs.
    pub(super) fn change(&self, container: &mut Container) -> Vec<&'static str> {
        let mut what = Vec::new();
        if self.image.is_some() && container.image != self.image {
            container.image.clone_from(&self.image);
            what.push("image");
        }
        let resources = self.resources(container.resources.clone());
        if container.resources != resources {
            container.resources = resources;
            what.push("resources");
        }
        what
    }

    fn resources(&self, there: Resources) -> Resources {
        let Resources { mut requests, mut limits } = there;
        let mut set = |share: &Option<Share>, of: fn(&mut Amounts) -> &mut Option<Quantity>| {
            if let Some(Share { request, limit }) = share.clone() {
                *of(&mut requests) = Some(request);
                *of(&mut limits) = Some(limit);
            }
        };
        set(&self.cpu, |amounts| &mut amounts.cpu);
        set(&self.memory, |amounts| &mut amounts.memory);
        Resources { requests, limits }
    }

    /// The workspace that the flags name, on top of `there`.
    pub(super) fn workspace(&self, there: &Workspace) -> Workspace {
        let volume = self.volume.clone().map(|size| Volume {
            size,
            class: self.storage_class.clone().unwrap_or_default(),
            access_mode: there.volume.as_ref().map_or(AccessMode::default(), |volume| volume.access_mode),
        });
        Workspace {
            path: self.mount.clone().unwrap_or_else(|| there.path.clone()),
            volume: volume.or_else(|| there.volume.clone()),
            size_limit: there.size_limit.clone(),
        }
    }

    /// Refuses to give a project that is there another owner.
    pub(super) fn same_owner(&self, there: Option<&UserId>) -> Result<(), Fault> {
        if self.owner.is_none() || self.owner.as_ref() == there {
            return Ok(());
        }
        let whose = there.map_or_else(|| "nobody's in particular".to_owned(), |owner| format!("{owner}'s"));
        Err(Fault::new(Reason::AlreadyExists, format!("the project is there and is {whose}; an owner cannot change"))
            .hint("leave --owner out, or give the project another name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_amount_is_promised_and_the_most() {
        let share = |text: &str| parse_share(text).map(|share| (share.request.to_string(), share.limit.to_string()));
        assert_eq!(share("1Gi"), Ok(("1Gi".to_owned(), "1Gi".to_owned())));
        assert_eq!(share("250m:2"), Ok(("250m".to_owned(), "2".to_owned())));
        for bad in ["", ":", "1:", ":1", "1:2:3", "fast"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
