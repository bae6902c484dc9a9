//! Which names this server answers to.
//!
//! A page in a browser may make any name of its own point to 127.0.0.1 (DNS
//! rebinding) and talk to a server on loopback as if it were the page's own. It
//! cannot choose what the browser sends as the host, so on loopback only the
//! names that mean loopback are answered.

use std::net::IpAddr;

use http::{Request, header::HOST, uri::Authority};
use remora_proto_model::Fault;

/// The names that are answered to.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    loopback: bool,
    allowed: Vec<String>,
}

impl Hosts {
    /// `loopback` says that the server listens there alone; `allowed` are further names.
    pub(crate) fn new(loopback: bool, allowed: Vec<String>) -> Self {
        let allowed = allowed.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Hosts { loopback, allowed }
    }

    /// Whether the request is for one of them.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Fault> {
        if !self.loopback {
            return Ok(());
        }
        let named = request.uri().authority().cloned().or_else(|| {
            let mut values = request.headers().get_all(HOST).iter();
            let only = values.next().filter(|_| values.next().is_none())?;
            Authority::try_from(only.as_bytes()).ok()
        });
        let host = named.as_ref().map(|authority| authority.host().trim_matches(['[', ']']).to_ascii_lowercase());
        match host {
            Some(host) if is_loopback(&host) || self.allowed.contains(&host) => Ok(()),
            host => {
                let shown: String = host.unwrap_or_default().chars().take(80).collect();
                Err(Fault::invalid("host", format!("{shown:?} is no name of this server, which listens on loopback"))
                    .hint("call it as 127.0.0.1 or localhost, or start it with --allowed-host"))
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(hosts: &Hosts, host: &str) -> bool {
        hosts.check(&Request::builder().uri("/").header(HOST, host).body(()).unwrap()).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_loopback_are_answered() {
        let hosts = Hosts::new(true, vec!["Dev.Example.com".to_owned()]);
        for good in [
            "127.0.0.1:7600",
            "127.0.0.1",
            "localhost:1",
            "LOCALHOST",
            "[::1]:7600",
            "a.localhost",
            "dev.example.com:443",
        ] {
            assert!(answered(&hosts, good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.168.1.1",
            "0.0.0.0",
            "notlocalhost",
        ] {
            assert!(!answered(&hosts, bad), "{bad}");
        }
        assert!(hosts.check(&Request::builder().uri("/").body(()).unwrap()).is_err(), "no host at all");
        let twice = Request::builder().uri("/").header(HOST, "localhost").header(HOST, "evil.example");
        assert!(hosts.check(&twice.body(()).unwrap()).is_err(), "two hosts");
        let http2 = |uri: &str| hosts.check(&Request::builder().uri(uri).body(()).unwrap()).is_ok();
        assert!(http2("http://127.0.0.1:7600/x") && !http2("http://evil.example/x"));
        assert!(answered(&Hosts::new(false, Vec::new()), "dev.example.com"));
    }
}
