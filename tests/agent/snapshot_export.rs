//! Export: a snapshot as a tar, from the store alone.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use remora_agent_snapshot::format::Node;
use remora_proto::{
    agent::v1::{ArchiveFormat, ArchiveSummary, ExportSnapshotRequest, archive_chunk::Part},
    fault::from_status,
    model::{Fault, Reason, Verb},
};
use remora_tests::{
    agent::AgentProcess,
    s3_server::{fresh_prefix, on_each_server},
    tree::{assert_same, record},
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use tonic::{Code, Request};

use crate::{
    snapshot_author::{Author, entry, file, top},
    snapshot_hydrate::create,
    snapshot_project::{Client, Project},
    snapshot_round_trip::set_time,
    snapshot_service::all,
};

/// The archive, and what its last message says.
async fn export(
    client: &mut Client,
    snapshot: &str,
    format: ArchiveFormat,
) -> Result<(Vec<u8>, ArchiveSummary), Fault> {
    let request = ExportSnapshotRequest { snapshot: snapshot.to_owned(), format: format.into() };
    let stream = client.export(request).await.map_err(|status| from_status(&status))?.into_inner();
    let (mut bytes, mut done) = (Vec::new(), None);
    for chunk in all(stream).await? {
        match chunk.part {
            Some(Part::Data(data)) => {
                assert!(done.is_none() && data.len() <= 1 << 20);
                bytes.extend_from_slice(&data);
            }
            Some(Part::Done(summary)) => done = Some(summary),
            None => panic!("an empty message"),
        }
    }
    Ok((bytes, done.expect("the last message is the summary")))
}

/// What another program makes of the archive.
fn unpack(tar: &[u8], into: &Path) {
    let mut command = Command::new("tar");
    command.args(["--extract", "--preserve-permissions", "--xattrs", "--xattrs-include=user.*", "--file=-"]);
    let mut child = command.arg("--directory").arg(into).stdin(Stdio::piped()).spawn().expect("tar runs");
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
}

fn plant(tree: &Path) {
    let at = |name: &str| tree.join(name);
    fs::create_dir_all(at("src/deep")).unwrap();
    fs::create_dir_all(at("node_modules/x")).unwrap();
    for number in 0..200_u32 {
        fs::write(at(&format!("src/deep/{number}")), number.to_string().repeat(number as usize)).unwrap();
    }
    let noise: Vec<u8> = (0..3_000_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(at("large"), noise).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("node_modules/x/index.js"), "derived").unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.write_all_at(b"island", 3 << 20).unwrap();
    sparse.set_len(5 << 20).unwrap();
    fs::set_permissions(at("src/deep/7"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(at("src/deep/9"), at("src/nine")).unwrap();
    symlink("src/deep/9", at("link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    setxattr(at("large"), "user.note", b"x\0=%y", XattrFlags::empty()).unwrap();
    setxattr(at("src"), "user.note", b"folder", XattrFlags::empty()).unwrap();
    fs::write(at(&"n".repeat(200)), "a long name").unwrap();
    fs::write(at("umlaut-\u{e4}"), "text").unwrap();
    set_time(&at("large"), 4_102_444_800, 123_456_789);
    set_time(&at("empty"), -12_345, 999_999_999);
    fs::set_permissions(at("src/deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    set_time(&at("src/deep"), 1_000_000_000, 7);
}

/// Whatever the workspace is by now, the archive is the snapshot, for any tar.
#[tokio::test]
async fn a_snapshot_becomes_an_archive_that_unpacks_to_the_same_tree() {
    on_each_server(async |server| {
        let project = Project::on(server, &fresh_prefix(), Some([4; 32]));
        plant(&project.workspace());
        let before = record(&project.workspace()).unwrap();
        mknodat(CWD, project.workspace().join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let (_agent, mut client) = project.serve().await;
        let first = create(&mut client).await.unwrap().id;
        fs::remove_dir_all(project.workspace().join("src")).unwrap();
        fs::write(project.workspace().join("large"), "other").unwrap();
        create(&mut client).await.unwrap();

        let (tar, summary) = export(&mut client, &first, ArchiveFormat::Tar).await.unwrap();
        let back = tempfile::tempdir().unwrap();
        unpack(&tar, back.path());
        let mut after = record(back.path()).unwrap();
        // The folder itself is not in the archive.
        after.insert("".into(), before[Path::new("")].clone());
        assert_same(&before, &after);
        assert_eq!((summary.entries, summary.skipped), (before.len() as u64 - 1, 1), "{summary:?}");

        let (packed, again) = export(&mut client, &first, ArchiveFormat::TarZstd).await.unwrap();
        assert_eq!(again, summary);
        assert!(packed.len() < tar.len(), "{} of {}", packed.len(), tar.len());
        let mut unpacking = Command::new("zstd");
        let mut unpacking = unpacking.args(["-dc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = unpacking.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || input.write_all(&packed).unwrap());
        assert!(unpacking.wait_with_output().unwrap().stdout == tar, "another tar");
        feeding.join().unwrap();

        let (_, newest) = export(&mut client, "", ArchiveFormat::Tar).await.unwrap();
        assert!(newest.entries < summary.entries);
        let unknown = export(&mut client, &format!("9{first}"), ArchiveFormat::Tar).await.unwrap_err();
        assert_eq!(unknown.reason, Reason::NotFound);
    })
    .await;
}

/// Whoever may see which snapshots there are may not see what is in them.
#[tokio::test]
async fn a_token_for_a_folder_or_without_files_takes_nothing_away() {
    let project = Project::new();
    fs::write(project.workspace().join("a"), "secret").unwrap();
    let (agent, mut client) = project.serve().await;
    create(&mut client).await.unwrap();
    let mut capability = project.pki.capability(&[Verb::SnapshotRead, Verb::FileRead]);
    let refusal = async |agent: &AgentProcess, capability| {
        let mut client = project.client_with(agent, &capability).await;
        export(&mut client, "", ArchiveFormat::Tar).await.map(|(tar, _)| tar.len()).map_err(|fault| fault.reason)
    };
    assert!(refusal(&agent, capability.clone()).await.unwrap() > 0);
    capability.path_prefix = Some("src".to_owned().try_into().unwrap());
    assert_eq!(refusal(&agent, capability).await, Err(Reason::PathNotGranted));
    for verbs in [&[Verb::SnapshotRead][..], &[Verb::FileRead, Verb::FileWrite]] {
        assert_eq!(refusal(&agent, project.pki.capability(verbs)).await, Err(Reason::VerbNotGranted), "{verbs:?}");
    }
    let bad = ExportSnapshotRequest { snapshot: "../x".to_owned(), format: 0 };
    assert_eq!(client.export(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = ExportSnapshotRequest { snapshot: String::new(), format: 9 };
    assert_eq!(client.export(Request::new(bad)).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Damage ends the archive with words and never with an end that looks whole.
#[tokio::test]
async fn a_damaged_snapshot_is_no_archive() {
    let project = Project::new();
    let mut author = Author::new(project.store().await, None).await;
    let contents: &[&[u8]] = &[b"one", b"two!"];
    let entries = vec![top(), entry("dir", Node::Directory), file("dir/a", &[(0, 3)]), file("dir/b", &[(1, 4)])];
    author.snapshot(entries, contents).await.unwrap();
    let store = project.store().await;
    let pack = store.list("packs/", None).await.unwrap().objects.remove(0);
    let mut bytes = store.get(&pack.key, None).await.unwrap().to_vec();
    let (_agent, mut client) = project.serve().await;
    export(&mut client, "", ArchiveFormat::Tar).await.unwrap();
    bytes[10] ^= 1;
    store.put(&pack.key, bytes.into(), remora_agent_snapshot::store::PutCondition::Always).await.unwrap();
    let fault = export(&mut client, "", ArchiveFormat::Tar).await.unwrap_err();
    assert_eq!(fault.reason, Reason::SnapshotDamaged, "{fault}");
}
