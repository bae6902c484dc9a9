//! QUIESCED: the processes of all containers are stopped while a snapshot operation runs.

use std::{sync::Arc, time::Duration};

use remora_proto::model::{Fault, Reason};
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    limits::{MIN_HOLD, QUIET_LEASE, QUIET_RENEWAL},
    shims::Shims,
};

/// Stopped containers. Dropping it lets them go on.
pub(crate) struct Quiet {
    shims: Arc<Shims>,
    renewal: Option<AbortOnDropHandle<()>>,
    held: bool,
}

impl Quiet {
    /// Stops every process. The lease is renewed as long as the operation runs, and
    /// ends by itself where this agent does.
    pub(crate) async fn begin(shims: &Arc<Shims>) -> Result<Self, Fault> {
        if shims.names().is_empty() {
            return Err(Fault::new(Reason::FailedPrecondition, "this agent reaches no containers that it could stop")
                .hint("ask for ONLINE, or start the agent with the sockets of its containers (--shim)"));
        }
        shims.freeze(QUIET_LEASE).await?;
        let renewed = Arc::clone(shims);
        let renewal = tokio::spawn(async move {
            let mut ticks = interval(QUIET_RENEWAL);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                if let Err(fault) = renewed.freeze(QUIET_LEASE).await {
                    tracing::warn!(reason = %fault.reason, "the containers may go on before the snapshot is done: {fault}");
                }
            }
        });
        Ok(Quiet { shims: Arc::clone(shims), renewal: Some(AbortOnDropHandle::new(renewal)), held: false })
    }

    /// After a success: the processes go on, or stay stopped for `hold` more.
    pub(crate) async fn end(mut self, hold: Duration) -> Result<(), Fault> {
        self.renewal = None;
        if hold.is_zero() {
            self.held = true;
            return self.shims.thaw().await.map(drop);
        }
        self.shims.freeze(hold.max(MIN_HOLD)).await?;
        self.held = true;
        Ok(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.renewal = None;
        if !self.held {
            let shims = Arc::clone(&self.shims);
            tokio::spawn(async move {
                if let Err(fault) = shims.thaw().await {
                    tracing::warn!(reason = %fault.reason, "a container stays stopped until its lease ends: {fault}");
                }
            });
        }
    }
}
