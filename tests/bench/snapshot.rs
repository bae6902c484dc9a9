//! Seconds and peak memory of `dehydrate` and `hydrate` with a tree of 100,000
//! files on a real S3 server: `cargo build --workspace --bins`, then
//! `cargo run -p remora-tests --example bench-snapshot [FILES]`. Fails where the bound
//! on memory does not hold or the tree is not the same.

#![expect(clippy::print_stdout, reason = "a benchmark's output is what it is for")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use remora_proto_model::ProjectId;
use remora_tests::{
    agent::role_command,
    seaweed::{BUCKET, fresh_prefix, seaweed},
    tree::{differences, record},
};

/// The bound that limits.md sets, in KiB.
const MOST_MEMORY_KIB: u64 = 128 * 1024;

/// Files of the tree, unless the first argument says otherwise.
const FILES: u64 = 100_000;

/// A length from the distribution of real projects with their dependencies: half
/// below 618 bytes, a tenth above 5 KB, a hundredth above 132 KB.
fn length(random: &mut StdRng) -> usize {
    match random.random_range(0..10_000) {
        0..5_000 => random.random_range(0..618),
        5_000..9_000 => random.random_range(618..5_200),
        9_000..9_900 => random.random_range(5_200..40_000),
        9_900..9_999 => random.random_range(40_000..132_000),
        _ => random.random_range(1_000_000..30_000_000),
    }
}

fn plant(tree: &Path, files: u64) {
    let mut random = StdRng::seed_from_u64(1);
    // Text shrinks to a quarter, as sources do.
    let words: Vec<String> = (0..4_000).map(|_| format!("{:x} ", random.random::<u32>())).collect();
    let text: String = (0..6_000_000).map(|_| words[random.random_range(0..words.len())].as_str()).collect();
    for number in 0..files {
        let folder = tree.join(format!("node_modules/p{}/lib{}", number / 300, number / 60 % 5));
        if number % 60 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        let length = length(&mut random);
        let start = random.random_range(0..text.len() - length);
        fs::write(folder.join(format!("module-{number}.js")), &text.as_bytes()[start..start + length]).unwrap();
    }
}

struct Body {
    folder: PathBuf,
    flags: Vec<(String, String)>,
}

impl Body {
    fn new(folder: PathBuf, project: &ProjectId, prefix: &str) -> Self {
        fs::create_dir_all(folder.join("tree")).unwrap();
        let flags = [
            ("--project", project.to_string()),
            ("--workspace", folder.join("tree").display().to_string()),
            ("--state-dir", folder.join("state").display().to_string()),
            ("--s3-bucket", BUCKET.to_owned()),
            ("--s3-endpoint", seaweed().endpoint.clone()),
            ("--s3-prefix", prefix.to_owned()),
            ("--s3-path-style", String::new()),
            ("--encryption-key-file", folder.join("key").display().to_string()),
        ];
        fs::write(folder.join("key"), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
        Body { folder, flags: flags.map(|(flag, value)| (flag.to_owned(), value)).to_vec() }
    }

    /// Runs a role; its peak memory in KiB.
    async fn run(&self, what: &str, role: &str, generation: u64) -> u64 {
        let mut flags = self.flags.clone();
        flags.push(("--generation".to_owned(), generation.to_string()));
        let began = Instant::now();
        let mut child = role_command(role, &flags).stderr(Stdio::inherit()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id().unwrap());
        let mut peak = 0;
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    let text = fs::read_to_string(&status).unwrap_or_default();
                    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
                    peak = peak.max(line.split_ascii_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0));
                }
            }
        };
        assert!(ended.success(), "{role} ended with {ended}");
        println!("{what:<28} {:>7.2} s   peak {:>6.1} MiB", began.elapsed().as_secs_f64(), peak as f64 / 1024.0);
        peak
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let files = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(FILES);
    let (project, prefix) = (ProjectId::new(), fresh_prefix());
    seaweed().store(&prefix).await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let first = Body::new(temp.path().join("first"), &project, &prefix);
    plant(&first.folder.join("tree"), files);
    println!("{files} files");
    let mut peak = 0;
    peak = peak.max(first.run("first snapshot", "dehydrate", 1).await);
    peak = peak.max(first.run("nothing changed", "dehydrate", 1).await);
    fs::write(first.folder.join("tree/node_modules/p0/lib0/module-1.js"), "changed").unwrap();
    peak = peak.max(first.run("one file changed", "dehydrate", 1).await);
    let second = Body::new(temp.path().join("second"), &project, &prefix);
    peak = peak.max(second.run("restore, empty workspace", "hydrate", 2).await);
    let wanted = record(&first.folder.join("tree")).unwrap();
    let mut found = differences(&wanted, &record(&second.folder.join("tree")).unwrap());
    fs::remove_dir_all(second.folder.join("tree/node_modules/p1")).unwrap();
    fs::write(second.folder.join("tree/node_modules/p0/lib0/module-2.js"), "changed").unwrap();
    fs::remove_file(second.folder.join("state/origin.json")).unwrap();
    peak = peak.max(second.run("restore, changed workspace", "hydrate", 2).await);
    found.extend(differences(&wanted, &record(&second.folder.join("tree")).unwrap()));
    println!(
        "differences: {}; peak of all: {:.1} MiB of {} MiB",
        found.len(),
        peak as f64 / 1024.0,
        MOST_MEMORY_KIB / 1024
    );
    if found.is_empty() && peak < MOST_MEMORY_KIB { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
