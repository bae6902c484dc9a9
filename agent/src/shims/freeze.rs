//! Freeze over all containers: every one or none.

use std::time::Duration;

use futures_util::future::join_all;
use remora_proto::{
    model::{Effect, Fault},
    shim::v1::{FreezeRequest, ThawRequest},
};

use super::{Call, Shim, Shims};
use crate::limits::SHIM_CALL_TIMEOUT;

impl Shims {
    /// Stops every process of every container until [`Shims::thaw`] or the end
    /// of the lease; returns how many. Where one container cannot be stopped, the
    /// others go on again.
    pub(crate) async fn freeze(&self, lease: Duration) -> Result<u32, Fault> {
        let lease_ms = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX);
        let stopped = join_all(self.0.iter().map(|shim| shim.freeze(lease_ms))).await;
        match stopped.iter().find_map(|one| one.as_ref().err()) {
            None => Ok(stopped.into_iter().flatten().fold(0, u32::saturating_add)),
            // Also those that failed: the request may have arrived all the same.
            Some(fault) => match self.thaw().await {
                Ok(_) => Err(fault.clone().effect(Effect::NotApplied)),
                Err(left) => {
                    tracing::warn!(error = %left, "a container may stay frozen until its lease ends");
                    Err(fault.clone().effect(Effect::MayHaveApplied))
                }
            },
        }
    }

    /// Lets every container go on; returns whether any was frozen.
    pub(crate) async fn thaw(&self) -> Result<bool, Fault> {
        let thawed = join_all(self.0.iter().map(Shim::thaw)).await;
        let mut was_frozen = false;
        for one in thawed {
            was_frozen |= one?;
        }
        Ok(was_frozen)
    }
}

impl Shim {
    async fn freeze(&self, lease_ms: u32) -> Result<u32, Fault> {
        let route = self.route().await?;
        let mut client = route.shim();
        let answer = client.freeze(FreezeRequest { lease_ms });
        Ok(route.answer(Call::Changes, SHIM_CALL_TIMEOUT, answer).await?.processes)
    }

    async fn thaw(&self) -> Result<bool, Fault> {
        let route = self.route().await?;
        let mut client = route.shim();
        Ok(route.answer(Call::Changes, SHIM_CALL_TIMEOUT, client.thaw(ThawRequest {})).await?.was_frozen)
    }
}
