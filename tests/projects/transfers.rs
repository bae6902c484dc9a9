//! Archives by signed URLs, on each kind of store: a snapshot that somebody downloads, and
//! a source that somebody brings.

use std::{fs, path::Path, process::Command, time::Duration};

use bytes::Bytes;
use remora_control_plane_runtime::SourceUpload;
use remora_proto_model::{
    Reason,
    project::{Desired, Phase, Project, ProjectSpec, Source},
};
use remora_tests::{
    eventually::eventually,
    s3_server::{S3Server, on_each_server},
    tree::{assert_same, record},
};
use remora_tests_integration::rest::{Answer, fetch};

use crate::rig::{Rig, shell};

/// A project that waits for its archive.
async fn waiting(rig: &Rig, name: &str) -> Project {
    let spec =
        ProjectSpec { containers: vec![shell("exec sleep 100000")], source: Source::Archive, ..ProjectSpec::default() };
    rig.projects.create(name.parse().unwrap(), spec).await.unwrap()
}

/// A tar of `folder`, in a zstd stream where `zstd`.
fn pack(folder: &Path, zstd: bool) -> Bytes {
    let mut tar = Command::new("tar");
    tar.args(zstd.then_some("--zstd")).args(["--create", "--file=-", "--directory"]).arg(folder).arg(".");
    let packed = tar.output().expect("tar runs");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    packed.stdout.into()
}

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/index.js"), "console.log(1)").unwrap();
    let noise: Vec<u8> = (0..20_000_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(folder.path().join("large"), noise).unwrap();
    folder
}

/// Sends `body` as the upload says, with what `change` makes of the headers.
async fn put(upload: &SourceUpload, body: Bytes, change: impl FnOnce(&mut Vec<(String, String)>)) -> Answer {
    let mut headers: Vec<(String, String)> = upload.signed.headers.clone().into_iter().collect();
    change(&mut headers);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fetch(&upload.signed.url.clone().expose(), "PUT", &headers, body).await
}

/// A snapshot goes out of one project and into another one, by URLs alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_downloaded_and_becomes_another_project() {
    on_each_server(async |server: &S3Server| {
        let rig = Rig::on(server).await;
        let first = rig.runs("exec sleep 100000").await;
        let site = site();
        let copied = Command::new("cp").arg("-a").arg(site.path().join(".")).arg(rig.workspace(first.id)).status();
        assert!(copied.unwrap().success());
        let head = rig.projects.get(first.id).unwrap().status.head.map(|head| head.snapshot);
        let asleep = rig.wants(first.id, Desired::Stopped, Phase::Stopped).await;
        let newest = asleep.status.head.map(|head| head.snapshot).unwrap();
        assert_ne!(Some(&newest), head.as_ref());
        let refused = rig.projects.export(first.id, "", 60).await.unwrap_err();
        assert_eq!(refused.reason, Reason::ProjectNotReady, "{refused}");
        rig.wants(first.id, Desired::Running, Phase::Ready).await;

        let export = rig.projects.export(first.id, &newest, 60).await.unwrap();
        assert_eq!(export.snapshot, newest);
        let url = export.signed.url.clone().expose();
        let archive = fetch(&url, "GET", &[], "").await;
        assert_eq!((archive.status.as_u16(), archive.body.len() as u64), (200, export.bytes), "{}", server.name);
        let name = archive.headers.get("content-disposition").unwrap().to_str().unwrap();
        assert!(name.contains(&format!("counter-{newest}.tar.zst")), "{name}");
        // For this object alone, and for reading.
        let other = url.replacen("/exports/", "/projects/", 1);
        assert_eq!(fetch(&other, "GET", &[], "").await.status, 403, "{}", server.name);
        assert_eq!(fetch(&url, "PUT", &[], "x").await.status, 403, "{}", server.name);

        let second = waiting(&rig, "second").await;
        let bytes = archive.body.len() as u64;
        let upload = rig.projects.begin_upload(second.id, bytes, true, 60).await.unwrap();
        let early = rig.projects.complete_upload(second.id, &upload.upload).await.unwrap_err();
        assert_eq!(early.reason, Reason::NotFound, "{early}");
        let longer = [&archive.body[..], b"x"].concat();
        let wrong = put(&upload, longer.into(), |headers| headers.retain(|(name, _)| name != "content-length")).await;
        assert_eq!(wrong.status, 403, "{}: a length that was not signed", server.name);
        let bare =
            put(&upload, archive.body.clone(), |headers| headers.retain(|(name, _)| name != "if-none-match")).await;
        assert_eq!(bare.status, 403, "{}: without a header that was signed", server.name);
        let sent = put(&upload, archive.body.clone(), |_| {}).await;
        assert_eq!(sent.status, 200, "{}: {sent:?}", server.name);
        let again = put(&upload, archive.body.clone(), |_| {}).await;
        assert_eq!(again.status, 412, "{}: a URL is for one archive", server.name);
        let stranger = rig.projects.complete_upload(first.id, &upload.upload).await.unwrap_err();
        assert!(matches!(stranger.reason, Reason::FailedPrecondition | Reason::NotFound), "{stranger}");

        let taken = rig.projects.complete_upload(second.id, &upload.upload).await.unwrap();
        assert_eq!(taken.id, second.id);
        rig.reaches(second.id, Phase::Ready).await;
        for below in ["src", "large"] {
            let (from, to) = (rig.workspace(first.id).join(below), rig.workspace(second.id).join(below));
            if below == "src" {
                assert_same(&record(&from).unwrap(), &record(&to).unwrap());
            } else {
                assert!(fs::read(from).unwrap() == fs::read(to).unwrap());
            }
        }
        let once = rig.projects.complete_upload(second.id, &upload.upload).await.unwrap_err();
        assert_eq!(once.reason, Reason::FailedPrecondition, "{once}");
        let late = rig.projects.begin_upload(second.id, 10, false, 60).await.unwrap_err();
        assert_eq!(late.reason, Reason::FailedPrecondition, "{late}");

        // What nobody needs is not left behind.
        let left = |objects: &[String], folder: &str| objects.iter().filter(|key| key.starts_with(folder)).count();
        let objects = rig.objects_on(server).await;
        assert_eq!((left(&objects, "uploads/"), left(&objects, "exports/")), (0, 1), "{}: {objects:?}", server.name);
        for project in [first.id, second.id] {
            rig.projects.delete(project, true).await.unwrap();
            eventually(|| rig.projects.get(project).is_err().then_some(())).await;
        }
        let objects = rig.objects_on(server).await;
        assert_eq!(objects, [""; 0], "{}", server.name);
        assert_eq!(fetch(&url, "GET", &[], "").await.status, 404, "{}", server.name);
    })
    .await;
}

/// Hostile archives are refused with words, and the project waits on for a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_archive_is_refused_and_a_good_one_still_taken() {
    on_each_server(async |server: &S3Server| {
        let rig = Rig::on(server).await;
        let project = waiting(&rig, "careful").await;
        let site = site();
        let absolute = {
            let mut tar = Command::new("tar");
            tar.args(["--create", "--absolute-names", "--file=-"]).arg(site.path().join("src/index.js"));
            Bytes::from(tar.output().unwrap().stdout)
        };
        let whole = pack(site.path(), true);
        let cut = whole.slice(..whole.len() / 2);
        let zip = Bytes::from_static(b"PK\x03\x04 is no tar at all");
        for (words, zstd, bytes) in
            [("an absolute path", false, absolute), ("cannot be read", true, cut), ("cannot be read", false, zip)]
        {
            let upload = rig.projects.begin_upload(project.id, bytes.len() as u64, zstd, 60).await.unwrap();
            assert_eq!(put(&upload, bytes, |_| {}).await.status, 200);
            let refused = rig.projects.complete_upload(project.id, &upload.upload).await.unwrap_err();
            assert_eq!(refused.reason, Reason::ArchiveInvalid, "{refused}");
            assert!(refused.message.contains(words), "{words}: {refused}");
            let gone = rig.projects.complete_upload(project.id, &upload.upload).await.unwrap_err();
            assert_eq!(gone.reason, Reason::NotFound, "{gone}");
        }
        assert_eq!(rig.projects.get(project.id).unwrap().status.phase, Phase::Pending);
        assert_eq!(rig.objects_on(server).await, [""; 0]);
        let upload = rig.projects.begin_upload(project.id, whole.len() as u64, true, 60).await.unwrap();
        assert_eq!(put(&upload, whole, |_| {}).await.status, 200);
        rig.projects.complete_upload(project.id, &upload.upload).await.unwrap();
        rig.reaches(project.id, Phase::Ready).await;
        assert_eq!(fs::read(rig.workspace(project.id).join("src/index.js")).unwrap(), b"console.log(1)");
    })
    .await;
}

/// A URL ends when it says, whatever else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_ends_when_it_says() {
    on_each_server(async |server: &S3Server| {
        let rig = Rig::on(server).await;
        let project = rig.runs("echo hello > greeting; exec sleep 100000").await;
        // Its end makes a snapshot.
        rig.wants(project.id, Desired::Stopped, Phase::Stopped).await;
        rig.wants(project.id, Desired::Running, Phase::Ready).await;
        let export = rig.projects.export(project.id, "", 2).await.unwrap();
        let url = export.signed.url.clone().expose();
        let first = fetch(&url, "GET", &[], "").await;
        assert_eq!(first.status, 200, "{}", server.name);
        let ended = async {
            while fetch(&url, "GET", &[], "").await.status == 200 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            fetch(&url, "GET", &[], "").await.status.as_u16()
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap(), 403, "{}", server.name);
        for ttl in [604_801, u32::MAX] {
            assert_eq!(rig.projects.export(project.id, "", ttl).await.unwrap_err().reason, Reason::InvalidArgument);
        }
        let unknown = rig.projects.export(project.id, &format!("9{}", export.snapshot), 60).await.unwrap_err();
        assert_eq!(unknown.reason, Reason::NotFound, "{unknown}");
        let none = rig.projects.export(project.id, "../x", 60).await.unwrap_err();
        assert_eq!(none.reason, Reason::InvalidArgument, "{none}");
        // As many as are kept at once, and no more.
        let mut kept = 0;
        let full = loop {
            match rig.projects.export(project.id, "", 60).await {
                Ok(_) => kept += 1,
                Err(fault) => break fault,
            }
            assert!(kept <= 8);
        };
        assert_eq!((full.reason, kept), (Reason::LimitReached, 7), "{full}");
    })
    .await;
}
