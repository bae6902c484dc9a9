//! Which request a controller asks about, by the headers that it sets itself.
//!
//! A controller passes its client's headers on, so of each controller those alone are
//! read that it puts in the place of the client's: of Traefik `X-Forwarded-*` (with
//! `trustForwardHeader` off), of ingress-nginx `X-Original-*`. The others are a
//! stranger's word.

use http::{HeaderMap, Method, uri::Authority};
use remora_control_plane_kube::manifests::Controller;
use remora_proto_model::Fault;

/// A request that somebody else holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// In small letters, without a port.
    pub(super) host: String,
    /// Where it is not the one of the scheme.
    port: Option<u16>,
    pub(super) method: Method,
    /// Path and query; none where they have what no URL has.
    target: Option<String>,
}

impl Forwarded {
    pub(super) fn read(headers: &HeaderMap, controller: Controller) -> Result<Forwarded, Fault> {
        let (authority, target, method) = match controller {
            Controller::Traefik => (
                only(headers, "x-forwarded-host")?,
                only(headers, "x-forwarded-uri")?,
                only(headers, "x-forwarded-method")?,
            ),
            Controller::Nginx => {
                let url = only(headers, "x-original-url")?;
                let rest = url.split_once("://").map(|(_, rest)| rest);
                let rest = rest.ok_or_else(|| unread("x-original-url", "is no URL"))?;
                let at = rest.find(['/', '?']).unwrap_or(rest.len());
                (rest[..at].to_owned(), rest[at..].to_owned(), only(headers, "x-original-method")?)
            }
        };
        let (host, port) = authority
            .parse::<Authority>()
            .ok()
            .filter(|_| !authority.contains('@'))
            .map(|authority| (authority.host().to_ascii_lowercase(), authority.port_u16()))
            .ok_or_else(|| unread("host", "of the request is no name"))?;
        let method = method.parse().map_err(|_| unread("method", "of the request is none"))?;
        let plain = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
        Ok(Forwarded { host, port, method, target: plain.then_some(target) })
    }

    /// The host as it was called.
    pub(super) fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// Whether it changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// A parameter of the query, as it came.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.as_deref()?.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Path and query without a parameter.
    pub(super) fn without(&self, name: &str) -> String {
        let Some(target) = self.target.as_deref() else { return "/".to_owned() };
        let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
        let is = |pair: &&str| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let left: Vec<&str> = query.split('&').filter(|pair| !is(pair)).collect();
        if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) }
    }
}

fn unread(what: &str, problem: &str) -> Fault {
    Fault::invalid(what, problem).hint("this is for an ingress controller; docs/routing.md says what it must send")
}

/// A header that is there once: two would be the controller's and somebody else's.
fn only(headers: &HeaderMap, name: &str) -> Result<String, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        // What is not ASCII is kept in its place: a path may have it, and it names no host.
        (Some(value), None) => Ok(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        (None, _) => Err(unread(name, "is missing")),
        (Some(_), Some(_)) => Err(unread(name, "is there twice")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn traefik(host: &str, uri: &str) -> Result<Forwarded, Fault> {
        let headers = headers(&[("x-forwarded-host", host), ("x-forwarded-uri", uri), ("x-forwarded-method", "GET")]);
        Forwarded::read(&headers, Controller::Traefik)
    }

    fn nginx(url: &str) -> Result<Forwarded, Fault> {
        Forwarded::read(&headers(&[("x-original-url", url), ("x-original-method", "POST")]), Controller::Nginx)
    }

    #[test]
    fn each_controller_says_it_in_its_own_way() {
        let read = traefik("Shop--web--http.P.example.com:8443", "/a?b=c&remora-link=x&d").unwrap();
        assert_eq!((read.host.as_str(), &read.method), ("shop--web--http.p.example.com", &Method::GET));
        assert_eq!(read.authority(), "shop--web--http.p.example.com:8443");
        assert_eq!((read.parameter("remora-link"), read.parameter("b")), (Some("x"), Some("c")));
        assert_eq!((read.without("remora-link"), read.is_read()), ("/a?b=c&d".to_owned(), true));
        let read = nginx("https://shop--web--http.p.example.com/a?remora-link=x").unwrap();
        assert_eq!((read.host.as_str(), read.is_read()), ("shop--web--http.p.example.com", false));
        assert_eq!((read.parameter("remora-link"), read.without("remora-link")), (Some("x"), "/a".to_owned()));
        assert_eq!(nginx("http://a.example").unwrap().without("x"), "/");
    }

    /// a078: what a client may set itself is not read.
    #[test]
    fn a078_what_the_other_controller_sets_is_a_strangers_word() {
        let both = [
            ("x-forwarded-host", "mine.example"),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
            ("x-original-url", "https://theirs.example/"),
            ("x-original-method", "POST"),
            ("forwarded", "host=theirs.example"),
            ("x-real-host", "theirs.example"),
        ];
        assert_eq!(Forwarded::read(&headers(&both), Controller::Traefik).unwrap().host, "mine.example");
        assert_eq!(Forwarded::read(&headers(&both), Controller::Nginx).unwrap().host, "theirs.example");
        assert!(Forwarded::read(&headers(&both[3..]), Controller::Traefik).is_err());
        assert!(Forwarded::read(&headers(&both[..3]), Controller::Nginx).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let twice = [
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
        ];
        assert!(Forwarded::read(&headers(&twice), Controller::Traefik).is_err());
        for bad in ["", "a b", "a.example, b.example", "me@a.example", "a.example/x", "é.example"] {
            assert!(traefik(bad, "/").is_err(), "{bad}");
        }
        for bad in ["", "/", "a.example/", "https://", "https:///x", "https://me@a.example/"] {
            assert!(nginx(bad).is_err(), "{bad}");
        }
        let method = [("x-forwarded-host", "a.example"), ("x-forwarded-uri", "/"), ("x-forwarded-method", "G T")];
        assert!(Forwarded::read(&headers(&method), Controller::Traefik).is_err());
    }

    /// A target that is no path leads nowhere.
    #[test]
    fn only_a_path_is_led_back_to() {
        for odd in ["http://evil.example/?remora-link=x", "//\\evil é", "*", "a"] {
            let read = traefik("a.example", odd).unwrap();
            assert_eq!((read.parameter("remora-link"), read.without("x")), (None, "/".to_owned()), "{odd}");
        }
    }
}
