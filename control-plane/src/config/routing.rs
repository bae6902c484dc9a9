//! How ports are reached from outside: what the server is told of it.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use http::Uri;
use remora_control_plane_kube::manifests::{Controller, Gate, Rate, Routing, Tls, Way};

use super::{ConfigError, Runtime, cluster::label};
use crate::{
    gate::GateSettings,
    limits::{
        DEFAULT_ROUTE_TIMEOUT_SECONDS, MAX_ROUTE_BODY_BYTES, MAX_ROUTE_DOMAIN_BYTES, MAX_ROUTE_ORIGINS, MAX_ROUTE_RATE,
        MAX_ROUTE_TIMEOUT_SECONDS, MAX_ROUTE_URL_BYTES,
    },
};

/// The flags of routing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ports reached from outside")]
pub struct RoutingArgs {
    /// What makes exposed ports reachable: nothing of this server's (router), an Ingress each, or an HTTPRoute each.
    #[arg(long, env = "REMORA_ROUTING", value_enum, default_value_t = Mode::Router)]
    routing: Mode,
    /// Domain below which each exposed port has a name; with `router` for a proxy of your own that asks /auth/verify.
    #[arg(long, env = "REMORA_ROUTE_DOMAIN", value_name = "NAME")]
    route_domain: Option<String>,
    /// Whose annotations and headers are meant.
    #[arg(long, env = "REMORA_ROUTE_CONTROLLER", value_enum, default_value_t = ControllerArg::Traefik)]
    route_controller: ControllerArg,
    /// IngressClass of the Ingresses [default: the cluster's default one].
    #[arg(long, env = "REMORA_ROUTE_INGRESS_CLASS", value_name = "NAME")]
    route_ingress_class: Option<String>,
    /// Gateway of the HTTPRoutes, and one of its listeners.
    #[arg(long, env = "REMORA_ROUTE_GATEWAY", value_name = "NAMESPACE/NAME[/LISTENER]")]
    route_gateway: Option<String>,
    /// Certificates: off (plain HTTP), controller (it has one for the domain), issuer:NAME (a ClusterIssuer of
    /// cert-manager) or secret:NAME (a Secret of this server's namespace).
    #[arg(long, env = "REMORA_ROUTE_TLS", default_value = "controller", value_name = "HOW")]
    route_tls: String,
    /// URL of this server's /auth/verify, as the controller reaches it.
    #[arg(long, env = "REMORA_ROUTE_AUTH_URL", value_name = "URL")]
    route_auth_url: Option<String>,
    /// Page where people sign in who open a port in a browser; it is given the port's URL as `rd`.
    #[arg(long, env = "REMORA_ROUTE_LOGIN_URL", value_name = "URL")]
    route_login_url: Option<String>,
    /// Origin of pages that may read what ports answer (CORS); repeat for more.
    #[arg(long = "route-cors-origin", env = "REMORA_ROUTE_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    route_cors_origins: Vec<String>,
    /// Origin of pages that may embed what ports show, in a frame; repeat for more.
    #[arg(
        long = "route-frame-ancestor",
        env = "REMORA_ROUTE_FRAME_ANCESTORS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    route_frame_ancestors: Vec<String>,
    /// Requests that one address may make in a second, over time [default: no bound].
    #[arg(long, env = "REMORA_ROUTE_REQUESTS_PER_SECOND", value_name = "N")]
    route_requests_per_second: Option<u32>,
    /// Requests that one address may make at once [default: five times those of a second].
    #[arg(long, env = "REMORA_ROUTE_BURST", requires = "route_requests_per_second", value_name = "N")]
    route_burst: Option<u32>,
    /// Most bytes of a request's body [default: no bound].
    #[arg(long, env = "REMORA_ROUTE_MAX_BODY_BYTES", value_name = "BYTES")]
    route_max_body_bytes: Option<u64>,
    /// Seconds of silence after which a connection is cut, a WebSocket's too.
    #[arg(
        long,
        env = "REMORA_ROUTE_TIMEOUT_SECONDS",
        default_value_t = DEFAULT_ROUTE_TIMEOUT_SECONDS,
        value_name = "SECONDS"
    )]
    route_timeout_seconds: u32,
    /// Namespace of the controller's pods, which may reach exposed ports.
    #[arg(long, env = "REMORA_ROUTE_FROM", value_name = "NAMESPACE")]
    route_from: Option<String>,
    /// Label of those pods; repeat for more [default: every pod of the namespace].
    #[arg(
        long = "route-from-label",
        env = "REMORA_ROUTE_FROM_LABELS",
        value_delimiter = ',',
        value_parser = label,
        value_name = "KEY=VALUE"
    )]
    route_from_labels: Vec<(String, String)>,
}

/// What makes ports reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Router,
    Ingress,
    Gateway,
}

/// [`Controller`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ControllerArg {
    Traefik,
    Nginx,
}

/// What the flags mean.
#[derive(Debug)]
pub(super) struct Resolved {
    /// For `/auth/verify`.
    pub(super) gate: Option<GateSettings>,
    /// For the objects of projects.
    pub(super) routes: Option<Routing>,
}

impl RoutingArgs {
    pub(super) fn resolve(self, runtime: Runtime) -> Result<Resolved, ConfigError> {
        if self.routing != Mode::Router && runtime != Runtime::Kube {
            return Err(wrong("--routing", "objects of Kubernetes are made with --runtime kube alone; take router"));
        }
        let Some(domain) = self.route_domain.clone() else {
            return self.without_a_domain();
        };
        check_domain(&domain)?;
        let tls = tls(&self.route_tls)?;
        let controller = match self.route_controller {
            ControllerArg::Traefik => Controller::Traefik,
            ControllerArg::Nginx => Controller::Nginx,
        };
        let cors_origins = origins("--route-cors-origin", &self.route_cors_origins)?;
        let frame_ancestors = origins("--route-frame-ancestor", &self.route_frame_ancestors)?;
        if let Some(login) = &self.route_login_url {
            check_url("--route-login-url", login)?;
        }
        let gate = GateSettings {
            domain: domain.clone(),
            controller,
            secure: tls != Tls::Off,
            embedded: !frame_ancestors.is_empty(),
            origins: cors_origins.clone(),
            login_url: self.route_login_url.clone(),
        };
        let Some(way) = self.way(controller, &tls)? else {
            return Ok(Resolved { gate: Some(gate), routes: None });
        };
        if controller == Controller::Nginx && !frame_ancestors.is_empty() {
            return Err(wrong(
                "--route-frame-ancestor",
                "annotations of ingress-nginx set no header of an answer; set Content-Security-Policy for all of it \
                 in the controller's ConfigMap, or take --route-controller traefik",
            ));
        }
        let (rate, max_body_bytes, timeout_seconds) = self.bounds()?;
        let auth_url = self.route_auth_url.ok_or_else(|| missing("--route-auth-url", "REMORA_ROUTE_AUTH_URL"))?;
        check_url("--route-auth-url", &auth_url)?;
        let namespace = self.route_from.ok_or_else(|| missing("--route-from", "REMORA_ROUTE_FROM"))?;
        check_name("--route-from", &namespace)?;
        let pod_labels: BTreeMap<String, String> = self.route_from_labels.into_iter().collect();
        for (key, value) in &pod_labels {
            check_label(key, value)?;
        }
        let from = Gate { namespace, pod_labels };
        let login_url = self.route_login_url;
        let routes = Routing {
            way,
            controller,
            domain,
            tls,
            auth_url,
            login_url,
            cors_origins,
            frame_ancestors,
            rate,
            max_body_bytes,
            timeout_seconds,
            from,
        };
        Ok(Resolved { gate: Some(gate), routes: Some(routes) })
    }

    /// Nothing is reached from outside, so nothing may be said of how.
    fn without_a_domain(self) -> Result<Resolved, ConfigError> {
        let said = [
            ("--routing", self.routing != Mode::Router),
            ("--route-ingress-class", self.route_ingress_class.is_some()),
            ("--route-gateway", self.route_gateway.is_some()),
            ("--route-login-url", self.route_login_url.is_some()),
            ("--route-cors-origin", !self.route_cors_origins.is_empty()),
            ("--route-frame-ancestor", !self.route_frame_ancestors.is_empty()),
            ("--route-requests-per-second", self.route_requests_per_second.is_some()),
            ("--route-max-body-bytes", self.route_max_body_bytes.is_some()),
        ];
        match said.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(ConfigError::Setting(format!(
                "--route-domain or REMORA_ROUTE_DOMAIN is missing, and {flag} is about the names below it"
            ))),
            None => Ok(Resolved { gate: None, routes: None }),
        }
    }

    fn way(&self, controller: Controller, tls: &Tls) -> Result<Option<Way>, ConfigError> {
        let unused = [
            ("--route-ingress-class", self.route_ingress_class.is_some(), Mode::Ingress),
            ("--route-gateway", self.route_gateway.is_some(), Mode::Gateway),
        ];
        if let Some((flag, ..)) = unused.into_iter().find(|(_, given, mode)| *given && self.routing != *mode) {
            return Err(wrong(flag, "is of another way of routing than --routing names"));
        }
        match self.routing {
            Mode::Router => Ok(None),
            Mode::Ingress => {
                let class = self.route_ingress_class.clone();
                class.as_deref().map_or(Ok(()), |name| check_name("--route-ingress-class", name))?;
                Ok(Some(Way::Ingress { class }))
            }
            Mode::Gateway => {
                if controller != Controller::Traefik {
                    return Err(wrong(
                        "--route-controller",
                        "the Gateway API itself has no filter that asks who calls; what there is here are Traefik's, \
                         so take traefik, or --routing ingress",
                    ));
                }
                if !matches!(tls, Tls::Off | Tls::Controller) {
                    return Err(wrong(
                        "--route-tls",
                        "certificates of a Gateway are its listeners' own; give off or controller",
                    ));
                }
                let gateway = self.route_gateway.as_deref();
                let gateway = gateway.ok_or_else(|| missing("--route-gateway", "REMORA_ROUTE_GATEWAY"))?;
                self::gateway(gateway).map(Some)
            }
        }
    }

    fn bounds(&self) -> Result<(Option<Rate>, Option<u64>, u32), ConfigError> {
        let within = |flag: &str, value: u64, most: u64| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(wrong(flag, &format!("is {value}; give 1 to {most}")))
            }
        };
        let rate = match self.route_requests_per_second {
            None => None,
            Some(per_second) => {
                within("--route-requests-per-second", per_second.into(), MAX_ROUTE_RATE.into())?;
                let burst = self.route_burst.unwrap_or(per_second.saturating_mul(5).min(MAX_ROUTE_RATE));
                within("--route-burst", burst.into(), MAX_ROUTE_RATE.into())?;
                Some(Rate { per_second, burst })
            }
        };
        if let Some(bytes) = self.route_max_body_bytes {
            within("--route-max-body-bytes", bytes, MAX_ROUTE_BODY_BYTES)?;
        }
        let timeout = self.route_timeout_seconds;
        within("--route-timeout-seconds", timeout.into(), MAX_ROUTE_TIMEOUT_SECONDS.into())?;
        Ok((rate, self.route_max_body_bytes, timeout))
    }
}

fn wrong(flag: &str, problem: &str) -> ConfigError {
    ConfigError::Setting(format!("{flag}: {problem}"))
}

fn missing(flag: &str, variable: &str) -> ConfigError {
    ConfigError::Setting(format!("{flag} or {variable} is missing; --routing needs it"))
}

/// RFC 1123: 1 to 63 of a-z, 0-9 and '-', none of these at either end.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A name as Kubernetes has them.
fn check_name(flag: &str, name: &str) -> Result<(), ConfigError> {
    if is_name(name) { Ok(()) } else { Err(wrong(flag, &format!("{:?} is no name of Kubernetes", shown(name)))) }
}

fn check_domain(domain: &str) -> Result<(), ConfigError> {
    if is_name(domain) && domain.len() <= MAX_ROUTE_DOMAIN_BYTES {
        return Ok(());
    }
    let problem = format!("{:?} is no domain; give one such as ports.example.com, in small letters", shown(domain));
    Err(wrong("--route-domain", &problem))
}

fn check_label(key: &str, value: &str) -> Result<(), ConfigError> {
    let is_word = |text: &str| {
        let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && end(text.as_bytes().first())
            && end(text.as_bytes().last())
    };
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_name) && is_word(name) && (value.is_empty() || is_word(value)) {
        return Ok(());
    }
    Err(wrong("--route-from-label", &format!("{:?} is no label of Kubernetes", shown(&format!("{key}={value}")))))
}

fn tls(text: &str) -> Result<Tls, ConfigError> {
    let named = |name: &str| check_name("--route-tls", name).map(|()| name.to_owned());
    match text.split_once(':') {
        None if text == "off" => Ok(Tls::Off),
        None if text == "controller" => Ok(Tls::Controller),
        Some(("issuer", name)) => named(name).map(Tls::Issuer),
        Some(("secret", name)) => named(name).map(Tls::Secret),
        _ => Err(wrong(
            "--route-tls",
            &format!("{:?} is none of off, controller, issuer:NAME and secret:NAME", shown(text)),
        )),
    }
}

fn gateway(text: &str) -> Result<Way, ConfigError> {
    let mut parts = text.split('/').map(str::to_owned);
    let (Some(namespace), Some(name), listener, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("--route-gateway", &format!("{:?} is no NAMESPACE/NAME[/LISTENER]", shown(text))));
    };
    for part in [Some(&namespace), Some(&name), listener.as_ref()].into_iter().flatten() {
        check_name("--route-gateway", part)?;
    }
    Ok(Way::Gateway { namespace, name, listener })
}

/// A URL that stands in annotations: nothing in it means anything to a controller.
fn check_url(flag: &str, url: &str) -> Result<(), ConfigError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?&=%[]+".contains(&b);
    let parsed = url.parse::<Uri>().ok();
    let parsed = parsed.filter(|uri| uri.authority().is_some() && uri.path().starts_with('/'));
    let known = parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if known && url.len() <= MAX_ROUTE_URL_BYTES && url.bytes().all(plain) {
        return Ok(());
    }
    Err(wrong(flag, &format!("{:?} is no URL of http or https", shown(url))))
}

/// `SCHEME://HOST[:PORT]`, as browsers say it.
fn origins(flag: &str, texts: &[String]) -> Result<Vec<String>, ConfigError> {
    if texts.len() > MAX_ROUTE_ORIGINS {
        return Err(wrong(flag, &format!("{} given; at most {MAX_ROUTE_ORIGINS}", texts.len())));
    }
    for text in texts {
        let good = text.split_once("://").is_some_and(|(scheme, authority)| {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            matches!(scheme, "http" | "https")
                && is_name(host)
                && port
                    .is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port && number > 0))
        });
        if !good {
            let problem = format!("{:?} is no origin; give SCHEME://HOST[:PORT], in small letters", shown(text));
            return Err(wrong(flag, &problem));
        }
    }
    Ok(texts.to_vec())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        routing: RoutingArgs,
    }

    fn resolve(runtime: Runtime, line: &[&str]) -> Result<Resolved, String> {
        let words = std::iter::once("remora").chain(line.iter().copied());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.routing.resolve(runtime).map_err(|error| error.to_string())
    }

    const INGRESS: [&str; 4] = [
        "--routing=ingress",
        "--route-domain=p.example.com",
        "--route-auth-url=http://r.x.svc:7600/auth/verify",
        "--route-from=traefik",
    ];

    fn refused(more: &[&str]) -> String {
        resolve(Runtime::Kube, &[&INGRESS[..], more].concat()).unwrap_err()
    }

    #[test]
    fn without_a_domain_nothing_is_known_and_nothing_said() {
        let nothing = resolve(Runtime::Local, &[]).unwrap();
        assert!(nothing.gate.is_none() && nothing.routes.is_none());
        let error = resolve(Runtime::Local, &["--route-login-url=https://a.example/login"]).unwrap_err();
        assert!(error.contains("--route-domain") && error.contains("--route-login-url"), "{error}");
    }

    #[test]
    fn a_proxy_of_ones_own_may_ask_wherever_projects_are() {
        for runtime in [Runtime::Local, Runtime::Kube] {
            let known = resolve(runtime, &["--route-domain=p.example.com", "--route-tls=off"]).unwrap();
            assert!(known.routes.is_none() && known.gate.is_some_and(|gate| !gate.secure));
        }
        let error = resolve(Runtime::Local, &INGRESS).unwrap_err();
        assert!(error.starts_with("--routing:"), "{error}");
    }

    #[test]
    fn each_way_is_taken_whole() {
        let routes = resolve(Runtime::Kube, &INGRESS).unwrap().routes.unwrap();
        assert!(matches!(routes.way, Way::Ingress { class: None }) && routes.tls == Tls::Controller);
        assert_eq!((routes.rate, routes.timeout_seconds), (None, 3_600));
        let mut line = INGRESS.to_vec();
        line[0] = "--routing=gateway";
        line.push("--route-gateway=edge/public/https");
        let routes = resolve(Runtime::Kube, &line).unwrap().routes.unwrap();
        let Way::Gateway { namespace, name, listener } = routes.way else { panic!("{routes:?}") };
        assert_eq!((&*namespace, &*name, listener.as_deref()), ("edge", "public", Some("https")));
    }

    #[test]
    fn bad_settings_name_the_flag() {
        for (flag, more) in [
            ("--route-tls", "--route-tls=maybe"),
            ("--route-tls", "--route-tls=issuer:A b"),
            ("--route-ingress-class", "--route-ingress-class=a\nb"),
            ("--route-gateway", "--route-gateway=a/b"),
            ("--route-login-url", "--route-login-url=javascript:alert(1)"),
            ("--route-login-url", "--route-login-url=https://a.example/$host"),
            ("--route-login-url", "--route-login-url=https://a.example/\";x"),
            ("--route-cors-origin", "--route-cors-origin=*"),
            ("--route-cors-origin", "--route-cors-origin=https://a.example/"),
            ("--route-cors-origin", "--route-cors-origin=null"),
            ("--route-frame-ancestor", "--route-frame-ancestor=https://a.example;script-src"),
            ("--route-requests-per-second", "--route-requests-per-second=0"),
            ("--route-burst", "--route-burst=3"),
            ("--route-max-body-bytes", "--route-max-body-bytes=0"),
            ("--route-timeout-seconds", "--route-timeout-seconds=86401"),
            ("--route-from-label", "--route-from-label=a b=c"),
            ("--route-from-label", "--route-from-label=a=-"),
        ] {
            let error = refused(&[more]);
            assert!(error.contains(flag), "{more}: {error}");
        }
        let error = refused(&["--route-controller=nginx", "--route-frame-ancestor=https://a.example"]);
        assert!(error.starts_with("--route-frame-ancestor:"), "{error}");
        for left_out in 1..INGRESS.len() {
            let mut line = INGRESS.to_vec();
            let flag = line.remove(left_out).split_once('=').unwrap().0;
            let error = resolve(Runtime::Kube, &line).unwrap_err();
            assert!(error.contains(flag), "{flag}: {error}");
        }
        for (flag, more) in [
            ("--route-gateway", &[][..]),
            ("--route-gateway", &["--route-gateway=a"]),
            ("--route-gateway", &["--route-gateway=a/b/c/d"]),
            ("--route-tls", &["--route-gateway=a/b", "--route-tls=issuer:x"]),
            ("--route-controller", &["--route-gateway=a/b", "--route-controller=nginx"]),
        ] {
            let mut line = INGRESS.to_vec();
            line[0] = "--routing=gateway";
            let error = resolve(Runtime::Kube, &[&line[..], more].concat()).unwrap_err();
            assert!(error.contains(flag), "{more:?}: {error}");
        }
    }
}
