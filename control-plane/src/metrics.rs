//! What the server counts, in the Prometheus text format.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use remora_proto_model::{
    Reason,
    project::{Orphan, OrphanKind},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Surface {
    surface: &'static str,
}

/// The server's counters.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    calls: Family<Surface, Counter>,
    refused: Family<Refusal, Counter>,
    connections: Gauge,
    handshakes_failed: Counter,
    orphans: Family<OfKind, Gauge>,
    registry: Arc<Registry>,
}

impl Metrics {
    /// The counters and the registry that prints them.
    pub(crate) fn registered() -> Self {
        let (calls, refused) = (Family::default(), Family::default());
        let (connections, handshakes_failed) = (Gauge::default(), Counter::default());
        let mut registry = Registry::with_prefix("remora_server");
        registry.register("calls", "Calls that arrived, by surface", Family::clone(&calls));
        registry.register(
            "calls_refused",
            "Calls that were refused before any work, by reason",
            Family::clone(&refused),
        );
        registry.register("connections", "Connections that stand", Gauge::clone(&connections));
        registry.register(
            "handshakes_failed",
            "Connections that ended before they said what they speak",
            Counter::clone(&handshakes_failed),
        );
        let orphans = Family::default();
        registry.register(
            "orphans",
            "What belongs to no project, by kind, as the server that acts saw last; 0 at the others",
            Family::clone(&orphans),
        );
        Metrics { calls, refused, connections, handshakes_failed, orphans, registry: Arc::new(registry) }
    }

    pub(crate) fn call(&self, surface: &'static str) {
        self.calls.get_or_create(&Surface { surface }).inc();
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refused.get_or_create(&Refusal { reason: reason.as_str().to_owned() }).inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Takes what belongs to no project.
    pub(crate) fn orphans(&self, found: &[Orphan]) {
        for kind in OrphanKind::ALL {
            let count = found.iter().filter(|orphan| orphan.kind == *kind).count();
            let gauge = self.orphans.get_or_create(&OfKind { kind: kind.to_string() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts one connection until it is dropped.
    pub(crate) fn connection(&self) -> ConnectionCount {
        self.connections.inc();
        ConnectionCount(self.connections.clone())
    }

    /// The registry as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        _ = encode(&mut text, &self.registry);
        text
    }
}

pub(crate) struct ConnectionCount(Gauge);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}
