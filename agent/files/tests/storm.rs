//! a003: a directory and a link out of the workspace change places while every
//! verb works below that name, each on a thread of its own. Nothing outside may be
//! read or changed.
//!
//! Three storms with each resolver, of at least `REMORA_STORM_ROUNDS` exchanges
//! (20,000) and at least `REMORA_STORM_CALLS` calls of each verb; `REMORA_STORM_SEED`
//! makes the choices of a storm those of an earlier one.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use remora_agent_files::{
    Attributes, Change, FileEdit, FileError, GlobQuery, Grep, GrepHow, GrepMode, ListQuery, Range, Stop, WriteOptions,
    Writer, copy, edit, glob, list, mkdir, move_entry, read, read_link, remove, set_attr, stat, symlink as make_link,
};
use remora_agent_root::{RelPath, Resolver, Root};
use rustix::fs::{CWD, RenameFlags, renameat_with};

const STORMS: u64 = 3;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Everything there is to see of a tree: kind, mode, times, identity and bytes.
fn record(base: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, u64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut ahead = vec![base.to_owned()];
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        seen.insert(path, (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ino(), bytes));
    }
    seen
}

/// What a verb works with.
struct Place<'a> {
    root: &'a Root,
    /// The workspace, for a look without the engine.
    inside: &'a Path,
    /// Links that the directory outside has, and none inside.
    links_outside: u64,
    /// The name that is now the directory, now the link, spelled in some way.
    swap: &'static str,
}

impl Place<'_> {
    fn at(&self, name: &str) -> RelPath {
        RelPath::new(format!("{}/{name}", self.swap)).unwrap()
    }

    fn top(&self) -> RelPath {
        RelPath::new(self.swap).unwrap()
    }
}

type Verb = fn(&Place<'_>) -> Result<(), FileError>;

const VERBS: &[(&str, Verb)] = &[
    ("Read", |place| {
        let page = read(place.root, &place.at("file"), Range::Bytes { offset: 0, length: 0 }, None)?;
        assert_eq!(page.data, b"inside", "read something outside");
        Ok(())
    }),
    ("Write", |place| {
        let mut writer = Writer::begin(place.root, &place.at("new"), WriteOptions::default())?;
        writer.write(b"inside")?;
        writer.commit().map(drop)
    }),
    ("Remove", |place| {
        // Where it is a link, this is refused; the removal that follows is what counts.
        let _ = mkdir(place.root, &place.at("tree/a/b"), true, 0o755);
        remove(place.root, &place.at("tree"), true)
    }),
    ("List", |place| {
        for path in [place.top(), RelPath::root()] {
            let query = ListQuery { path, depth: 64, ignore_rules: true, page_size: 1_000, page_token: String::new() };
            for (path, _) in list(place.root, &query, &stop())?.entries {
                assert!(!path.to_string().contains("sentinel"), "listed something outside");
            }
        }
        Ok(())
    }),
    ("Grep", |place| {
        for path in [place.top(), RelPath::root(), place.at("file")] {
            search().run(place.root, &path, &stop(), &mut |batch| {
                assert!(batch.iter().all(|found| found.text == b"inside"), "searched something outside");
                true
            })?;
        }
        Ok(())
    }),
    ("Move", |place| {
        let (here, there) = (RelPath::new("moving").unwrap(), place.at("old"));
        fs::write(place.inside.join("moving"), "inside").unwrap();
        move_entry(place.root, &here, &there, true)?;
        // What stands there outside has other content.
        move_entry(place.root, &there, &here, true)?;
        assert_eq!(fs::read(place.inside.join("moving")).unwrap(), b"inside", "moved something in from outside");
        Ok(())
    }),
    ("Glob", |place| {
        let query = GlobQuery {
            path: place.top(),
            patterns: vec!["**".to_owned()],
            ignore_rules: false,
            page_size: 1_000,
            page_token: String::new(),
        };
        for (path, _) in glob(place.root, &query, &stop())?.entries {
            assert!(!path.to_string().contains("sentinel"), "found something outside");
        }
        Ok(())
    }),
    ("Copy", |place| {
        copy(place.root, &place.at("file"), &place.at("copy"), true)?;
        copy(place.root, &place.at("file"), &RelPath::new("copied").unwrap(), true)?;
        assert_eq!(fs::read(place.inside.join("copied")).unwrap(), b"inside", "copied something outside");
        Ok(())
    }),
    ("Stat", |place| {
        assert_ne!(stat(place.root, &place.top(), true)?.links, place.links_outside, "looked at something outside");
        Ok(())
    }),
    ("SetAttr", |place| {
        let attributes = Attributes { mode: Some(0o600), modified: None };
        set_attr(place.root, &place.at("file"), attributes).map(drop)
    }),
    ("Mkdir", |place| mkdir(place.root, &place.at("tree/a/b"), true, 0o755)),
    ("Edit", |place| {
        let changes = vec![Change::Replace { old: b"inside".to_vec(), new: b"inside".to_vec(), expected: 1 }];
        let edited = edit(place.root, &[FileEdit { path: place.at("file"), if_match: None, changes }], true)?;
        assert_eq!(edited.len(), 1);
        Ok(())
    }),
    ("Symlink and ReadLink", |place| {
        match make_link(place.root, &place.at("points"), b"inside") {
            Err(FileError::Refused { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        assert_eq!(read_link(place.root, &place.at("points"))?, b"inside", "read a link outside");
        Ok(())
    }),
];

fn stop() -> Stop {
    Stop::after(Duration::from_secs(600))
}

fn search() -> Grep {
    let how = GrepHow {
        pattern: "inside|outside".to_owned(),
        literal: false,
        ignore_case: false,
        whole_words: false,
        multiline: false,
        globs: Vec::new(),
        ignore_rules: true,
        mode: GrepMode::Content,
        before: 1,
        after: 1,
        max_results: 1_000,
    };
    Grep::new(how).unwrap()
}

/// Ways to spell the name that changes; `..` makes the kernel's resolver begin again.
const SPELLINGS: [&str; 4] = ["swap", "link", "swap/../swap", "still/../link"];

fn storm(resolver: Resolver, seed: u64) {
    let (rounds, calls) = (number("REMORA_STORM_ROUNDS", 20_000), number("REMORA_STORM_CALLS", 100));
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
    fs::create_dir_all(inside.join("swap")).unwrap();
    fs::create_dir_all(inside.join("still")).unwrap();
    fs::write(inside.join("swap/file"), "inside").unwrap();
    fs::create_dir_all(outside.join("tree/a/b")).unwrap();
    for name in ["file", "new", "old", "sentinel", "tree/file"] {
        fs::write(outside.join(name), "outside").unwrap();
    }
    symlink("outside", outside.join("points")).unwrap();
    // A link count that no directory inside has.
    for number in 0..20 {
        fs::create_dir(outside.join(format!("d{number}"))).unwrap();
    }
    let links_outside = fs::metadata(&outside).unwrap().nlink();
    symlink("../out", inside.join("link")).unwrap();
    let before = record(&outside);

    let root = Root::open_with(&inside, resolver).unwrap();
    let done = AtomicBool::new(false);
    let counts: Vec<[AtomicU64; 2]> = VERBS.iter().map(|_| Default::default()).collect();
    let started = Instant::now();
    let exchanged = thread::scope(|scope| {
        for (number, (_, verb)) in VERBS.iter().enumerate() {
            let (root, inside, done, counts) = (&root, &inside, &done, &counts[number]);
            scope.spawn(move || {
                // Also where an assertion fails, or the storm would never end.
                let _end = EndOf(done);
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64) | 1;
                while !done.load(Ordering::Acquire) {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let swap = SPELLINGS[(random >> 32) as usize % SPELLINGS.len()];
                    let served = verb(&Place { root, inside, links_outside, swap }).is_ok();
                    counts[usize::from(served)].fetch_add(1, Ordering::Release);
                }
            });
        }
        let (swap, link) = (inside.join("swap"), inside.join("link"));
        let mut exchanged = 0;
        while !done.load(Ordering::Acquire) {
            renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            exchanged += 1;
            let called = |[refused, served]: &[AtomicU64; 2]| {
                let served = served.load(Ordering::Acquire);
                served > 0 && served + refused.load(Ordering::Acquire) >= calls
            };
            if exchanged >= rounds && counts.iter().all(called) {
                done.store(true, Ordering::Release);
            }
            assert!(started.elapsed() < Duration::from_secs(300), "seed {seed}: a verb is never served");
        }
        exchanged
    });
    eprintln!("REMORA_STORM_SEED={seed} {resolver:?}: {exchanged} exchanges in {:?}", started.elapsed());
    for ((name, _), [refused, served]) in VERBS.iter().zip(&counts) {
        eprintln!("  {name}: {} served, {} refused", served.load(Ordering::Acquire), refused.load(Ordering::Acquire));
    }
    assert!(exchanged >= rounds, "seed {seed}: {exchanged} exchanges");
    assert_eq!(record(&outside), before, "seed {seed}: something outside changed");
    assert_eq!(root.resolver(), resolver);
}

/// Ends the storm when a verb's thread ends.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn storms(resolver: Resolver) {
    let first = number("REMORA_STORM_SEED", u64::from(std::process::id()));
    for seed in first..first + STORMS {
        storm(resolver, seed);
    }
}

#[test]
fn a003_rename_storms_against_every_verb_with_openat2() {
    storms(Resolver::Kernel);
}

#[test]
fn a003_rename_storms_against_every_verb_with_the_walk() {
    storms(Resolver::Walk);
}
