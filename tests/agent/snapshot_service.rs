//! SnapshotService of a real agent on a real store: reading what is there.

use std::fs;

use remora_agent_snapshot::format::{Entry, Node};
use remora_proto::{
    agent::v1::{
        CancelSnapshotOperationRequest, CreateSnapshotRequest, DiffSnapshotsRequest, GetSnapshotRequest,
        ListSnapshotsRequest, PruneSnapshotsRequest, RestoreSnapshotRequest, VerifySnapshotRequest,
        restore_snapshot_event::Event, snapshot_difference::Change, verify_snapshot_event,
    },
    fault::from_status,
    model::{Fault, Reason},
};
use remora_tests::{
    agent::{AgentProcess, PATIENCE},
    tree::record,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::{
    snapshot_author::{Author, entry, file, symlink, top},
    snapshot_project::{Client, Project},
};

/// All of a stream.
pub(crate) async fn all<T>(mut stream: Streaming<T>) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    while let Some(message) =
        timeout(PATIENCE, stream.message()).await.expect("the stream goes on").map_err(|status| from_status(&status))?
    {
        found.push(message);
    }
    Ok(found)
}

fn fault<T: std::fmt::Debug>(result: Result<T, Status>) -> Fault {
    from_status(&result.unwrap_err())
}

async fn restore(client: &mut Client, snapshot: &str) -> Result<Vec<Event>, Fault> {
    let request = RestoreSnapshotRequest { snapshot: snapshot.to_owned(), consistency: 0 };
    let stream = client.restore(request).await.map_err(|status| from_status(&status))?.into_inner();
    Ok(all(stream).await?.into_iter().filter_map(|message| message.event).collect())
}

/// Two snapshots: what is in `first` and not in `second`, and the other way round.
async fn two(project: &Project) -> Vec<String> {
    let mut author = Author::new(project.store().await, None).await;
    let contents: &[&[u8]] = &[b"one", b"two!"];
    let dir = || entry("dir", Node::Directory);
    let first = vec![top(), dir(), file("dir/a", &[(0, 3)]), file("dir/gone", &[(0, 3)]), symlink("link", "dir/a")];
    let second = vec![
        top(),
        dir(),
        file("dir/a", &[(1, 4)]),
        Entry { mode: 0o600, ..file("dir/new", &[(0, 3)]) },
        Entry { mode: 0o777, ..symlink("link", "dir/new") },
    ];
    let mut ids = Vec::new();
    for entries in [first, second] {
        ids.push(author.snapshot(entries, contents).await.unwrap().root.id.to_string());
    }
    ids
}

#[tokio::test]
async fn what_is_in_the_store_is_listed_restored_compared_and_checked() {
    let project = Project::new();
    let ids = two(&project).await;
    fs::write(project.workspace().join("mine"), "goes").unwrap();
    let (agent, mut client) = project.serve().await;

    let page = |page_token: &str| ListSnapshotsRequest { page_size: 1, page_token: page_token.to_owned() };
    let listed = client.list(page("")).await.unwrap().into_inner();
    assert_eq!((listed.snapshots.len(), &listed.snapshots[0].id), (1, &ids[0]));
    let rest = client.list(page(&listed.next_page_token)).await.unwrap().into_inner();
    assert_eq!((rest.snapshots.len(), &rest.snapshots[0].id, rest.next_page_token.as_str()), (1, &ids[1], ""));
    let newest = client.get(GetSnapshotRequest::default()).await.unwrap().into_inner();
    assert_eq!((&newest.id, newest.root_blake3.len()), (&ids[1], 32));
    let unknown = GetSnapshotRequest { snapshot: format!("9{}", ids[1]) };
    assert_eq!(fault(client.get(unknown).await).reason, Reason::NotFound);

    let events = restore(&mut client, &ids[0]).await.unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Usable(_))), "{events:?}");
    let Some(Event::Done(done)) = events.last() else { panic!("{events:?}") };
    assert_eq!((done.snapshot.as_ref().unwrap().id.as_str(), done.entries_removed), (ids[0].as_str(), 1));
    assert_eq!(fs::read(project.workspace().join("dir/gone")).unwrap(), b"one");
    assert!(!project.workspace().join("mine").exists());
    let first = record(&project.workspace()).unwrap();

    let diff = async |client: &mut Client, from: &str, to: &str| {
        let request = DiffSnapshotsRequest { from: from.to_owned(), to: to.to_owned() };
        let batches = all(client.diff(request).await.unwrap().into_inner()).await.unwrap();
        let found = batches.into_iter().flat_map(|batch| batch.differences);
        found.map(|one| (String::from_utf8(one.path.to_vec()).unwrap(), one.change())).collect::<Vec<_>>()
    };
    let expected = [
        ("dir/a".to_owned(), Change::Content),
        ("dir/gone".to_owned(), Change::Removed),
        ("dir/new".to_owned(), Change::Added),
        ("link".to_owned(), Change::Content),
    ];
    assert_eq!(diff(&mut client, &ids[0], &ids[1]).await, expected);
    assert_eq!(diff(&mut client, &ids[0], "").await, []);
    restore(&mut client, "").await.unwrap();
    assert_eq!(diff(&mut client, &ids[0], "").await, expected);
    assert_eq!(diff(&mut client, "", "").await, []);
    fs::set_permissions(project.workspace().join("dir/new"), std::os::unix::fs::PermissionsExt::from_mode(0o640))
        .unwrap();
    assert_eq!(diff(&mut client, "", "").await, [("dir/new".to_owned(), Change::Metadata)]);
    restore(&mut client, &ids[0]).await.unwrap();
    remora_tests::tree::assert_same(&first, &record(&project.workspace()).unwrap());

    for read_contents in [false, true] {
        let request = VerifySnapshotRequest { snapshot: ids[0].clone(), read_contents };
        let events = all(client.verify(request).await.unwrap().into_inner()).await.unwrap();
        let Some(verify_snapshot_event::Event::Done(summary)) = events.last().unwrap().event.clone() else {
            panic!("{events:?}");
        };
        assert_eq!((summary.objects, summary.damages), (3, 0));
    }
    let store = project.store().await;
    let pack = store.list("packs/", None).await.unwrap().objects.remove(0);
    let mut bytes = store.get(&pack.key, None).await.unwrap().to_vec();
    bytes[9] ^= 1;
    store.put(&pack.key, bytes.into(), remora_agent_snapshot::store::PutCondition::Always).await.unwrap();
    let mut damages = Vec::new();
    for id in &ids {
        let request = VerifySnapshotRequest { snapshot: id.clone(), read_contents: true };
        for event in all(client.verify(request).await.unwrap().into_inner()).await.unwrap() {
            match event.event {
                Some(verify_snapshot_event::Event::Damage(damage)) => damages.push(damage),
                Some(verify_snapshot_event::Event::Done(done)) => assert_eq!(done.damages as usize, damages.len()),
                _ => {}
            }
        }
        if let Some(damage) = damages.pop() {
            assert_eq!(damage.object_key, pack.key);
            assert!(!damage.paths.is_empty());
            break;
        }
    }

    let none = client.cancel(CancelSnapshotOperationRequest {}).await.unwrap().into_inner();
    assert!(!none.was_running);
    drop(agent);
}

#[tokio::test]
async fn pruning_keeps_the_newest_and_hides_the_rest_at_once() {
    let project = Project::new();
    let ids = two(&project).await;
    let (_agent, mut client) = project.serve().await;
    let objects = async || project.store().await.list("", None).await.unwrap().objects.len();
    let before = objects().await;
    let dry = PruneSnapshotsRequest { keep_last: 1, dry_run: true, ..Default::default() };
    let said = client.prune(dry.clone()).await.unwrap().into_inner();
    assert_eq!((said.removed, said.kept), (vec![ids[0].clone()], 1));
    assert_eq!(objects().await, before);
    let done = client.prune(PruneSnapshotsRequest { dry_run: false, ..dry }).await.unwrap().into_inner();
    assert_eq!((done.removed, done.kept, done.objects_removed), (vec![ids[0].clone()], 1, 0));
    let listed = client.list(ListSnapshotsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.snapshots.into_iter().map(|one| one.id).collect::<Vec<_>>(), [ids[1].clone()]);
    assert_eq!(restore(&mut client, &ids[0]).await.unwrap_err().reason, Reason::NotFound);
    restore(&mut client, &ids[1]).await.unwrap();
    assert_eq!(fault(client.prune(PruneSnapshotsRequest::default()).await).reason, Reason::InvalidArgument);
}

#[tokio::test]
async fn without_a_store_every_call_names_what_is_missing() {
    let project = Project::new();
    let agent = AgentProcess::start(&project.pki).await;
    let mut client = project.client(&agent).await;
    let faults = [
        fault(client.create(CreateSnapshotRequest::default()).await),
        fault(client.restore(RestoreSnapshotRequest::default()).await),
        fault(client.list(ListSnapshotsRequest::default()).await),
        fault(client.get(GetSnapshotRequest::default()).await),
        fault(client.diff(DiffSnapshotsRequest::default()).await),
        fault(client.verify(VerifySnapshotRequest::default()).await),
        fault(client.prune(PruneSnapshotsRequest { keep_last: 1, ..Default::default() }).await),
        fault(client.cancel(CancelSnapshotOperationRequest {}).await),
    ];
    for fault in faults {
        assert_eq!(fault.reason, Reason::FailedPrecondition, "{fault}");
        for flag in ["--s3-bucket", "--workspace", "--state-dir"] {
            assert!(fault.message.contains(flag), "{fault}");
        }
    }
}
