//! The S3 store against real servers of two kinds: what the commit protocol rests on.

use std::{fs, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use remora_agent_snapshot::{
    Lineage,
    store::{
        FaultPlan, FaultyStore, Injection, PutCondition, PutOutcome, RetryingStore, S3Settings, S3Store, Store,
        StoreError, probe,
    },
};
use remora_proto_model::Reason;
use remora_tests::{
    s3_server::{ACCESS_KEY, S3Server, fresh_prefix, on_each_server},
    tree::{assert_same, record},
};

use crate::snapshot_round_trip::{bring_back, make};

async fn store(server: &S3Server) -> Arc<dyn Store> {
    server.store(&fresh_prefix()).await.unwrap()
}

/// Of 64 writers that race for one key exactly one wins, and the bytes are its.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a068_of_64_racing_conditional_puts_exactly_one_wins() {
    on_each_server(async |server| {
        let store = store(server).await;
        for round in 0..5 {
            let key = format!("roots/{round}");
            let race = (0..64_u8).map(|number| store.put(&key, vec![number].into(), PutCondition::IfAbsent));
            let outcomes = join_all(race).await;
            let won: Vec<_> = (0..64_u8).filter(|at| outcomes[usize::from(*at)] == Ok(PutOutcome::Stored)).collect();
            let lost = outcomes.iter().filter(|outcome| **outcome == Ok(PutOutcome::Exists)).count();
            assert_eq!((won.len(), lost), (1, 63), "round {round}: {outcomes:?}");
            assert_eq!(store.get(&key, None).await.unwrap(), &won[..]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_finds_the_server_safe_and_leaves_nothing() {
    on_each_server(async |server| {
        let store = store(server).await;
        probe(&*store).await.unwrap();
        assert!(store.list("", None).await.unwrap().objects.is_empty());
    })
    .await;
}

#[tokio::test]
async fn objects_come_back_whole_by_range_and_listed() {
    on_each_server(async |server| {
        let store = store(server).await;
        let large: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
        assert_eq!(store.put("packs/a", large.clone(), PutCondition::Always).await, Ok(PutOutcome::Stored));
        assert_eq!(store.put("packs/a", large.clone(), PutCondition::Always).await, Ok(PutOutcome::Stored));
        assert_eq!(store.get("packs/a", None).await.unwrap(), large);
        assert_eq!(store.get("packs/a", Some(1_000_000..1_000_010)).await.unwrap(), large.slice(1_000_000..1_000_010));
        assert_eq!(store.get("packs/a", Some(5..5)).await.unwrap(), Bytes::new());
        for beyond in [2_999_990..3_000_001, 3_000_000..3_000_001, 9_000_000..9_000_001] {
            let answer = store.get("packs/a", Some(beyond.clone())).await;
            assert!(matches!(answer, Err(StoreError::OutOfRange { .. })), "{beyond:?}: {answer:?}");
        }
        assert_eq!(store.head("packs/a").await.unwrap().unwrap().size, 3_000_000);
        assert_eq!(store.head("packs/b").await.unwrap(), None);
        assert!(store.get("packs/b", None).await.unwrap_err().is_not_found());

        store.put("packs/empty", Bytes::new(), PutCondition::IfAbsent).await.unwrap();
        assert_eq!(store.get("packs/empty", None).await.unwrap(), Bytes::new());
        let names = ["roots/1", "roots/10", "roots/2", "pages/x"];
        for name in names {
            store.put(name, Bytes::from_static(b"x"), PutCondition::IfAbsent).await.unwrap();
        }
        let listed = |page: remora_agent_snapshot::store::ListPage| {
            page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>()
        };
        assert_eq!(listed(store.list("roots/", None).await.unwrap()), ["roots/1", "roots/10", "roots/2"]);
        assert_eq!(listed(store.list("roots/", Some("roots/10")).await.unwrap()), ["roots/2"]);
        store.delete("roots/10").await.unwrap();
        store.delete("roots/10").await.unwrap();
        assert_eq!(listed(store.list("roots/1", None).await.unwrap()), ["roots/1"]);
    })
    .await;
}

/// What an operator gets wrong has its own word.
#[tokio::test]
async fn wrong_settings_are_told_apart() {
    on_each_server(async |server| {
        store(server).await;
        let good = server.settings(&fresh_prefix());
        let reason = async |settings: S3Settings| {
            let store = S3Store::open(settings).await.unwrap();
            store.list("", None).await.unwrap_err().reason()
        };
        assert_eq!(
            reason(S3Settings { bucket: "no-such-bucket".to_owned(), ..good.clone() }).await,
            Reason::BucketMissing
        );
        let wrong = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        let stranger = S3Settings { credentials: wrong("stranger", "secret"), ..good.clone() };
        assert_eq!(reason(stranger).await, Reason::StoreDenied);
        let forged = S3Settings { credentials: wrong(ACCESS_KEY, "wrong"), ..good.clone() };
        assert_eq!(reason(forged).await, Reason::StoreDenied);
        let nobody = S3Settings { endpoint: Some("http://127.0.0.1:9".to_owned()), ..good };
        assert_eq!(reason(nobody).await, Reason::StoreUnavailable);
    })
    .await;
}

/// a064: with 30 % of all requests failing, each one ends in success or in a
/// typed failure, and what was reported stored is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a064_a_third_of_all_requests_failing_is_success_or_a_typed_failure() {
    on_each_server(async |server| {
        let seed = std::env::var("REMORA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
        eprintln!("REMORA_SEED={seed}");
        let inner = store(server).await;
        let faulty = FaultyStore::new(
            Arc::clone(&inner),
            FaultPlan::none().random(seed, 30, &[Injection::Fail, Injection::LoseAnswer]),
        );
        let store = RetryingStore::new(Arc::new(faulty.clone()));
        let puts = join_all((0..40_u32).map(|number| {
            let store = &store;
            async move {
                let condition = if number % 2 == 0 { PutCondition::Always } else { PutCondition::IfAbsent };
                store.put(&format!("packs/{number}"), number.to_be_bytes().to_vec().into(), condition).await
            }
        }))
        .await;
        for (number, outcome) in (0..40_u32).zip(puts) {
            let held = inner.get(&format!("packs/{number}"), None).await;
            match outcome {
                Ok(_) => assert_eq!(held.unwrap(), &number.to_be_bytes()[..], "{number}"),
                Err(StoreError::OutcomeUnknown { .. }) => {
                    assert_eq!(number % 2, 1, "only a conditional put has an unknown outcome");
                    assert_eq!(held.unwrap(), &number.to_be_bytes()[..], "{number}");
                }
                Err(StoreError::Unavailable { .. }) => {}
                Err(other) => panic!("{number}: {other}"),
            }
        }
        assert!(faulty.requests() > 40, "nothing was repeated");
        assert!(faulty.requests() <= 40 * 5, "{} requests", faulty.requests());
    })
    .await;
}

/// What a store is for: a tree goes there, and comes back in an empty place. What was
/// there in between is the packs, pages and roots of the format, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_goes_there_and_comes_back() {
    on_each_server(async |server| {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("src/deep")).unwrap();
        for number in 0..300_u32 {
            fs::write(from.path().join(format!("src/deep/{number}")), number.to_string().repeat(200)).unwrap();
        }
        let noise: Vec<u8> =
            (0..9_000_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        fs::write(from.path().join("large"), noise).unwrap();
        let before = record(from.path()).unwrap();
        let lineage = Lineage::open(store(server).await, Some(&[9; 32]), 1).await.unwrap();
        let snapshot = make(&lineage, from.path()).await.unwrap();
        bring_back(&lineage, &snapshot, to.path()).await.unwrap();
        assert_same(&before, &record(to.path()).unwrap());
        let keys = lineage.store().list("", None).await.unwrap().objects;
        let strange = keys
            .iter()
            .find(|object| !["lineage", "packs", "pages", "roots"].contains(&object.key.split('/').next().unwrap()));
        assert_eq!(strange, None);
    })
    .await;
}
