//! What the agent counts, in the Prometheus text format.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use remora_proto::model::Reason;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: String,
}

/// The agent's counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    admitted: Counter,
    refused: Family<Refusal, Counter>,
    connections: Gauge,
    handshakes_failed: Counter,
}

impl Metrics {
    /// The counters and the registry that prints them.
    pub fn registered() -> (Self, Arc<Registry>) {
        let metrics = Metrics::default();
        let mut registry = Registry::with_prefix("remora_agent");
        registry.register("calls_admitted", "Calls that were let through", metrics.admitted.clone());
        registry.register("calls_refused", "Calls that were refused, by reason", metrics.refused.clone());
        registry.register("connections", "Connections that stand", metrics.connections.clone());
        registry.register(
            "handshakes_failed",
            "Connections that ended before they were authenticated",
            metrics.handshakes_failed.clone(),
        );
        (metrics, Arc::new(registry))
    }

    pub(crate) fn admitted(&self) {
        self.admitted.inc();
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refused.get_or_create(&Refusal { reason: reason.as_str().to_owned() }).inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Counts one connection until it is dropped.
    pub(crate) fn connection(&self) -> ConnectionCount {
        self.connections.inc();
        ConnectionCount(self.connections.clone())
    }
}

pub(crate) struct ConnectionCount(Gauge);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The registry as text.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = encode(&mut text, registry);
    text
}
