//! The server's own bucket under kill -9.

use std::fs;

use futures_util::future::join_all;
use remora_agent_snapshot::store::{PutCondition, PutOutcome, S3Settings, S3Store, Store as _};
use remora_tests::server::ServerProcess;
use serde_json::Value;

async fn client(server: &ServerProcess) -> S3Store {
    let settings = fs::read(server.folder().join("data/bucket/settings.json")).unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    let text = |name: &str| settings[name].as_str().unwrap().to_owned();
    let settings = S3Settings {
        bucket: "remora".to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{}", settings["port"])),
        region: "us-east-1".to_owned(),
        prefix: "test".to_owned(),
        path_style: true,
        credentials: Some((text("access_key"), text("secret_key"))),
    };
    S3Store::open(settings).await.unwrap()
}

/// kill -9 in the middle of writes: what was acknowledged is there whole, what
/// was not is there whole or not at all, and the bucket is back where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_amid_writes_leaves_whole_objects_or_none() {
    const SIZE: usize = 400_000;
    /// More writes than fit into the time before the kill.
    const MANY: usize = 100_000;
    let mut server = ServerProcess::start().await;
    let store = client(&server).await;
    for round in 0..3_u8 {
        let (acknowledged, mut seen) = tokio::sync::mpsc::channel(MANY);
        let writers = join_all((0..8_u8).map(|writer| {
            let (store, acknowledged) = (&store, acknowledged.clone());
            async move {
                for number in 0_u32.. {
                    let key = format!("{round}/{writer}/{number}");
                    let condition = if number % 2 == 0 { PutCondition::IfAbsent } else { PutCondition::Always };
                    match store.put(&key, vec![writer; SIZE].into(), condition).await {
                        Ok(outcome) => {
                            assert_eq!(outcome, PutOutcome::Stored);
                            acknowledged.try_send((key, writer)).unwrap();
                        }
                        Err(_) => return,
                    }
                }
            }
        }));
        let mut stored = Vec::new();
        let killer = async {
            while stored.len() < 20 {
                stored.push(seen.recv().await.unwrap());
            }
            server.kill().await;
        };
        tokio::join!(writers, killer);
        while let Ok(more) = seen.try_recv() {
            stored.push(more);
        }
        server.restart().await;
        for (key, writer) in &stored {
            let content = store.get(key, None).await.unwrap();
            assert!(content.len() == SIZE && content.iter().all(|byte| byte == writer), "{key}");
        }
        let page = store.list(&format!("{round}/"), None).await.unwrap();
        assert!(page.objects.len() >= stored.len());
        for object in &page.objects {
            assert_eq!(store.get(&object.key, None).await.unwrap().len(), SIZE, "{} is cut", object.key);
        }
        let incoming = server.folder().join("data/bucket/incoming");
        assert_eq!(fs::read_dir(incoming).unwrap().count(), 0, "half written files are gone");
    }
    server.check_log(&[]);
}
