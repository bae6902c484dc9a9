//! Whether a page may open a WebSocket here. The rule of browsers that keeps
//! pages of other origins from reading answers does not hold for WebSockets (RFC
//! 6455, 10.2), so it is asked here.

use http::{HeaderMap, Uri, header, uri::Authority};
use remora_proto_model::{Fault, Reason};

/// A request without an origin comes from no page. One with an origin must come
/// from this server's own, or from one of `allowed`.
pub(super) fn check(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> Result<(), Fault> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if origins.next().is_none() && (is_own(origin, headers, uri) || allowed.iter().any(|one| one == origin)) {
        return Ok(());
    }
    let shown: String = origin.chars().take(120).collect();
    Err(Fault::new(Reason::OriginNotAllowed, format!("a page of {shown:?} may not open terminals here"))
        .hint("start the server with --allowed-origin for the pages that may"))
}

fn is_own(origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(Authority::as_str));
    let with_port = |authority: &str| {
        let authority: Authority = authority.parse().ok()?;
        let default = if scheme == "https" { 443 } else { 80 };
        Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default)))
    };
    matches!(scheme, "http" | "https") && with_port(authority).is_some_and(|own| host.and_then(with_port) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(host: &str, origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        check(&headers, &Uri::from_static("/"), &["https://ide.example.com".to_owned()]).is_ok()
    }

    #[test]
    fn only_pages_of_this_server_and_those_allowed_may() {
        for good in ["http://127.0.0.1:7600", "https://127.0.0.1:7600", "https://ide.example.com"] {
            assert!(may("127.0.0.1:7600", &[good]), "{good}");
        }
        assert!(may("127.0.0.1:7600", &[]), "no page");
        assert!(may("remora.example.com", &["https://REMORA.example.com"]) && may("a:80", &["http://a"]));
        for bad in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:7601",
            "http://evil.example",
            "https://ide.example.com.evil.example",
            "https://ide.example.com:444",
            "file://127.0.0.1:7600",
        ] {
            assert!(!may("127.0.0.1:7600", &[bad]), "{bad}");
        }
        assert!(!may("127.0.0.1:7600", &["http://127.0.0.1:7600", "http://evil.example"]), "two origins");
    }
}
