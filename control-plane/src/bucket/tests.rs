use std::os::unix::fs::PermissionsExt as _;

use futures_util::future::join_all;
use remora_agent_snapshot::store::{PutCondition, PutOutcome, S3Settings, S3Store, Store as _};

use super::*;

struct Running {
    store: S3Store,
    server: JoinSet<()>,
    stop: CancellationToken,
}

async fn client(bucket: &Bucket, credentials: (String, String)) -> S3Store {
    let settings = S3Settings {
        bucket: BUCKET.to_owned(),
        endpoint: Some(bucket.endpoint()),
        region: "us-east-1".to_owned(),
        prefix: "p".to_owned(),
        path_style: true,
        credentials: Some(credentials),
    };
    S3Store::open(settings).await.unwrap()
}

async fn run(folder: &Path) -> Running {
    let bucket = Bucket::open(folder).await.unwrap();
    let store = client(&bucket, bucket.credentials()).await;
    let (mut server, stop) = (JoinSet::new(), CancellationToken::new());
    server.spawn(bucket.serve(stop.clone()));
    Running { store, server, stop }
}

impl Running {
    async fn end(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
    }
}

/// Of 64 writers that race for one key exactly one wins, and the bytes are its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_racing_conditional_puts_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path()).await;
    let store = &running.store;
    for round in 0..5 {
        let key = format!("roots/{round}");
        let race = (0..64_u8).map(|number| store.put(&key, vec![number; 100].into(), PutCondition::IfAbsent));
        let outcomes = join_all(race).await;
        let won: Vec<_> = (0..64_u8).filter(|at| outcomes[usize::from(*at)] == Ok(PutOutcome::Stored)).collect();
        let lost = outcomes.iter().filter(|outcome| **outcome == Ok(PutOutcome::Exists)).count();
        assert_eq!((won.len(), lost), (1, 63), "round {round}: {outcomes:?}");
        assert_eq!(store.get(&key, None).await.unwrap(), vec![won[0]; 100]);
    }
    store.delete("roots/0").await.unwrap();
    assert_eq!(store.head("roots/0").await.unwrap(), None);
    store.delete("roots/0").await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0, "nothing half done stays");
    running.end().await;
}

#[tokio::test]
async fn a_wrong_secret_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path()).await.unwrap();
    let (id, secret) = bucket.credentials();
    let strangers = [(id, "wrong".to_owned()), ("wrong".to_owned(), secret)];
    let mut stores = Vec::new();
    for credentials in strangers {
        stores.push(client(&bucket, credentials).await);
    }
    let mut server = JoinSet::new();
    server.spawn(bucket.serve(CancellationToken::new()));
    for store in stores {
        assert!(store.put("roots/1", vec![1].into(), PutCondition::Always).await.is_err());
        assert!(store.list("", None).await.is_err());
    }
    assert_eq!(std::fs::read_dir(folder.path().join(BUCKET)).unwrap().count(), 0);
}

#[tokio::test]
async fn port_credentials_and_objects_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = Bucket::open(folder.path()).await.unwrap();
    let (endpoint, credentials) = (first.endpoint(), first.credentials());
    let settings = folder.path().join("settings.json");
    assert_eq!(std::fs::metadata(&settings).unwrap().permissions().mode() & 0o777, 0o600);

    let taken = Bucket::open(folder.path()).await.unwrap_err();
    assert!(matches!(taken, BucketError::Port { .. }), "{taken}");
    assert!(taken.to_string().contains(&settings.display().to_string()), "{taken}");
    drop(first);

    let running = run(folder.path()).await;
    running.store.put("a", vec![1].into(), PutCondition::Always).await.unwrap();
    running.end().await;
    let again = Bucket::open(folder.path()).await.unwrap();
    assert_eq!((again.endpoint(), again.credentials()), (endpoint, credentials));
    let store = client(&again, again.credentials()).await;
    let mut server = JoinSet::new();
    server.spawn(again.serve(CancellationToken::new()));
    assert_eq!(store.get("a", None).await.unwrap(), &[1][..]);

    std::fs::write(&settings, "{").unwrap();
    assert!(Bucket::open(folder.path()).await.unwrap_err().to_string().contains("remove it"));
}

#[tokio::test]
async fn what_a_killed_process_had_half_written_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Bucket::open(folder.path()).await.unwrap());
    std::fs::write(folder.path().join("incoming/half"), "x").unwrap();
    drop(Bucket::open(folder.path()).await.unwrap());
    assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn ranges_and_pages_are_those_of_s3() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path()).await;
    let store = &running.store;
    let content: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    store.put("data", content.clone().into(), PutCondition::Always).await.unwrap();
    assert_eq!(store.get("data", None).await.unwrap(), content);
    assert_eq!(store.get("data", Some(10..70_000)).await.unwrap(), content[10..70_000]);
    assert!(store.get("none", None).await.is_err());

    // Keys around a folder sort by their bytes: '-' < '/' < '0'.
    let keys = ["a-", "a/b", "a/c/d", "a/c0", "a0", "b"];
    for key in keys {
        store.put(key, vec![0].into(), PutCondition::Always).await.unwrap();
    }
    let listed = |page: remora_agent_snapshot::store::ListPage| -> Vec<String> {
        page.objects.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(listed(store.list("", None).await.unwrap()), [&keys[..], &["data"]].concat());
    assert_eq!(listed(store.list("a/", None).await.unwrap()), ["a/b", "a/c/d", "a/c0"]);
    assert_eq!(listed(store.list("a/c", Some("a/c/d")).await.unwrap()), ["a/c0"]);
    assert_eq!(listed(store.list("a", Some("a/b")).await.unwrap()), ["a/c/d", "a/c0", "a0"]);
    running.end().await;
}

/// What an archive is sent by: parts in any order, whole under its name or not there at all.
#[tokio::test]
async fn an_object_of_parts_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path()).await;
    let bucket = Bucket::open(folder.path()).await;
    assert!(bucket.is_err(), "the port is taken");
    let settings = Settings::load(folder.path()).unwrap().unwrap();
    let credentials =
        aws_credential_types::Credentials::new(settings.access_key, settings.secret_key, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(format!("http://127.0.0.1:{}", settings.port))
        .credentials_provider(credentials)
        .force_path_style(true);
    let s3 = aws_sdk_s3::Client::from_conf(config.build());
    let begin = async || {
        let begun = s3.create_multipart_upload().bucket(BUCKET).key("a/whole").send().await.unwrap();
        begun.upload_id.unwrap()
    };
    let part = async |upload: &str, number: i32, body: &'static [u8]| {
        let sent = s3.upload_part().bucket(BUCKET).key("a/whole").upload_id(upload).part_number(number);
        sent.body(aws_sdk_s3::primitives::ByteStream::from_static(body)).send().await.map(|sent| sent.e_tag.unwrap())
    };
    let complete = async |upload: &str, parts: &[(i32, &str)]| {
        let named = parts.iter().map(|(number, etag)| {
            aws_sdk_s3::types::CompletedPart::builder().part_number(*number).e_tag(*etag).build()
        });
        let named = aws_sdk_s3::types::CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build();
        let completed = s3.complete_multipart_upload().bucket(BUCKET).key("a/whole").upload_id(upload);
        completed.multipart_upload(named).send().await
    };
    let upload = begin().await;
    let second = part(&upload, 2, b"world").await.unwrap();
    part(&upload, 1, b"lost").await.unwrap();
    let first = part(&upload, 1, b"hello ").await.unwrap();
    for bad in [&[][..], &[(2, second.as_str()), (1, first.as_str())], &[(1, second.as_str())], &[(3, first.as_str())]]
    {
        complete(&upload, bad).await.unwrap_err();
    }
    assert_eq!(std::fs::read_dir(folder.path().join(BUCKET)).unwrap().count(), 0, "nothing is there before its end");
    complete(&upload, &[(1, &first), (2, &second)]).await.unwrap();
    let got = s3.get_object().bucket(BUCKET).key("a/whole").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().into_bytes(), &b"hello world"[..]);
    complete(&upload, &[(1, &first), (2, &second)]).await.unwrap_err();

    let upload = begin().await;
    part(&upload, 1, b"other").await.unwrap();
    s3.abort_multipart_upload().bucket(BUCKET).key("a/whole").upload_id(&upload).send().await.unwrap();
    part(&upload, 2, b"late").await.unwrap_err();
    part("unknown", 1, b"x").await.unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0, "nothing half done stays");

    // What was read of one content goes on with no other.
    let get = s3.get_object().bucket(BUCKET).key("a/whole");
    get.clone().if_match(got.e_tag.unwrap()).send().await.unwrap();
    get.if_match("\"another\"").send().await.unwrap_err();
    running.end().await;
}

#[test]
fn pages_of_any_size_hold_every_key_once_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open(folder.path()).unwrap();
    let mut keys = Vec::new();
    for outer in ["a", "a-", "a0", "ab"] {
        for inner in 0..7 {
            keys.push(format!("{outer}/{inner}/x"));
            keys.push(format!("{outer}/{inner}-"));
        }
        keys.push(format!("{outer}."));
    }
    for key in &keys {
        let incoming = objects.incoming();
        std::fs::write(incoming.path(), "x").unwrap();
        objects.place(&incoming, &objects.path(key).unwrap(), true).unwrap();
    }
    keys.sort();
    for limit in 1..=keys.len() + 1 {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = objects.list("", &after, limit).unwrap();
            seen.extend(page.entries.iter().map(|entry| entry.key.clone()));
            after = seen.last().cloned().unwrap_or_default();
            if !page.truncated {
                break;
            }
        }
        assert_eq!(seen, keys, "limit {limit}");
    }
}

#[test]
fn keys_that_a_file_system_gives_another_meaning_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open(folder.path()).unwrap();
    let long = "x".repeat(256);
    for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0", long.as_str(), &"a/".repeat(600)] {
        assert!(objects.path(bad).is_err(), "{bad:?}");
    }
    assert_eq!(objects.path("a/b").unwrap(), folder.path().join(BUCKET).join("a/b"));
}
