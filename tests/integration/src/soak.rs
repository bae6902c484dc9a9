//! The suite again and again, for hours: what grows, and what is left behind.
//!
//! Rounds of the cases that disturb nobody beside them. Between two rounds the server's
//! memory is read from its kubelets, and nothing that a round made may be there any more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cli::Cli,
    cluster::{get, kubectl},
    control_plane::REPLICAS,
    harness::{self, Case, Outcome},
    patience::{eventually, seen},
    target::Target,
};

/// Rounds after which a server has met what it keeps of each kind of call, and its memory is taken for the first time.
const WARM_ROUNDS: u32 = 2;
/// How many times its memory of then a server may have at the end: an allocator keeps some
/// of the largest moment, and what leaks leaks more in hours.
const GROWTH: f64 = 1.5;
/// Bytes that it may have above that, since a small server grows by half soon.
const ALLOWANCE_BYTES: f64 = (32 << 20) as f64;

/// Runs rounds until `lasting` is over or one of them fails; how the cases of the last ended,
/// and one outcome of the whole. At least one round more than [`WARM_ROUNDS`] is run.
pub async fn run(cases: Vec<Case>, target: &Target, jobs: usize, lasting: Duration) -> Vec<Outcome> {
    let cases: Vec<Case> = cases.into_iter().filter(|case| !case.alone).collect();
    let began = Instant::now();
    let mut memory = Memory::default();
    for round in 1.. {
        let mut outcomes = harness::run(cases.clone(), target, jobs).await;
        let failure = match outcomes.iter().any(|outcome| outcome.failure.is_some()) {
            true => Some(format!("a case failed in round {round}")),
            false => after(target, round, &mut memory).await.err(),
        };
        eprintln!("soak: round {round} is over after {} s; {memory}", began.elapsed().as_secs());
        if failure.is_some() || (round > WARM_ROUNDS && began.elapsed() >= lasting) {
            let name = "soak::rounds_leave_nothing_behind_and_the_server_does_not_grow";
            outcomes.push(Outcome { name, took: began.elapsed(), failure, skipped: None });
            return outcomes;
        }
    }
    unreachable!("the rounds have no end of their own")
}

/// What has to hold after each round.
async fn after(target: &Target, round: u32, memory: &mut Memory) -> Result<(), String> {
    let left = projects(target).await;
    if !left.is_empty() {
        return Err(format!("round {round} left the projects {}", left.join(", ")));
    }
    if target.image.is_none() {
        return Ok(());
    }
    // A namespace needs its time after its project is gone.
    eventually(|| async {
        let of_ours = ["namespaces", "--selector", "app.kubernetes.io/managed-by=remora,remora.dev/project-id"];
        let left = get(&of_ours).await["items"].as_array().cloned().unwrap_or_default();
        let left: Vec<&str> = left.iter().filter_map(|space| space["metadata"]["name"].as_str()).collect();
        seen(left.is_empty(), || format!("namespaces are left: {}", left.join(", ")))
    })
    .await;
    memory.note(round, server_memory(target).await)
}

/// The projects of cases.
async fn projects(target: &Target) -> Vec<String> {
    let listed = Cli::new(&target.server, &target.key).run(&["ls", "-o", "name"]).await.ok();
    listed.lines().filter(|name| name.starts_with("it-")).map(str::to_owned).collect()
}

/// Bytes that each replica of the server has resident, as its node's kubelet counts them.
async fn server_memory(target: &Target) -> BTreeMap<String, u64> {
    let pods = get(&["pods", "--namespace", &target.namespace, "--selector", REPLICAS]).await;
    let mut memory = BTreeMap::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let (Some(name), Some(node)) = (pod["metadata"]["name"].as_str(), pod["spec"]["nodeName"].as_str()) else {
            continue;
        };
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let told = kubectl(&["get", "--raw", &path], "").await.unwrap_or_else(|said| panic!("{path}: {said}"));
        let summary: Value = serde_json::from_str(&told).expect("a summary is JSON");
        let of_pod = summary["pods"].as_array().into_iter().flatten();
        let containers =
            of_pod.filter(|one| one["podRef"]["name"] == name).flat_map(|one| one["containers"].as_array());
        let bytes = containers.flatten().filter_map(|container| container["memory"]["rssBytes"].as_u64()).sum();
        memory.insert(name.to_owned(), bytes);
    }
    memory
}

/// What the server had when it was warm, and has now.
#[derive(Debug, Default)]
struct Memory {
    warm: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
}

impl Memory {
    /// Takes the numbers of a round; an error where a replica has grown beyond its bound.
    fn note(&mut self, round: u32, now: BTreeMap<String, u64>) -> Result<(), String> {
        if now.is_empty() {
            return Err("no replica of the server was found to measure".to_owned());
        }
        if round == WARM_ROUNDS {
            self.warm.clone_from(&now);
        }
        self.now = now;
        for (name, now) in &self.now {
            let Some(warm) = self.warm.get(name) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "bytes of a process are far below 2^53")]
            let (now, warm) = (*now as f64, *warm as f64);
            if now > warm.mul_add(GROWTH, ALLOWANCE_BYTES) {
                return Err(format!("{name} had {warm} bytes resident after round {WARM_ROUNDS} and has {now} now"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.now.iter().map(|(name, now)| match self.warm.get(name) {
            Some(warm) => format!("{name} {} MiB (warm {})", now >> 20, warm >> 20),
            None => format!("{name} {} MiB", now >> 20),
        });
        formatter.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("one".to_owned(), bytes)])
    }

    #[test]
    fn a_server_that_grows_on_is_told() {
        let mut memory = Memory::default();
        assert!(memory.note(1, of(300 << 20)).is_ok(), "it is not warm yet");
        assert!(memory.note(2, of(100 << 20)).is_ok());
        assert!(memory.note(3, of(182 << 20)).is_ok(), "half as much again, and the allowance");
        let why = memory.note(4, of(183 << 20)).unwrap_err();
        assert!(why.contains("one had"), "{why}");
        assert_eq!(memory.to_string(), "one 183 MiB (warm 100)");
        assert!(memory.note(5, BTreeMap::from([("new".to_owned(), 1 << 30)])).is_ok(), "a replica that was replaced");
        assert!(memory.note(6, BTreeMap::new()).is_err(), "nothing was measured");
    }
}
