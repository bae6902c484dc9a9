//! Projects that nobody uses, with real agents and short times: what counts as use, and
//! what happens where nothing does.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use remora_control_plane_runtime::AgentHandle;
use remora_proto::agent::v1::{
    Argv, CommandSpec, OpenTerminalRequest, StartRequest, WriteTerminalRequest, command_spec,
    exec_service_client::ExecServiceClient, terminal_service_client::TerminalServiceClient,
};
use remora_proto_model::{
    ProjectId, Verb,
    project::{ConditionType, Container, Desired, Idle, IdleAction, Phase, Project, ProjectPatch, ProjectSpec},
};
use remora_tests::{
    seaweed::{fresh_prefix, seaweed},
    store_way::Way,
};
use tokio::time::{Instant, interval};
use tonic::Request;

use crate::rig::{Rig, condition, endpoint, process_of, shell};

/// Seconds without use: the least that is taken.
const AFTER: u32 = 5;
/// More of them, where a test has to be in time on a machine that is short of processors.
const LONG: u32 = 20;
/// So many that nothing happens before a test sets others.
const NEVER: u32 = 3_600;

async fn project(rig: &Rig, script: &str, after_seconds: u32, action: IdleAction) -> Project {
    let container = match script {
        "" => Container { command: Vec::new(), ..shell("") },
        script => shell(script),
    };
    let idle = Some(Idle { after_seconds, action });
    let spec = ProjectSpec { containers: vec![container], idle, ..ProjectSpec::default() };
    rig.projects.create("idle".parse().unwrap(), spec).await.unwrap()
}

/// Sets them while it runs.
async fn set(rig: &Rig, id: ProjectId, after_seconds: u32, action: IdleAction) {
    let idle = Some(Idle { after_seconds, action });
    rig.projects.patch(id, ProjectPatch { idle, ..ProjectPatch::default() }).await.unwrap();
}

/// One that does nothing by itself, once it serves.
async fn still(rig: &Rig, after_seconds: u32, action: IdleAction) -> ProjectId {
    let id = project(rig, "", after_seconds, action).await.id;
    rig.becomes(id, |project| project.status.phase.serves()).await;
    id
}

fn authorised<T>(agent: &AgentHandle, verb: Verb, message: T) -> Request<T> {
    let token = agent.token("test", &[verb], None, None, Duration::from_secs(60)).unwrap().token;
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn argv(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// A terminal of `script`; its id.
async fn open(agent: &AgentHandle, script: &str) -> String {
    let request = OpenTerminalRequest { argv: argv(script), ..OpenTerminalRequest::default() };
    let mut client = TerminalServiceClient::new(agent.channel.clone());
    client.open(authorised(agent, Verb::TerminalWrite, request)).await.unwrap().into_inner().id
}

async fn type_into(agent: &AgentHandle, id: &str) -> Result<(), tonic::Status> {
    let request = WriteTerminalRequest { id: id.to_owned(), data: "x\n".into(), ..WriteTerminalRequest::default() };
    let mut client = TerminalServiceClient::new(agent.channel.clone());
    client.write(authorised(agent, Verb::TerminalWrite, request)).await.map(drop)
}

/// Milliseconds since the epoch.
fn now_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

/// It sleeps by itself, says why, has all its files when it wakes, and sleeps again.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_nobody_uses_hibernates_and_wakes_whole() {
    let rig = Rig::new().await;
    let id = still(&rig, NEVER, IdleAction::Hibernate).await;
    fs::write(rig.workspace(id).join("file"), "kept").unwrap();
    set(&rig, id, AFTER, IdleAction::Hibernate).await;
    for round in 1..=2 {
        let asleep = rig.reaches(id, Phase::Hibernated).await;
        assert_eq!((asleep.spec.desired, asleep.status.generation.0), (Desired::Hibernated, round));
        let said = condition(&asleep, ConditionType::Idle).expect("it says why it sleeps");
        assert_eq!(
            (said.reason.as_str(), said.message.as_str()),
            ("NOT_USED", "nobody used it for 5 s, so it hibernates")
        );
        assert!(asleep.status.last_activity_ms > 0);
        assert_eq!(process_of(&rig.data(), "shim"), Vec::<i32>::new());
        assert!(!rig.workspace(id).exists());

        set(&rig, id, NEVER, IdleAction::Hibernate).await;
        let woken = rig.wants(id, Desired::Running, Phase::Ready).await;
        assert_eq!(fs::read_to_string(rig.workspace(id).join("file")).unwrap(), "kept");
        assert!(condition(&woken, ConditionType::Idle).is_none(), "{:#?}", woken.status);
        set(&rig, id, AFTER, IdleAction::Hibernate).await;
    }
}

/// The action None tells of it and does nothing, and Stop keeps the files where they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_action_is_what_the_spec_says() {
    let rig = Rig::new().await;
    let id = still(&rig, AFTER, IdleAction::None).await;
    let idle = rig.reaches(id, Phase::Idle).await;
    assert_eq!(idle.spec.desired, Desired::Running);
    assert_eq!(condition(&idle, ConditionType::Idle).unwrap().message, "nobody used it for 5 s");
    // It serves, and what is done there shows.
    let agent = rig.projects.agent(id).await.unwrap();
    let terminal = open(&agent, "cat").await;
    rig.reaches(id, Phase::Ready).await;
    rig.reaches(id, Phase::Idle).await;
    type_into(&agent, &terminal).await.unwrap();
    rig.reaches(id, Phase::Ready).await;
    // Who asks for it to run uses it too.
    rig.reaches(id, Phase::Idle).await;
    rig.projects.set_desired(id, Desired::Running).await.unwrap();
    rig.reaches(id, Phase::Ready).await;

    set(&rig, id, AFTER, IdleAction::Stop).await;
    rig.reaches(id, Phase::Stopped).await;
    assert!(rig.workspace(id).exists());
}

/// A command that says nothing and takes no processor time is work all the same. Where
/// it were ended, what it does at its end would be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_is_use_until_it_ends() {
    let rig = Rig::new().await;
    let id = still(&rig, NEVER, IdleAction::Hibernate).await;
    let agent = rig.projects.agent(id).await.unwrap();
    let program = Some(command_spec::Program::Argv(Argv { words: argv("sleep 12; echo done >done") }));
    let command = Some(CommandSpec { program, ..CommandSpec::default() });
    let request = StartRequest { command, ..StartRequest::default() };
    ExecServiceClient::new(agent.channel.clone()).start(authorised(&agent, Verb::ExecWrite, request)).await.unwrap();
    set(&rig, id, AFTER, IdleAction::Hibernate).await;
    rig.reaches(id, Phase::Hibernated).await;
    set(&rig, id, NEVER, IdleAction::Hibernate).await;
    rig.wants(id, Desired::Running, Phase::Ready).await;
    assert_eq!(fs::read_to_string(rig.workspace(id).join("done")).unwrap(), "done\n");
}

/// So is a build, in a terminal that nobody watches or as the container's own command.
#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_use() {
    let rig = Rig::new().await;
    let build =
        "end=$(($(date +%s)+40)); while [ $(date +%s) -lt $end ]; do :; done; echo done >done; exec sleep 100000";
    // On a machine that is short of processors two looks have to see that it wants one.
    let id = project(&rig, build, LONG, IdleAction::Hibernate).await.id;
    rig.reaches(id, Phase::Hibernated).await;
    set(&rig, id, NEVER, IdleAction::Hibernate).await;
    rig.wants(id, Desired::Running, Phase::Ready).await;
    assert_eq!(fs::read_to_string(rig.workspace(id).join("done")).unwrap(), "done\n");
}

/// A terminal is used by who types into it. One that is open, and one that prints by
/// itself, keep nothing awake.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_terminal_alone_is_no_use() {
    let rig = Rig::new().await;
    let id = still(&rig, LONG, IdleAction::Hibernate).await;
    let agent = rig.projects.agent(id).await.unwrap();
    open(&agent, "while sleep 1; do echo tick; done").await;
    let typed_into = open(&agent, "cat").await;
    let began = Instant::now();
    // The rhythm of somebody who types for longer than that.
    let mut keys = interval(Duration::from_secs(1));
    let mut typed = now_ms();
    while began.elapsed() < Duration::from_secs(u64::from(LONG + AFTER)) {
        keys.tick().await;
        let before = now_ms();
        let taken = type_into(&agent, &typed_into).await;
        let awake = rig.projects.get(id).unwrap().spec.desired == Desired::Running;
        // On a machine that stood still nobody typed for that long, and then it ends rightly.
        if taken.is_err() || !awake {
            let silent = now_ms() - typed;
            assert!(silent >= u128::from(LONG) * 1_000, "it ended {silent} ms after a key: {taken:?}");
            break;
        }
        typed = before;
    }
    let asleep = rig.reaches(id, Phase::Hibernated).await;
    // A millisecond may be lost where each of the two clocks is rounded.
    let last = u128::from(asleep.status.last_activity_ms) + 1;
    assert!(last >= typed, "used at {last}, typed at {typed}");
}

/// Until its processes are to end, use calls the end off, and nothing of it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn use_before_the_end_calls_it_off() {
    let prefix = fresh_prefix();
    seaweed().store(&prefix).await.unwrap().list("", None).await.unwrap();
    let way = Way::new(&seaweed().endpoint).await;
    let rig = Rig::over(endpoint(&way.url, &prefix)).await;
    let id = still(&rig, NEVER, IdleAction::Hibernate).await;
    let agent = rig.projects.agent(id).await.unwrap();
    let terminal = open(&agent, "cat").await;
    let processes = process_of(&rig.data(), "shim");
    // What it has not is there to be saved.
    fs::write(rig.workspace(id).join("file"), "new").unwrap();
    way.open(false);
    set(&rig, id, AFTER, IdleAction::Hibernate).await;
    rig.becomes(id, |project| condition(project, ConditionType::HibernateBlocked).is_some()).await;
    assert_eq!(rig.projects.get(id).unwrap().spec.desired, Desired::Hibernated);
    type_into(&agent, &terminal).await.unwrap();
    let awake = rig.becomes(id, |project| project.spec.desired == Desired::Running).await;
    assert_eq!(awake.status.generation.0, 1);
    set(&rig, id, NEVER, IdleAction::Hibernate).await;
    let ready = rig.reaches(id, Phase::Ready).await;
    assert!(condition(&ready, ConditionType::HibernateBlocked).is_none(), "{:#?}", ready.status);
    assert_eq!(process_of(&rig.data(), "shim"), processes);

    // An end that somebody asks for is another thing: use does not call it off.
    rig.projects.set_desired(id, Desired::Hibernated).await.unwrap();
    rig.becomes(id, |project| condition(project, ConditionType::HibernateBlocked).is_some()).await;
    type_into(&agent, &terminal).await.unwrap();
    way.open(true);
    let asleep = rig.reaches(id, Phase::Hibernated).await;
    assert!(condition(&asleep, ConditionType::Idle).is_none(), "{:#?}", asleep.status);
}

/// Who is connected to a port from elsewhere uses the project, for as long as that.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_is_use() {
    // The address that this machine has beside loopback, in whose table all of it is.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("192.0.2.1:9").unwrap();
    let listener = tokio::net::TcpListener::bind((probe.local_addr().unwrap().ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(!address.ip().is_loopback(), "this machine has no other address");

    let rig = Rig::new().await;
    let container = Container {
        command: Vec::new(),
        ports: vec![remora_proto_model::project::Port::named("http", address.port())],
        ..shell("")
    };
    let idle = Some(Idle { after_seconds: LONG, action: IdleAction::Hibernate });
    let spec = ProjectSpec { containers: vec![container], idle, ..ProjectSpec::default() };
    let client = tokio::net::TcpStream::connect(address).await.unwrap();
    let server = listener.accept().await.unwrap();
    let id = rig.projects.create("idle".parse().unwrap(), spec).await.unwrap().id;
    rig.becomes(id, |project| project.status.phase.serves()).await;
    let began = Instant::now();
    rig.becomes(id, |project| {
        assert_eq!(project.spec.desired, Desired::Running);
        began.elapsed() > Duration::from_secs(u64::from(LONG + 2 * AFTER))
    })
    .await;
    drop((client, server));
    rig.reaches(id, Phase::Hibernated).await;
}

/// An agent that stands still does not say whether it is used, and that is not idle.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_is_not_idle() {
    use rustix::process::{Pid, Signal, kill_process};

    let rig = Rig::new().await;
    let id = still(&rig, LONG, IdleAction::Hibernate).await;
    let agent = Pid::from_raw(process_of(&rig.data(), "serve")[0]).unwrap();
    kill_process(agent, Signal::STOP).unwrap();
    let unknown = |project: &Project| {
        project.status.conditions.iter().any(|there| there.kind == ConditionType::Idle && there.reason == "USE_UNKNOWN")
    };
    let told = rig.becomes(id, unknown).await;
    assert_eq!(told.spec.desired, Desired::Running);
    // Long after the time is over, too.
    let began = Instant::now();
    rig.becomes(id, |project| {
        assert_eq!(project.spec.desired, Desired::Running);
        began.elapsed() > Duration::from_secs(15)
    })
    .await;
    kill_process(agent, Signal::CONT).unwrap();
    rig.reaches(id, Phase::Hibernated).await;
}

/// A server that begins neither ends at once what was used a moment ago, nor waits all
/// the time again: it goes by what the agents say.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_begins_loses_no_time_and_takes_none() {
    let mut rig = Rig::new().await;
    let id = still(&rig, 30, IdleAction::Hibernate).await;
    let used = rig.projects.get(id).unwrap().status.last_activity_ms;
    rig.becomes(id, |_| now_ms() > u128::from(used) + 20_000).await;
    rig.reopen().await;
    let began = Instant::now();
    let awake = rig.becomes(id, |project| project.status.phase.serves()).await;
    assert_eq!(awake.spec.desired, Desired::Running);
    rig.becomes(id, |project| project.spec.desired == Desired::Hibernated).await;
    let (all, since) = (now_ms() - u128::from(used), began.elapsed());
    assert!(all >= 30_000, "after {all} ms");
    assert!(since < Duration::from_secs(28), "it began to count anew: {since:?}");
}
