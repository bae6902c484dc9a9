//! Logs: one JSON object a line on stderr, filtered by `REMORA_LOG`.

use tracing_subscriber::EnvFilter;

/// Starts logging. Done once, before anything else, by `main`.
pub fn start() {
    let filter = EnvFilter::try_from_env("REMORA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
}
