//! a003: a directory and a link out of the workspace change places meanwhile.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use remora_agent_files::{ArchiveFormat, archive_put};
use remora_agent_root::{Resolver, Root};
use rustix::fs::CWD;

use crate::{
    forge::Forge,
    tree::{get, names, path, record},
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// a003: a directory and a link out of the workspace change places while archives
/// are packed from and unpacked below that name.
fn storm(resolver: Resolver) {
    let rounds = number("REMORA_STORM_ROUNDS", 20_000);
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
    for place in [&inside.join("swap/d"), &outside.join("d")] {
        fs::create_dir_all(place).unwrap();
    }
    for name in ["file", "d/file"] {
        fs::write(inside.join("swap").join(name), "inside").unwrap();
        fs::write(outside.join(name), "outside").unwrap();
    }
    fs::write(outside.join("sentinel"), "outside").unwrap();
    symlink("../out", inside.join("link")).unwrap();
    let before = record(&outside);
    let top = fs::metadata(&outside).unwrap();
    let root = Root::open_with(&inside, resolver).unwrap();
    let upload =
        Forge::default().file("d/new", "x").link(b'1', "d/hard", "d/new").link(b'2', "l", "d").file("l/t", "y");
    let upload = upload.link(b'5', "d", "").end();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut served, mut refused) = (0_u64, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, link) = (inside.join("swap"), inside.join("link"));
            for _ in 0..rounds {
                rustix::fs::renameat_with(CWD, &swap, CWD, &link, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) || served == 0 {
            for place in ["swap", "swap/d", ""] {
                match get(&root, place, ArchiveFormat::Tar, &[]) {
                    Ok((_, bytes)) => {
                        assert!(!bytes.windows(7).any(|seen| seen == b"outside"), "packed something outside");
                        assert!(
                            !names(&bytes).iter().any(|name| name.contains("sentinel")),
                            "listed something outside"
                        );
                        served += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            for place in ["swap", "swap/d"] {
                match archive_put(&root, &path(place), ArchiveFormat::Tar, &upload[..]) {
                    Ok(_) => served += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    });
    eprintln!("{resolver:?}: {served} archives, {refused} refused in {rounds} rounds");
    assert_eq!(record(&outside), before, "something outside changed");
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((after.mode(), after.mtime(), after.mtime_nsec()), (top.mode(), top.mtime(), top.mtime_nsec()));
}

#[test]
fn a003_rename_storm_against_archives_with_openat2() {
    storm(Resolver::Kernel);
}

#[test]
fn a003_rename_storm_against_archives_with_the_walk() {
    storm(Resolver::Walk);
}
