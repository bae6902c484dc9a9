//! Which of a project's agents a call is for, where each container has its pod: the one
//! beside the container that the call's first message names. That message is read
//! ahead, and passed on with the rest.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use remora_control_plane_runtime::{AgentHandle, Projects};
use remora_proto::model::{ContainerName, Fault};
use tonic::{Status, body::Body};

use crate::{
    audit::{Seen, container, names_a_container},
    auth::Identity,
};

/// The agent that the call to `method` with `body` is for, and the same body.
pub(super) async fn beside(
    projects: &Projects,
    owner: AgentHandle,
    identity: &Identity,
    method: &str,
    body: Body,
) -> Result<(AgentHandle, Body), Fault> {
    if !names_a_container(method) || !projects.has_pods_apart(owner.project) {
        return Ok((owner, body));
    }
    let (named, body) = read_ahead(method, body).await;
    // Without a name, or with none that could be one, it is the owner's to answer.
    let Some(wanted) = named.and_then(|name| name.parse::<ContainerName>().ok()) else { return Ok((owner, body)) };
    let granted = match identity {
        Identity::Token(token) => token.containers.as_ref().is_none_or(|granted| granted.contains(&wanted)),
        Identity::Caller(_) => true,
    };
    // Who may not reach it is not told what there is of it.
    let agent = if granted { projects.agent_beside(&owner, &wanted).await? } else { owner };
    Ok((agent, body))
}

/// The container that the first message names, and the whole body.
async fn read_ahead(method: &str, mut body: Body) -> (Option<String>, Body) {
    let mut seen = Seen::default();
    let mut ahead = VecDeque::new();
    let mut named = None;
    while let Some(frame) = body.frame().await {
        let done = match &frame {
            Ok(frame) => frame.data_ref().is_none_or(|data| seen.is_enough_with(data)),
            Err(_) => true,
        };
        // At least a byte each, so that what is read ahead is bounded by their number too.
        if !frame.as_ref().is_ok_and(|frame| frame.data_ref().is_some_and(Bytes::is_empty)) {
            ahead.push_back(frame);
        }
        if done {
            named = seen.message().and_then(|message| container(method, message));
            break;
        }
    }
    (named, Body::new(Resumed { ahead, rest: body }))
}

/// A body whose beginning was read.
struct Resumed {
    ahead: VecDeque<Result<Frame<Bytes>, Status>>,
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Nobody goes by it: a call's messages have their own lengths.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use remora_proto::agent::v1::{
        AttachStart, CommandSpec, ListTerminalsRequest, RunRequest, TerminalInput, terminal_input::Frame as Input,
    };

    use super::*;

    /// What is named in `message`, sent in pieces of `piece` bytes and followed by `more`;
    /// all of it must come out again.
    async fn named(method: &str, message: &impl prost::Message, piece: usize, more: &[u8]) -> Option<String> {
        let encoded = message.encode_to_vec();
        let length = u32::try_from(encoded.len()).unwrap().to_be_bytes();
        let whole = [&[0], &length[..], &encoded, more].concat();
        let pieces: Vec<_> =
            whole.chunks(piece).map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        let (name, body) = read_ahead(&format!("/remora.agent.v1.{method}"), body).await;
        assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        name
    }

    #[tokio::test]
    async fn the_first_message_names_the_container_and_nothing_of_it_is_lost() {
        let command = CommandSpec { container: "api".to_owned(), ..CommandSpec::default() };
        let run = RunRequest { command: Some(command), stdin_data: vec![7; 100_000].into(), ..RunRequest::default() };
        let start = AttachStart { container: "api".to_owned(), id: "x".to_owned(), ..AttachStart::default() };
        let attach = TerminalInput { frame: Some(Input::Start(start)) };
        let list = ListTerminalsRequest { container: "api".to_owned() };
        for piece in [1, 3, 4_096, 1 << 20] {
            assert_eq!(named("ExecService/Run", &run, piece, &[]).await.unwrap(), "api");
            assert_eq!(named("TerminalService/Attach", &attach, piece, b"\0\0\0\0\x01x").await.unwrap(), "api");
            assert_eq!(named("TerminalService/List", &list, piece, &[]).await.unwrap(), "api");
            assert_eq!(named("TerminalService/List", &ListTerminalsRequest::default(), piece, &[]).await, None);
        }
    }

    #[tokio::test]
    async fn what_never_becomes_a_message_names_nothing() {
        let (name, body) = read_ahead("/remora.agent.v1.ExecService/Run", Body::empty()).await;
        assert_eq!((name, body.collect().await.unwrap().to_bytes().len()), (None, 0));
        assert!(!names_a_container("/remora.agent.v1.FileService/Read"));
        assert!(names_a_container("/remora.agent.v1.ExecService/List"));
    }
}
