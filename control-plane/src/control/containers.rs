//! Containers of a project: added, changed, removed.

use remora_proto_model::{
    ContainerName, Fault,
    project::{Container, ContainerChange},
};

use super::{Control, discreet};
use crate::auth::Caller;

impl Control {
    pub(crate) async fn add_container(
        &self,
        caller: &Caller,
        project: &str,
        version: u64,
        container: Container,
    ) -> Result<ContainerChange, Fault> {
        let id = self.owned(caller, project).await?;
        let name = container.name.clone();
        let added = self.projects.add_container(id, version, container).await;
        let added = added.map_err(|fault| discreet(caller, fault))?;
        tracing::info!(project = %id, container = %name, caller = caller.name(), takes = ?added.takes_effect, "add container");
        Ok(added)
    }

    pub(crate) async fn change_container(
        &self,
        caller: &Caller,
        project: &str,
        version: u64,
        name: &str,
        change: impl Fn(&Container) -> Result<Container, Fault> + Send + Sync,
    ) -> Result<ContainerChange, Fault> {
        let id = self.owned(caller, project).await?;
        let name = container_name(name)?;
        let changed = self.projects.change_container(id, version, &name, change).await;
        let changed = changed.map_err(|fault| discreet(caller, fault))?;
        tracing::info!(project = %id, container = %name, caller = caller.name(), takes = ?changed.takes_effect, "change container");
        Ok(changed)
    }

    pub(crate) async fn remove_container(
        &self,
        caller: &Caller,
        project: &str,
        version: u64,
        name: &str,
        data: bool,
    ) -> Result<ContainerChange, Fault> {
        let id = self.owned(caller, project).await?;
        let name = container_name(name)?;
        let removed = self.projects.remove_container(id, version, &name, data).await?;
        tracing::info!(project = %id, container = %name, caller = caller.name(), data, "remove container");
        Ok(removed)
    }
}

fn container_name(text: &str) -> Result<ContainerName, Fault> {
    text.parse().map_err(|error| Fault::invalid("container", error))
}
