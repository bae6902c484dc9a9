//! a003: a directory and a link out of the workspace change places while every
//! verb works below that name. Nothing outside may be read or changed.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use remora_agent_files::{
    Attributes, FileError, Range, WriteOptions, Writer, copy, mkdir, move_entry, read, remove, set_attr, stat,
};
use remora_agent_root::{RelPath, Resolver, Root};
use rustix::fs::{CWD, RenameFlags, renameat_with};

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

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// One call of one verb; what it reads must come from inside.
fn act(root: &Root, verb: u64, outside: u64) -> Result<(), FileError> {
    match verb {
        0 => {
            let page = read(root, &path("swap/file"), Range::Bytes { offset: 0, length: 0 }, None)?;
            assert_eq!(page.data, b"inside", "read something outside");
        }
        1 => {
            let mut writer = Writer::begin(root, &path("swap/new"), WriteOptions::default())?;
            writer.write(b"written")?;
            writer.commit()?;
        }
        2 => remove(root, &path("swap/tree"), true)?,
        3 => mkdir(root, &path("swap/tree/a/b"), true, 0o755)?,
        4 => {
            for entry in root.read_dir(&path("swap"))? {
                assert_ne!(entry.unwrap().name, "sentinel", "listed something outside");
            }
        }
        5 => move_entry(root, &path("swap/new"), &path("swap/old"), true)?,
        6 => assert_ne!(stat(root, &path("swap"), true)?.links, outside, "looked at something outside"),
        7 => drop(set_attr(root, &path("swap/file"), Attributes { mode: Some(0o600), modified: None })?),
        _ => copy(root, &path("swap/file"), &path("swap/copy"), true)?,
    }
    Ok(())
}

fn storm(resolver: Resolver) {
    let rounds = number("REMORA_STORM_ROUNDS", 20_000);
    let seed = number("REMORA_STORM_SEED", u64::from(std::process::id()) | 1);
    eprintln!("REMORA_STORM_SEED={seed} REMORA_STORM_ROUNDS={rounds} {resolver:?}");
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
    fs::create_dir_all(inside.join("swap")).unwrap();
    fs::write(inside.join("swap/file"), "inside").unwrap();
    fs::create_dir_all(outside.join("tree/a/b")).unwrap();
    for name in ["file", "new", "old", "sentinel", "tree/file"] {
        fs::write(outside.join(name), "outside").unwrap();
    }
    // A link count that no directory inside has.
    for number in 0..20 {
        fs::create_dir(outside.join(format!("d{number}"))).unwrap();
    }
    let links = fs::metadata(&outside).unwrap().nlink();
    symlink("../out", inside.join("link")).unwrap();
    let before = record(&outside);

    let root = Root::open_with(&inside, resolver).unwrap();
    let done = AtomicBool::new(false);
    let (mut served, mut refused) = (0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, link) = (inside.join("swap"), inside.join("link"));
            for _ in 0..rounds {
                renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut random = seed;
        while !done.load(Ordering::Acquire) || served == 0 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match act(&root, random % 9, links) {
                Ok(()) => served += 1,
                Err(_) => refused += 1,
            }
        }
    });
    eprintln!("{resolver:?}: {served} calls served, {refused} refused");
    assert_eq!(record(&outside), before, "seed {seed}: something outside changed");
    assert_eq!(root.resolver(), resolver);
}

#[test]
fn a003_rename_storm_against_every_verb_with_openat2() {
    storm(Resolver::Kernel);
}

#[test]
fn a003_rename_storm_against_every_verb_with_the_walk() {
    storm(Resolver::Walk);
}
