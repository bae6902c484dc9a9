//! The way to the API server: how long a call waits for it, and how often it is made again.
//!
//! kube's own client waits for an answer without an end, and makes a call that is refused
//! for now up to fifteen times, the first eight of them within a second, or after whatever
//! time the server names. A driver that waits like that acts on nothing, and a person who
//! waits is told nothing. Here a call has one deadline with all its attempts, whoever made
//! it decides what a failure means, and a plan says when it is tried again.

use std::time::Duration;

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use kube::{Client, Config, client::Body};
use tokio::time::{Instant, sleep, timeout_at};
use tower::BoxError;

use crate::limits::{API_ATTEMPTS, API_FIRST_REST, API_WITHIN};

/// A client for the API server that `config` names.
pub fn client_of(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let plain = Client::try_from(config)?;
    let service = tower::service_fn(move |request| call(plain.clone(), request));
    Ok(Client::new(service, namespace))
}

async fn call(client: Client, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let deadline = Instant::now() + API_WITHIN;
    timeout_at(deadline, attempts(client, request, deadline))
        .await
        .unwrap_or_else(|_| Err(format!("the API server did not answer within {} s", API_WITHIN.as_secs()).into()))
}

/// Makes a call until it is answered by something else than "not now", or for the last time.
async fn attempts(client: Client, request: Request<Body>, deadline: Instant) -> Result<Response<Body>, BoxError> {
    let mut rest = API_FIRST_REST;
    for _ in 1..API_ATTEMPTS {
        let Some(again) = copy(&request) else { break };
        let answer = answered(&client, again).await?;
        let Some(rest_now) = rests(&answer, rest).filter(|rest| Instant::now() + *rest < deadline) else {
            return Ok(answer);
        };
        sleep(rest_now).await;
        rest *= 2;
    }
    answered(&client, request).await
}

/// One attempt. What is no watch is read to its end, so that it has the same deadline.
async fn answered(client: &Client, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("watch=")));
    let answer = client.send(request).await?;
    if watches && answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Body::from(bytes)))
}

/// The same request once more, where its body is one that can be sent again.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut again = Request::new(request.body().try_clone()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

/// How long to rest before another attempt at what was answered; `None` where that is the answer.
fn rests<B>(answer: &Response<B>, rest: Duration) -> Option<Duration> {
    let not_now = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    if !not_now.contains(&answer.status()) {
        return None;
    }
    let named = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Some(rest.max(Duration::from_secs(named.unwrap_or(0))))
}
