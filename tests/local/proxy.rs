//! Calls to an agent through the server.

use std::fs;

use remora_proto::{
    agent::v1::{
        ArchiveGetRequest, Argv, AttachCommandRequest, CommandOutput, CommandSpec, ReadRequest, RunRequest,
        StartRequest, StatRequest, WaitRequest, WatchRequest, WriteHead, WriteRequest, command_output, command_spec,
        exec_service_client::ExecServiceClient, file_service_client::FileServiceClient, write_request,
    },
    control::v1::{CreateKeyRequest, MintTokenRequest, Role, StartProjectRequest, StopProjectRequest},
    fault::from_status,
    model::{Effect, METHODS, Reason, Verb},
};
use remora_tests::{
    agent::PATIENCE,
    eventually::eventually_told,
    reflection::{call_with, reflected_methods},
    server::{Authorised, ServerProcess},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::running::{agent_of, generation, reach, reach_where, run, workspace};

async fn files(server: &ServerProcess, key: &str, project: &str) -> FileServiceClient<Authorised> {
    FileServiceClient::new(server.authorised(key, Some(project)).await).max_decoding_message_size(8 << 20)
}

fn watch() -> WatchRequest {
    WatchRequest { path: Vec::new().into(), ..WatchRequest::default() }
}

async fn mint(server: &ServerProcess, project: &str, verbs: &[Verb]) -> String {
    let verbs = verbs.iter().map(|verb| verb.to_string()).collect();
    let request = MintTokenRequest { project: project.to_owned(), verbs, ..MintTokenRequest::default() };
    server.tokens().await.mint(request).await.unwrap().into_inner().token
}

/// The second half of a079: access tokens, for every method of an agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a079_a_token_opens_what_it_names_and_nothing_else() {
    let server = ServerProcess::start().await;
    run(&server, "mine").await;
    run(&server, "theirs").await;
    let channel = server.channel().await;
    let foreign = mint(&server, "theirs", Verb::ALL).await;
    let all = mint(&server, "mine", Verb::ALL).await;
    let mine = [("remora-project", "mine")];
    for path in
        reflected_methods(&channel, &server.key).await.iter().filter(|path| path.starts_with("/remora.agent.v1."))
    {
        let reason = async |token: &str| {
            from_status(&call_with(&channel, path, Some(token), &mine).await.expect_err(path)).reason
        };
        assert_eq!(reason(&foreign).await, Reason::ProjectMismatch, "{path}");
        let verb = METHODS.iter().find(|(method, _)| method == path).unwrap().1;
        let others: Vec<Verb> = Verb::ALL.iter().copied().filter(|other| *other != verb).collect();
        assert_eq!(reason(&mint(&server, "mine", &others).await).await, Reason::VerbNotGranted, "{path}");
    }
    // The one that may; the token names its project by itself.
    call_with(&channel, "/remora.agent.v1.AgentService/GetInfo", Some(&all), &mine).await.unwrap();
    call_with(&channel, "/remora.agent.v1.AgentService/GetInfo", Some(&all), &[]).await.unwrap();
    // It is no key of the server.
    let status = call_with(&channel, "/remora.control.v1.ProjectService/List", Some(&all), &[]).await.unwrap_err();
    assert_eq!(from_status(&status).reason, Reason::CredentialsInvalid);

    // It goes on through another generation of its project.
    let mut projects = server.projects().await;
    let before = generation(&reach(&server, "mine", remora_proto::control::v1::Phase::Ready).await);
    projects.stop(StopProjectRequest { name: "mine".to_owned() }).await.unwrap();
    reach(&server, "mine", remora_proto::control::v1::Phase::Stopped).await;
    let info = "/remora.agent.v1.AgentService/GetInfo";
    let status = call_with(&channel, info, Some(&all), &mine).await.unwrap_err();
    assert_eq!(from_status(&status).reason, Reason::ProjectNotReady);
    projects.start(StartProjectRequest { name: "mine".to_owned() }).await.unwrap();
    let after = reach(&server, "mine", remora_proto::control::v1::Phase::Ready).await;
    assert!(generation(&after) > before);
    call_with(&channel, info, Some(&all), &mine).await.unwrap();
    call_with(&channel, info, Some(&server.key), &mine).await.unwrap();
}

/// A minted token holds its folder at the agent too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_a_folder_reads_there_alone() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    fs::create_dir(tree.join("in")).unwrap();
    for file in ["in/file", "out"] {
        fs::write(tree.join(file), file).unwrap();
    }
    let request = MintTokenRequest {
        project: "a".to_owned(),
        verbs: vec!["file.read".to_owned()],
        path_prefix: "in".to_owned(),
        ..MintTokenRequest::default()
    };
    let token = server.tokens().await.mint(request).await.unwrap().into_inner().token;
    let mut files = files(&server, &token, "a").await;
    let read = |path: &str| ReadRequest { path: path.as_bytes().to_vec().into(), ..ReadRequest::default() };
    // The folder is the whole world of such a token: paths count from it.
    assert_eq!(files.read(read("file")).await.unwrap().into_inner().data, &b"in/file"[..]);
    let mut reason = async |path| from_status(&files.read(read(path)).await.unwrap_err()).reason;
    assert_eq!(reason("out").await, Reason::NotFound);
    assert!(matches!(reason("../out").await, Reason::PathEscapesRoot | Reason::PathInvalid));
}

/// 32 MiB up and down through the server are the same bytes, and a viewer may not write them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_both_ways_unchanged() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let content: Vec<u8> = (0..32 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let head = WriteHead {
        path: b"large".to_vec().into(),
        condition: Some(write_request_condition()),
        ..WriteHead::default()
    };
    let messages = |content: &[u8]| {
        let mut messages = vec![WriteRequest { part: Some(write_request::Part::Head(head.clone())) }];
        messages.extend(
            content
                .chunks(1 << 20)
                .map(|chunk| WriteRequest { part: Some(write_request::Part::Data(chunk.to_vec().into())) }),
        );
        messages.push(WriteRequest { part: Some(write_request::Part::End(true)) });
        tokio_stream::iter(messages)
    };
    let mut admin = files(&server, &server.key, "a").await;
    let written = admin.write(messages(&content)).await.unwrap().into_inner();
    assert_eq!(written.size, content.len() as u64);
    assert!(fs::read(workspace(&server, &project).join("large")).unwrap() == content);
    assert!(archived(&mut admin, content.len()).await >= content.len());

    let key = CreateKeyRequest { name: "v".to_owned(), role: Role::Viewer.into(), projects: vec!["a".to_owned()] };
    let viewer = server.tokens().await.create_key(key).await.unwrap().into_inner().secret;
    let mut viewer = files(&server, &viewer, "a").await;
    let fault = from_status(&viewer.write(messages(b"x")).await.unwrap_err());
    assert_eq!((fault.reason, fault.effect), (Reason::RoleNotGranted, Effect::NotApplied));
    assert!(archived(&mut viewer, 0).await >= content.len(), "a viewer reads");
    server.check_log(&[]);
}

fn write_request_condition() -> remora_proto::agent::v1::write_head::Condition {
    remora_proto::agent::v1::write_head::Condition::Overwrite(true)
}

/// Bytes of the archive of everything.
async fn archived(files: &mut FileServiceClient<Authorised>, at_least: usize) -> usize {
    let mut chunks = files.archive_get(ArchiveGetRequest::default()).await.unwrap().into_inner();
    let mut bytes = 0;
    while let Some(chunk) = timeout(PATIENCE, chunks.message()).await.unwrap().unwrap() {
        bytes += prost::Message::encoded_len(&chunk);
    }
    assert!(bytes >= at_least);
    bytes
}

/// a033: streams that nobody reads hold back nobody else, on their own connection or
/// on others, though all share the one from the server to the agent and the one from
/// there to the shim; each costs a bounded amount of memory and none loses a byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a033_a_client_that_does_not_read_stalls_nobody() {
    const UNREAD: u64 = 40;
    const PRINTED: u64 = 24 << 20;
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    fs::write(workspace(&server, &project).join("file"), "x").unwrap();
    let mut commands = ExecServiceClient::new(server.authorised(&server.key, Some("a")).await);
    let script = format!("head -c {PRINTED} /dev/zero");
    let command = commands.start(StartRequest { command: Some(shell(&script)), ..StartRequest::default() });
    let id = command.await.unwrap().into_inner().id;
    let wait = WaitRequest { id: id.clone(), timeout_ms: 20_000, ..WaitRequest::default() };
    assert_eq!(commands.wait(wait).await.unwrap().into_inner().stdout.unwrap().head, PRINTED);

    let agent = agent_of(&server, &project);
    let before = [server.pid(), agent].map(resident);
    let attach = || AttachCommandRequest { id: id.clone(), ..AttachCommandRequest::default() };
    // Narrow streams on a wide connection, so that the last of them can still be read.
    let slow = server.windowed(&server.key, "a", 64 << 10, 16 << 20).await;
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(ExecServiceClient::new(slow.clone()).attach(attach()).await.unwrap().into_inner());
    }
    let stat = || StatRequest { paths: vec![b"file".to_vec().into()], ..StatRequest::default() };
    let mut same = FileServiceClient::new(slow.clone());
    for _ in 0..20 {
        let mut other = files(&server, &server.key, "a").await;
        timeout(PATIENCE, other.stat(stat())).await.expect("another connection goes on").unwrap();
        timeout(PATIENCE, same.stat(stat())).await.expect("their own connection goes on").unwrap();
    }
    let reader = commands.attach(attach()).await.unwrap().into_inner();
    assert_eq!(printed(reader).await, PRINTED, "one who reads gets everything");
    let run = RunRequest { command: Some(shell("echo hello")), ..RunRequest::default() };
    let ran = timeout(PATIENCE, commands.run(run)).await.expect("a command runs").unwrap().into_inner();
    assert!(format!("{ran:?}").contains("hello"), "{ran:?}");
    for (name, before, after) in [("server", before[0], resident(server.pid())), ("agent", before[1], resident(agent))]
    {
        let each = after.saturating_sub(before) / UNREAD;
        assert!(each <= 1 << 20, "the {name} keeps {each} bytes for each stream that nobody reads");
    }
    // And each of the others is whole once somebody reads it.
    assert_eq!(printed(unread.pop().unwrap()).await, PRINTED);
    server.check_log(&[]);
}

fn shell(script: &str) -> CommandSpec {
    let words = ["sh", "-c", script].map(str::to_owned).to_vec();
    CommandSpec { program: Some(command_spec::Program::Argv(Argv { words })), ..CommandSpec::default() }
}

/// Bytes of standard output up to the exit, without a gap.
async fn printed(mut frames: tonic::Streaming<CommandOutput>) -> u64 {
    let mut offset = 0;
    loop {
        let frame = timeout(PATIENCE, frames.message()).await.expect("the stream goes on").unwrap();
        match frame.expect("it ends with the exit").frame {
            Some(command_output::Frame::Data(data)) => {
                assert_eq!(data.offset, offset);
                offset += data.data.len() as u64;
            }
            Some(command_output::Frame::Exit(_)) => return offset,
            Some(command_output::Frame::Heartbeat(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Bytes of memory that a process has.
fn resident(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// A caller's deadline ends the call at both ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_stream() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let mut files = files(&server, &server.key, "a").await;
    let mut request = tonic::Request::new(watch());
    // As metadata, so that only the server knows of it and not our own client.
    request.metadata_mut().insert("grpc-timeout", "700m".parse().unwrap());
    let mut events = files.watch(request).await.unwrap().into_inner();
    let ended = async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    };
    let status = timeout(PATIENCE, ended).await.unwrap().expect_err("no clean end");
    assert_eq!(from_status(&status).reason, Reason::DeadlineExceeded);
}

/// Calls of one project are bounded, and those that a client gave up count no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_project_are_bounded_and_given_up_ones_are_over() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    fs::File::create(workspace(&server, &project).join("long")).unwrap().set_len(64 << 20).unwrap();
    let mut files = files(&server, &server.key, "a").await;
    let mut held = Vec::new();
    let refused = loop {
        match files.archive_get(ArchiveGetRequest::default()).await {
            Ok(stream) => held.push(stream),
            Err(status) => break from_status(&status),
        }
        assert!(held.len() <= 256, "no bound");
    };
    assert_eq!((refused.reason, refused.retryable()), (Reason::LimitReached, true));
    drop(held);
    let stat = || StatRequest { paths: vec![b"long".to_vec().into()], ..StatRequest::default() };
    eventually_told(async || files.stat(stat()).await.ok()).await;
}

/// kill -9 of an agent in the middle of a stream: the client hears of it, may
/// come back, and the project does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_agent_is_never_a_clean_end() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let mut files = files(&server, &server.key, "a").await;
    let mut events = files.watch(watch()).await.unwrap().into_inner();
    let agent = agent_of(&server, &project);
    let ended = async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    };
    kill_process(agent, Signal::KILL).unwrap();
    let status = timeout(PATIENCE, ended).await.unwrap().expect_err("no clean end");
    let fault = from_status(&status);
    assert_eq!((fault.reason, fault.effect, fault.retryable()), (Reason::Unavailable, Effect::MayHaveApplied, true));
    assert!(!fault.hint.is_empty());
    reach_where(&server, "a", |project| {
        project.status.as_ref().unwrap().phase() == remora_proto::control::v1::Phase::Ready
    })
    .await;
    let stat = || StatRequest { paths: vec![b"none".to_vec().into()], ..StatRequest::default() };
    eventually_told(async || match files.stat(stat()).await {
        Ok(_) => Some(()),
        Err(status) => {
            assert!(from_status(&status).retryable(), "{status}");
            None
        }
    })
    .await;
    assert_ne!(agent_of(&server, &project), agent);
}
