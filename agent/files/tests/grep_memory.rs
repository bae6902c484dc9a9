//! a020: a file that is one endless line. A process of its own, because memory is
//! measured.

use std::{fs, io::Write as _, time::Duration};

use remora_agent_files::{Grep, GrepHow, GrepMode, Stop};
use remora_agent_root::{RelPath, Root};

/// Most memory that this process has held so far, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a020_a_line_of_256_mib_is_searched_in_16_mib() {
    let temp = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(temp.path().join("line")).unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..256 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"needle").unwrap();
    drop((file, block));
    let root = Root::open(temp.path()).unwrap();
    let how = GrepHow {
        pattern: "needle|y+z".to_owned(),
        literal: false,
        ignore_case: false,
        whole_words: false,
        multiline: false,
        globs: Vec::new(),
        ignore_rules: false,
        mode: GrepMode::Content,
        before: 20,
        after: 20,
        max_results: 250,
    };
    let grep = Grep::new(how).unwrap();
    let before = peak();
    let mut results = Vec::new();
    let stop = Stop::after(Duration::from_secs(300));
    let summary = grep
        .run(&root, &RelPath::root(), &stop, &mut |batch| {
            results.extend(batch);
            true
        })
        .unwrap();
    let grown = peak() - before;
    eprintln!("a line of 256 MiB: {} KiB more", grown / 1024);
    assert!(grown <= 16 << 20, "{grown} bytes");
    assert_eq!((summary.matches, summary.pieced_lines), (1, 1));
    let found = &results[0];
    assert_eq!((found.line, found.offset, found.clipped), (1, 0, true));
    assert!(found.text.ends_with(b"xneedle") && found.text.len() <= 2_000);
}
