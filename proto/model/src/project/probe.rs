//! How it is seen that a container is healthy.

use serde::{Deserialize, Serialize};

use super::container::{MAX_COMMAND_WORDS, word_fits};
use crate::Fault;

/// Longest path that a probe asks for, in bytes.
pub const MAX_PROBE_PATH_BYTES: usize = 1_024;
/// Longest time of a probe, its period and its delay, in seconds.
pub const MAX_PROBE_SECONDS: u32 = 600;
/// Most failures in a row that a probe may bear.
pub const MAX_PROBE_FAILURES: u32 = 100;

/// A look at a container from time to time, in the words of Kubernetes: exactly
/// one of `httpGet`, `tcpSocket` and `exec`. It says whether the container is
/// ready; nothing is ended because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probe {
    /// A GET of HTTP; an answer from 200 to 399 is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A connection that is taken is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// A command in the container that ends with 0 is good. On a local server it is never run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Seconds before the first look, at most 600.
    pub initial_delay_seconds: u32,
    /// Seconds between two looks, 1 to 600.
    pub period_seconds: u32,
    /// Seconds that a look may take, 1 to 600.
    pub timeout_seconds: u32,
    /// Failures in a row until it is unhealthy, 1 to 100.
    pub failure_threshold: u32,
}

/// A GET of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpGet {
    /// From the root, with a query if need be.
    #[serde(default = "root")]
    pub path: String,
    /// 1 to 65,535.
    pub port: u16,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TcpSocket {
    /// 1 to 65,535.
    pub port: u16,
}

/// A command in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecAction {
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
}

fn root() -> String {
    "/".to_owned()
}

impl Default for Probe {
    fn default() -> Self {
        Probe {
            http_get: None,
            tcp_socket: None,
            exec: None,
            initial_delay_seconds: 0,
            period_seconds: 5,
            timeout_seconds: 2,
            failure_threshold: 3,
        }
    }
}

impl Probe {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let ways = [self.http_get.is_some(), self.tcp_socket.is_some(), self.exec.is_some()];
        if ways.iter().filter(|given| **given).count() != 1 {
            return Err(Fault::invalid("containers.probe", "must have exactly one of httpGet, tcpSocket and exec"));
        }
        if let Some(HttpGet { path, port }) = &self.http_get {
            let good = path.starts_with('/')
                && path.len() <= MAX_PROBE_PATH_BYTES
                && path.bytes().all(|byte| byte.is_ascii_graphic());
            if !good {
                let shown: String = path.chars().take(80).collect();
                return Err(Fault::invalid(
                    "containers.probe.httpGet.path",
                    format!("{shown:?} is no path from the root of at most {MAX_PROBE_PATH_BYTES} visible characters"),
                ));
            }
            is_a_port("containers.probe.httpGet.port", *port)?;
        }
        if let Some(TcpSocket { port }) = &self.tcp_socket {
            is_a_port("containers.probe.tcpSocket.port", *port)?;
        }
        if let Some(ExecAction { command }) = &self.exec {
            let field = "containers.probe.exec.command";
            if command.first().is_none_or(String::is_empty) || command.len() > MAX_COMMAND_WORDS {
                return Err(Fault::invalid(
                    field,
                    format!("has {} words; 1 to {MAX_COMMAND_WORDS}, the first a program", command.len()),
                ));
            }
            for word in command {
                word_fits(field, word)?;
            }
        }
        for (field, value, least, most) in [
            ("containers.probe.initialDelaySeconds", self.initial_delay_seconds, 0, MAX_PROBE_SECONDS),
            ("containers.probe.periodSeconds", self.period_seconds, 1, MAX_PROBE_SECONDS),
            ("containers.probe.timeoutSeconds", self.timeout_seconds, 1, MAX_PROBE_SECONDS),
            ("containers.probe.failureThreshold", self.failure_threshold, 1, MAX_PROBE_FAILURES),
        ] {
            if !(least..=most).contains(&value) {
                return Err(Fault::invalid(field, format!("is {value}; from {least} to {most}")));
            }
        }
        Ok(())
    }
}

fn is_a_port(field: &str, port: u16) -> Result<(), Fault> {
    if port == 0 { Err(Fault::invalid(field, "is 0").hint("give 1 to 65535")) } else { Ok(()) }
}
