//! How long List, Glob and Grep take on a tree of many files, next to ripgrep and
//! find where they are installed:
//!
//! ```text
//! cargo run --release -p remora-tests --example bench-search [FILES]
//! ```

#![expect(clippy::print_stdout, reason = "a benchmark's output is what it is for")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use remora_agent_files::{GlobQuery, Grep, GrepHow, GrepMode, ListQuery, Stop, glob, list};
use remora_agent_root::{RelPath, Resolver, Root};

/// Runs of each; the fastest counts, because the others waited for something else.
const RUNS: usize = 5;

fn main() -> anyhow::Result<()> {
    let files: usize = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let temp = tempfile::tempdir()?;
    generate(temp.path(), files)?;
    println!("{files} files of 2 KiB, 100 in a directory; the fastest of {RUNS} runs");
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let root = Root::open_with(temp.path(), resolver)?;
        report(&format!("list, all pages ({resolver:?})"), || list_all(&root));
        report(&format!("glob **/*7.rs ({resolver:?})"), || globbed(&root));
        report(&format!("grep literal ({resolver:?})"), || searched(&root, "needle", true));
        report(&format!("grep regex ({resolver:?})"), || searched(&root, r"\bneed(le|ed)\s+\d+", false));
    }
    let here = temp.path();
    report_command("find", here, &["find", ".", "-printf", "%p %s %m\n"]);
    report_command("rg --files, sorted", here, &["rg", "--no-config", "--no-ignore", "--files", "--sort", "path"]);
    report_command("rg literal", here, &["rg", "--no-config", "--no-require-git", "-F", "needle"]);
    report_command("rg literal, sorted (one thread)", here, &["rg", "--no-config", "-F", "--sort", "path", "needle"]);
    Ok(())
}

fn generate(base: &Path, files: usize) -> anyhow::Result<()> {
    let text = "let value = compute(input, 17); // nothing to see here\n".repeat(36);
    for number in 0..files {
        let dir = base.join(format!("d{:03}/e{:02}", number / 1_000, number / 100 % 10));
        if number % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let needle = if number % 100 == 42 { format!("needle {number}\n") } else { String::new() };
        fs::write(dir.join(format!("f{number}.rs")), format!("{text}{needle}"))?;
    }
    Ok(())
}

fn report(name: &str, mut run: impl FnMut() -> usize) {
    let mut best = Duration::MAX;
    let mut found = 0;
    for _ in 0..RUNS {
        let started = Instant::now();
        found = run();
        best = best.min(started.elapsed());
    }
    println!("{name:<40} {:>8.1} ms  {found} found", best.as_secs_f64() * 1e3);
}

fn report_command(name: &str, here: &Path, argv: &[&str]) {
    let run = || {
        let output = Command::new(argv[0]).args(&argv[1..]).current_dir(here).stdin(Stdio::null()).output().ok()?;
        Some(output.stdout.iter().filter(|byte| **byte == b'\n').count())
    };
    if run().is_none() {
        println!("{name:<40} {} is not installed", argv[0]);
        return;
    }
    report(name, || run().unwrap_or_default());
}

fn stop() -> Stop {
    Stop::after(Duration::from_secs(600))
}

fn list_all(root: &Root) -> usize {
    let mut query = ListQuery {
        path: RelPath::root(),
        depth: 64,
        ignore_rules: false,
        page_size: 1_000,
        page_token: String::new(),
    };
    let mut found = 0;
    loop {
        let page = list(root, &query, &stop()).expect("the tree is listed");
        found += page.entries.len();
        match page.next {
            Some(next) => query.page_token = next,
            None => return found,
        }
    }
}

fn globbed(root: &Root) -> usize {
    let query = GlobQuery {
        path: RelPath::root(),
        patterns: vec!["**/*7.rs".to_owned()],
        ignore_rules: true,
        page_size: 1_000,
        page_token: String::new(),
    };
    usize::try_from(glob(root, &query, &stop()).expect("the tree is looked through").total).unwrap_or(usize::MAX)
}

fn searched(root: &Root, pattern: &str, literal: bool) -> usize {
    let how = GrepHow {
        pattern: pattern.to_owned(),
        literal,
        ignore_case: false,
        whole_words: false,
        multiline: false,
        globs: Vec::new(),
        ignore_rules: true,
        mode: GrepMode::Content,
        before: 0,
        after: 0,
        max_results: 10_000,
    };
    let mut found = 0;
    let mut count = |batch: Vec<_>| {
        found += batch.len();
        true
    };
    let grep = Grep::new(how).expect("the pattern compiles");
    grep.run(root, &RelPath::root(), &stop(), &mut count).expect("the tree is searched");
    found
}
