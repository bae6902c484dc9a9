//! a018: two clients write one file, and the agent is killed in the middle of it.

use std::{collections::BTreeSet, fs, time::Duration};

use remora_proto::model::Verb;
use remora_tests::{
    agent::{AgentProcess, serve_flags},
    eventually::eventually,
};

use super::{Served, client, head, names, upload};

const BYTES: usize = 1 << 20;

#[tokio::test]
async fn a018_two_writers_and_a_kill_leave_one_whole_file() {
    let mut served = Served::start().await;
    let base = served.base();
    let mut flags = serve_flags(&served.pki);
    flags.push(("--workspace".to_owned(), base.display().to_string()));
    served.put(b"file", &[b'0'; BYTES]).await;
    let mut seen = BTreeSet::new();
    for round in 0..12_u64 {
        let writers: Vec<_> = [b'a', b'b']
            .into_iter()
            .map(|letter| {
                let mut client = served.client.clone();
                tokio::spawn(async move {
                    let messages = || upload(head(b"file"), &vec![letter; BYTES]);
                    while client.write(tokio_stream::iter(messages())).await.is_ok() {}
                })
            })
            .collect();
        // Another moment of the writing each time; whichever it is must do.
        let moment = Duration::from_millis(5 + 7 * round);
        let started = std::time::Instant::now();
        eventually(|| (started.elapsed() >= moment && names(&base).len() > 1).then_some(())).await;
        served.agent.kill();
        served.agent.exited().await;
        for writer in writers {
            writer.await.unwrap();
        }
        let content = fs::read(base.join("file")).unwrap();
        assert_eq!(content.len(), BYTES, "round {round}");
        assert!(content.iter().all(|byte| *byte == content[0]), "round {round}: a mixture");
        seen.insert(content[0]);
        // The next agent clears what this one left.
        served.agent = AgentProcess::with_flags(&flags).await;
        eventually(|| (names(&base) == [b"file".to_vec()]).then_some(())).await;
        served.client = client(&served.pki, &served.agent, &served.pki.capability(Verb::ALL)).await;
    }
    assert!(seen.len() > 1, "the file was never written: {seen:?}");
    served.secret_is_untouched();
}
