//! Credentials of a page. A browser lets no page choose the headers of a
//! WebSocket's first request but for the subprotocols that it offers, so one of
//! them may carry what `authorization` would.

use http::{HeaderValue, Request, header};

/// The subprotocol of a terminal.
pub(crate) const TERMINAL_PROTOCOL: &str = "remora.terminal.v1";
/// What comes before the token.
const BEARER: &str = "remora.bearer.";

/// Puts the token that is offered as a subprotocol where all others are, and takes it from there: it
/// is never echoed.
pub(super) fn take_credentials<B>(request: &mut Request<B>) {
    let headers = request.headers_mut();
    let is_socket =
        headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_socket || !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return;
    }
    let offered: Vec<String> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().to_owned())
        .collect();
    let (tokens, others): (Vec<_>, Vec<_>) = offered.into_iter().partition(|one| one.starts_with(BEARER));
    if tokens.is_empty() {
        return;
    }
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    headers.extend(HeaderValue::try_from(others.join(", ")).ok().map(|value| (header::SEC_WEBSOCKET_PROTOCOL, value)));
    // Two credentials are as wrong here as anywhere.
    for token in tokens {
        let bearer = HeaderValue::try_from(format!("Bearer {}", &token[BEARER.len()..])).ok();
        if let Some(mut bearer) = bearer {
            bearer.set_sensitive(true);
            headers.append(header::AUTHORIZATION, bearer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(upgrade: &str, protocols: &str) -> (Option<String>, Option<String>) {
        let mut request = Request::builder()
            .header(header::UPGRADE, upgrade)
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocols)
            .body(())
            .unwrap();
        take_credentials(&mut request);
        let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (text(header::AUTHORIZATION), text(header::SEC_WEBSOCKET_PROTOCOL))
    }

    #[test]
    fn a_token_among_the_subprotocols_is_a_bearer_token_and_no_subprotocol() {
        let (bearer, left) = taken("websocket", "remora.terminal.v1, remora.bearer.rmk_x");
        assert_eq!((bearer.as_deref(), left.as_deref()), (Some("Bearer rmk_x"), Some("remora.terminal.v1")));
        assert_eq!(taken("h2c", "remora.bearer.rmk_x").0, None, "only of a WebSocket");
        assert_eq!(taken("websocket", "chat").0, None);
    }
}
