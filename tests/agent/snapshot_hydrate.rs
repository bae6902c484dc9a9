//! The roles around the containers' life: hydrate before it, dehydrate after it.

use std::fs;

use remora_proto::{
    agent::v1::{CreateSnapshotRequest, SnapshotInfo, create_snapshot_event::Event},
    fault::from_status,
    model::{Fault, Reason},
};
use remora_tests::{
    s3_server::{fresh_prefix, on_each_server},
    tree::{assert_same, record},
};

use crate::{
    snapshot_project::{Client, Project},
    snapshot_service::all,
};

/// Makes a snapshot over gRPC.
pub(crate) async fn create(client: &mut Client) -> Result<SnapshotInfo, Fault> {
    let stream = client.create(CreateSnapshotRequest::default()).await.map_err(|status| from_status(&status))?;
    match all(stream.into_inner()).await?.pop().and_then(|message| message.event) {
        Some(Event::Committed(info)) => Ok(info),
        other => panic!("{other:?}"),
    }
}

fn fill(project: &Project) {
    fs::create_dir_all(project.workspace().join("src/node_modules/x")).unwrap();
    fs::write(project.workspace().join("src/main.ts"), "console.log(1)").unwrap();
    fs::write(project.workspace().join("src/node_modules/x/index.js"), "x").unwrap();
}

/// what was acknowledged is there after every way of coming back.
#[tokio::test]
async fn a_workspace_goes_to_sleep_and_wakes_elsewhere() {
    on_each_server(async |server| {
        let first = Project::on(server, &fresh_prefix(), Some([4; 32]));
        let began = first.run("hydrate", 1, &[]).await;
        assert_eq!((began.code, began.message["outcome"].as_str()), (Some(0), Some("empty")), "{}", began.log);
        fill(&first);
        let slept = first.run("dehydrate", 1, &[]).await;
        assert_eq!((slept.code, slept.message["outcome"].as_str()), (Some(0), Some("committed")), "{}", slept.log);
        let id = slept.message["snapshot"]["id"].as_str().unwrap().to_owned();
        assert_eq!(slept.message["snapshot"]["root_blake3"].as_str().unwrap().len(), 64);
        let before = record(&first.workspace()).unwrap();

        let second = Project::on(server, first.prefix(), Some([4; 32]));
        let woke = second.run("hydrate", 2, &[]).await;
        assert_eq!((woke.code, woke.message["outcome"].as_str()), (Some(0), Some("restored")), "{}", woke.log);
        assert_eq!(woke.message["snapshot"]["id"].as_str(), Some(id.as_str()));
        assert_same(&before, &record(&second.workspace()).unwrap());

        // A crash of the pod: the volume is there, with what was not committed yet.
        fs::write(second.workspace().join("src/main.ts"), "console.log(2)").unwrap();
        let changed = record(&second.workspace()).unwrap();
        for generation in [2, 3, 3, 4] {
            let again = second.run("hydrate", generation, &[]).await;
            assert_eq!((again.code, again.message["outcome"].as_str()), (Some(0), Some("adopted")), "{}", again.log);
            assert_eq!(again.message["snapshot"]["id"].as_str(), Some(id.as_str()));
            assert_same(&changed, &record(&second.workspace()).unwrap());
        }
        // A crash in the middle of a restore: what is there is nothing.
        fs::write(second.state().join("restoring"), &id).unwrap();
        let refused = second.run("dehydrate", 4, &[]).await;
        assert_eq!((refused.code, refused.message["reason"].as_str()), (Some(69), Some("FAILED_PRECONDITION")));
        let repaired = second.run("hydrate", 4, &[]).await;
        assert_eq!(repaired.message["outcome"].as_str(), Some("restored"), "{}", repaired.log);
        assert_same(&before, &record(&second.workspace()).unwrap());
        assert!(!second.state().join("restoring").exists());

        // The first body comes from an older generation's snapshot that is the head still.
        fs::write(second.workspace().join("new"), "2").unwrap();
        let committed = second.run("dehydrate", 4, &[]).await;
        assert_eq!(committed.code, Some(0), "{}", committed.log);
        let newest = record(&second.workspace()).unwrap();
        fs::write(first.workspace().join("src/main.ts"), "stale").unwrap();
        let fenced = first.run("dehydrate", 1, &[]).await;
        assert_eq!(
            (fenced.code, fenced.message["reason"].as_str()),
            (Some(75), Some("LINEAGE_FENCED")),
            "{}",
            fenced.log
        );
        let fenced = first.run("hydrate", 3, &[]).await;
        assert_eq!(
            (fenced.code, fenced.message["reason"].as_str()),
            (Some(75), Some("LINEAGE_FENCED")),
            "{}",
            fenced.log
        );
        let taken = first.run("hydrate", 5, &[]).await;
        assert_eq!(taken.message["outcome"].as_str(), Some("restored"), "{}", taken.log);
        assert_same(&newest, &record(&first.workspace()).unwrap());
        let back = first.run("hydrate", 5, &[("--snapshot", &id)]).await;
        assert_eq!(back.message["outcome"].as_str(), Some("restored"), "{}", back.log);
        assert_same(&before, &record(&first.workspace()).unwrap());
    })
    .await;
}

/// a068: two agents on one lineage.
#[tokio::test]
async fn a068_the_stale_agent_is_refused_and_stops() {
    on_each_server(async |server| {
        let old = Project::on(server, &fresh_prefix(), None);
        let (_old_agent, mut stale) = old.serve().await;
        fill(&old);
        let first = create(&mut stale).await.unwrap();
        assert_eq!((first.sequence, first.files), (1, 2));
        let generation = old.pki.generation.0;
        let new = Project::on(server, old.prefix(), None);
        let woke = new.run("hydrate", generation + 1, &[]).await;
        assert_eq!(woke.message["outcome"].as_str(), Some("restored"), "{}", woke.log);

        fs::write(old.workspace().join("late"), vec![7; 300_000]).unwrap();
        for _ in 0..2 {
            let fault = create(&mut stale).await.unwrap_err();
            assert_eq!(fault.reason, Reason::LineageFenced, "{fault}");
        }
        fs::write(new.workspace().join("mine"), "newer").unwrap();
        let slept = new.run("dehydrate", generation + 1, &[]).await;
        assert_eq!(slept.code, Some(0), "{}", slept.log);
        let listed = stale.list(remora_proto::agent::v1::ListSnapshotsRequest::default()).await.unwrap().into_inner();
        let found: Vec<(u64, u64)> = listed.snapshots.iter().map(|one| (one.sequence, one.generation)).collect();
        assert_eq!(found, [(1, generation), (3, generation + 1)], "the claim is no snapshot, the late upload no head");
        let third = Project::on(server, old.prefix(), None);
        third.run("hydrate", generation + 2, &[]).await;
        assert_same(&record(&new.workspace()).unwrap(), &record(&third.workspace()).unwrap());
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_has_its_exit_code_and_changes_nothing() {
    let project = Project::at(&fresh_prefix(), Some([4; 32]));
    fill(&project);
    let before = record(&project.workspace()).unwrap();
    assert_eq!(project.run("dehydrate", 1, &[]).await.code, Some(0));
    let other = Project::at(project.prefix(), Some([5; 32]));
    let none = Project::at(project.prefix(), None);
    let unknown = "99-1-00000000000000000000000000000000";
    let cases = [
        (&project, "hydrate", vec![("--snapshot", "nonsense")], 64, "INVALID_ARGUMENT"),
        (&project, "hydrate", vec![("--snapshot", unknown)], 66, "NOT_FOUND"),
        (&other, "hydrate", vec![], 78, "KEY_WRONG"),
        (&none, "hydrate", vec![], 78, "KEY_MISSING"),
        (&none, "dehydrate", vec![], 78, "KEY_MISSING"),
    ];
    for (project, role, extra, code, reason) in cases {
        let ended = project.run(role, 1, &extra).await;
        let message = &ended.message;
        assert_eq!((ended.code, message["reason"].as_str()), (Some(code), Some(reason)), "{extra:?} {}", ended.log);
        assert_eq!(message["outcome"].as_str(), Some("failed"));
        assert!(!message["message"].as_str().unwrap().is_empty());
    }
    assert_same(&before, &record(&project.workspace()).unwrap());
    assert!(fs::read_dir(other.workspace()).unwrap().next().is_none());
}

/// a074: a restore that was killed keeps the agent from being ready.
#[tokio::test]
async fn a074_a_half_restored_workspace_is_not_ready_and_makes_no_snapshot() {
    let project = Project::new();
    let (agent, mut client) = project.serve().await;
    fill(&project);
    create(&mut client).await.unwrap();
    let before = record(&project.workspace()).unwrap();
    drop(agent);
    fs::remove_file(project.workspace().join("src/main.ts")).unwrap();
    fs::write(project.state().join("restoring"), "1-3-00").unwrap();
    let (agent, mut client) = project.serve().await;
    assert_eq!(ready(&agent).await, "restoring\n");
    let fault = create(&mut client).await.unwrap_err();
    assert_eq!(fault.reason, Reason::FailedPrecondition, "{fault}");
    let request = remora_proto::agent::v1::RestoreSnapshotRequest::default();
    all(client.restore(request).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(ready(&agent).await, "ok\n");
    assert_same(&before, &record(&project.workspace()).unwrap());
    create(&mut client).await.unwrap();
}

async fn ready(agent: &remora_tests::agent::AgentProcess) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(agent.metrics).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// a075: SIGTERM in the middle. Nothing half done is taken for whole.
#[tokio::test]
async fn a075_a_role_that_is_told_to_stop_leaves_nothing_half_done() {
    let project = Project::new();
    assert_eq!(project.run("hydrate", 1, &[]).await.code, Some(0));
    for number in 0..3_000 {
        let folder = project.workspace().join(format!("d{}", number / 100));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), format!("{number}").repeat(200)).unwrap();
    }
    let before = record(&project.workspace()).unwrap();
    let interrupted = interrupt(&project, "dehydrate", 1).await;
    let lineage = remora_agent_snapshot::Lineage::open(project.store().await, None, 9).await.unwrap();
    match interrupted.message["outcome"].as_str() {
        Some("failed") => {
            assert_eq!(interrupted.message["reason"].as_str(), Some("CANCELLED"), "{}", interrupted.log);
            assert!(lineage.newest_snapshot().await.unwrap().is_none(), "nothing partial is head");
        }
        // It was done before the signal came.
        outcome => assert_eq!(outcome, Some("committed"), "{}", interrupted.log),
    }
    assert_eq!(project.run("dehydrate", 1, &[]).await.code, Some(0));
    let other = Project::at(project.prefix(), None);
    let interrupted = interrupt(&other, "hydrate", 2).await;
    let whole = record(&other.workspace()).unwrap() == before;
    let (flag, origin) = (other.state().join("restoring").exists(), other.state().join("origin.json").exists());
    assert!(whole || flag || other.workspace().read_dir().unwrap().next().is_none(), "{}", interrupted.log);
    assert!(!origin || (whole && !flag), "{}", interrupted.log);
    let woke = other.run("hydrate", 2, &[]).await;
    assert_eq!(woke.code, Some(0), "{}", woke.log);
    assert_same(&before, &record(&other.workspace()).unwrap());
}

/// Runs a role that gets SIGTERM as soon as it says that it has started.
async fn interrupt(project: &Project, role: &str, generation: u64) -> crate::snapshot_project::Ended {
    use tokio::io::AsyncReadExt as _;
    let mut child = project.start(role, remora_proto::model::Generation(generation), &[]);
    let mut log = child.stderr.take().unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 4_096]);
    while !String::from_utf8_lossy(&said).contains("started") {
        let read = log.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..read]);
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    log.read_to_end(&mut said).await.unwrap();
    let status = child.wait().await.unwrap();
    project.ended(&std::process::Output { status, stdout: Vec::new(), stderr: said })
}

/// A project that begins from an archive; cut short, it begins again.
#[tokio::test]
async fn a_seed_fills_a_blank_workspace_once() {
    let project = Project::new();
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("src")).unwrap();
    fs::write(source.path().join("src/main.ts"), "seed").unwrap();
    let seed = project.folder.path().join("seed.tar");
    let packed = std::process::Command::new("tar").arg("-cf").arg(&seed).arg("-C").arg(source.path()).arg(".").status();
    assert!(packed.unwrap().success());
    let whole = fs::read(&seed).unwrap();
    fs::write(&seed, &whole[..700]).unwrap();
    let extra = [("--seed", seed.to_str().unwrap())];
    let cut = project.run("hydrate", 1, &extra).await;
    assert_eq!(cut.message["outcome"].as_str(), Some("failed"), "{}", cut.log);
    fs::write(&seed, &whole).unwrap();
    let seeded = project.run("hydrate", 1, &extra).await;
    assert_eq!((seeded.code, seeded.message["outcome"].as_str()), (Some(0), Some("seeded")), "{}", seeded.log);
    assert_eq!(fs::read(project.workspace().join("src/main.ts")).unwrap(), b"seed");
    fs::write(project.workspace().join("src/main.ts"), "mine").unwrap();
    let again = project.run("hydrate", 1, &extra).await;
    assert_eq!(again.message["outcome"].as_str(), Some("adopted"), "{}", again.log);
    assert_eq!(fs::read(project.workspace().join("src/main.ts")).unwrap(), b"mine");
    let missing = Project::new().run("hydrate", 1, &[("--seed", "/nowhere.tar")]).await;
    assert_eq!((missing.code, missing.message["reason"].as_str()), (Some(66), Some("NOT_FOUND")), "{}", missing.log);
}
