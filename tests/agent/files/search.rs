//! List, Glob and Grep over gRPC.

use std::{fs, time::Duration};

use remora_proto::{
    agent::v1::{
        GlobRequest, GrepRequest, GrepResult, GrepSummary, ListRequest, grep_event::Event, grep_request::Mode,
        truncated::Reason as Cut,
    },
    fault::from_status,
    model::{Capability, Fault, PathPrefix, Reason, Verb},
};
use remora_tests::agent::PATIENCE;
use tokio::time::{Instant, sleep, timeout};

use super::{Client, Served, answer, client};

pub(super) async fn grep(
    client: &mut Client,
    request: GrepRequest,
) -> Result<(Vec<GrepResult>, Option<GrepSummary>), Fault> {
    let mut events = answer(client.grep(request).await)?;
    let (mut results, mut summary) = (Vec::new(), None);
    while let Some(event) = events.message().await.map_err(|status| from_status(&status))? {
        match event.event.unwrap() {
            Event::Batch(batch) => results.extend(batch.results),
            Event::Done(done) => assert!(summary.replace(done).is_none(), "two ends"),
        }
    }
    Ok((results, summary))
}

fn pattern(text: &str) -> GrepRequest {
    GrepRequest { pattern: text.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_project_is_listed_found_and_searched() {
    let mut served = Served::start().await;
    for (name, text) in [
        ("src/main.rs", "fn main() {\n    needle();\n}\n"),
        ("src/b.txt", "a needle\n"),
        ("target/out.rs", "needle\n"),
        (".gitignore", "target\n"),
    ] {
        let write = remora_proto::agent::v1::WriteHead { parents: true, ..super::head(name.as_bytes()) };
        served.write(write, text.as_bytes()).await.unwrap();
    }
    let client = &mut served.client;

    let request = ListRequest { depth: 64, page_size: 2, ..Default::default() };
    let (mut request, mut paths) = (request, Vec::new());
    loop {
        let page = answer(client.list(request.clone()).await).unwrap();
        paths.extend(page.entries.into_iter().map(|entry| String::from_utf8(entry.path.to_vec()).unwrap()));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(paths, [".gitignore", "src", "src/b.txt", "src/main.rs", "target", "target/out.rs"]);
    let ruled = ListRequest { ignore_rules: true, ..Default::default() };
    let page = answer(client.list(ruled).await).unwrap();
    assert_eq!((page.entries.len(), page.total), (1, 1));

    let request = GlobRequest { patterns: vec!["*.rs".to_owned(), "!target".to_owned()], ..Default::default() };
    let found = answer(client.glob(request).await).unwrap();
    assert_eq!((found.total, &found.entries[0].path[..]), (1, &b"src/main.rs"[..]));

    let (results, summary) = grep(client, GrepRequest { before_context: 1, ..pattern(r"needle\(") }).await.unwrap();
    let lines: Vec<_> = results.iter().map(|r| (&r.path[..], r.line, r.context)).collect();
    assert_eq!(lines, [(&b"src/main.rs"[..], 1, true), (b"src/main.rs", 2, false)]);
    assert_eq!((results[1].spans[0].start, results[1].spans[0].end, results[1].offset), (4, 11, 12));
    assert_eq!((summary.unwrap().files_searched, summary_is_whole(&results)), (2, true));

    let all = GrepRequest { no_ignore_rules: true, mode: Mode::Files.into(), ..pattern("needle") };
    let (results, summary) = grep(client, all.clone()).await.unwrap();
    assert_eq!(results.len(), 3);
    assert!(summary.unwrap().truncated.is_none());
    let (results, summary) = grep(client, GrepRequest { max_results: 2, ..all }).await.unwrap();
    let truncated = summary.unwrap().truncated.unwrap();
    assert_eq!((results.len(), truncated.reason(), truncated.limit), (2, Cut::Items, 2));
}

fn summary_is_whole(results: &[GrepResult]) -> bool {
    results.iter().all(|result| !result.clipped && result.offset == result.text_offset)
}

#[tokio::test]
async fn a_prefix_is_the_world_of_a_search_too() {
    let served = Served::start().await;
    let base = served.base();
    fs::create_dir_all(base.join("apps/web/src")).unwrap();
    fs::write(base.join("needle"), "needle").unwrap();
    fs::write(base.join(".gitignore"), "*\n").unwrap();
    fs::write(base.join("apps/web/src/own"), "needle").unwrap();
    let prefix = Some(PathPrefix::try_from("apps/web".to_owned()).unwrap());
    let capability = Capability { path_prefix: prefix, ..served.pki.capability(Verb::ALL) };
    let mut limited = client(&served.pki, &served.agent, &capability).await;
    let listing =
        answer(limited.list(ListRequest { depth: 9, ignore_rules: true, ..Default::default() }).await).unwrap();
    let paths: Vec<_> = listing.entries.iter().map(|entry| &entry.path[..]).collect();
    assert_eq!(paths, [&b"src"[..], b"src/own"]);
    let found = GlobRequest { patterns: vec!["**".to_owned()], ..Default::default() };
    assert_eq!(answer(limited.glob(found).await).unwrap().total, 2);
    let (results, _) = grep(&mut limited, pattern("needle")).await.unwrap();
    assert_eq!(results.iter().map(|r| &r.path[..]).collect::<Vec<_>>(), [b"src/own"]);
    let above = ListRequest { path: "..".into(), ..Default::default() };
    assert_eq!(answer(limited.list(above).await).unwrap_err().reason, Reason::PathInvalid);
}

#[tokio::test]
async fn searches_that_nobody_reads_end_and_leave_room_for_others() {
    let served = Served::start().await;
    let line = format!("needle {}\n", "x".repeat(1_900));
    fs::write(served.base().join("large"), line.repeat(9_000)).unwrap();
    // More of them than may run at once; each stays unread, with much to give.
    let mut unread = Vec::new();
    for _ in 0..8 {
        let request = GrepRequest { max_results: 10_000, time_budget_ms: 60_000, ..pattern("needle") };
        unread.push(answer(served.client.clone().grep(request).await).unwrap());
    }
    let mut other = client(&served.pki, &served.agent, &served.pki.capability(Verb::ALL)).await;
    // Other calls are not held up by them.
    timeout(PATIENCE, other.list(ListRequest::default())).await.unwrap().unwrap();
    drop(unread);
    // And once they are dropped, neither is another search.
    let started = Instant::now();
    let (results, summary) =
        timeout(Duration::from_secs(20), grep(&mut other, pattern("needle"))).await.unwrap().unwrap();
    assert_eq!((results.len(), summary.unwrap().truncated.is_some()), (250, true));
    eprintln!("a search after eight that were dropped took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_search_whose_caller_leaves_is_given_up() {
    let served = Served::start().await;
    for number in 0..40 {
        fs::write(served.base().join(format!("text{number}")), "x\n".repeat(2 << 20)).unwrap();
    }
    let busy = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Behind the name in parentheses: the state, ten numbers, then utime and stime.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let mut client = served.client.clone();
    let request = GrepRequest { time_budget_ms: 60_000, ..pattern(r"(\w+\s+){50}y") };
    let events = answer(client.grep(request).await).unwrap();
    drop(events);
    // Once it is noticed the agent is idle: no tick of CPU for a while.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = busy(served.agent.pid());
        sleep(Duration::from_millis(300)).await;
        if busy(served.agent.pid()) <= before + 1 {
            break;
        }
        assert!(Instant::now() < deadline, "it still searches");
    }
}
