//! Disks that are full, of two file systems, or left behind by a process that was
//! killed. Mounting needs privileges: without them a test starts itself anew in
//! namespaces of its own.

use std::{
    env, fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use remora_agent_files::{
    ArchiveFormat, Change, FileEdit, FileError, WriteOptions, Writer, archive_get, archive_put, clear_unfinished, copy,
    edit, mkdir, move_entry, remove,
};
use remora_agent_root::{RelPath, Resolver, Root};
use remora_proto_model::{Effect, Fault, Reason};
use rustix::fs::{CWD, FlockOperation, XattrFlags, chownat, flock, lgetxattr, lsetxattr};

const ALONE: &str = "REMORA_TEST_MOUNTS";

/// Runs `check` where it may mount, on an empty workspace with each resolver.
fn mounting(test: &str, check: impl Fn(&Root, &Path)) {
    if env::var_os(ALONE).is_none() {
        let program = env::current_exe().unwrap();
        let mut alone = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            alone.arg("--map-root-user");
        }
        let status = alone.arg("--mount").arg(program).args(["--exact", test, "--nocapture"]).env(ALONE, "1").status();
        assert!(status.expect("unshare is installed").success());
        return;
    }
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let temp = tempfile::tempdir().unwrap();
        check(&Root::open_with(temp.path(), resolver).unwrap(), temp.path());
    }
}

/// A small file system at `at`; gone when dropped.
struct Mounted<'a>(&'a Path);

fn mount<'a>(at: &'a Path, options: &str) -> Mounted<'a> {
    fs::create_dir_all(at).unwrap();
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status();
    assert!(status.expect("mount is installed").success());
    Mounted(at)
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(status.expect("umount is installed").success());
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn put(root: &Root, name: &str, data: &[u8]) -> Result<(), FileError> {
    let mut writer = Writer::begin(root, &path(name), WriteOptions::default())?;
    writer.write(data)?;
    writer.commit().map(drop)
}

fn names(base: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a058_a_full_disk_keeps_the_old_content_and_serves_again_when_it_has_room() {
    mounting("a058_a_full_disk_keeps_the_old_content_and_serves_again_when_it_has_room", |root, base| {
        let small = base.join("small");
        let _mounted = mount(&small, "size=1m,nr_inodes=24");
        put(root, "small/file", b"old content").unwrap();
        fs::create_dir(small.join("tree")).unwrap();
        fs::write(small.join("tree/half"), vec![1; 600_000]).unwrap();
        fs::write(base.join("large"), vec![2; 900_000]).unwrap();
        let mut archive = Vec::new();
        fs::create_dir(base.join("from")).unwrap();
        fs::write(base.join("from/a"), "fits").unwrap();
        fs::write(base.join("from/b"), vec![3; 900_000]).unwrap();
        archive_get(root, &path("from"), ArchiveFormat::Tar, &[], &mut archive).unwrap();
        let longer = vec![b'x'; 600_000];
        let change = Change::Replace { old: b"old content".to_vec(), new: longer.clone(), expected: 1 };
        let edits = [FileEdit { path: path("small/file"), if_match: None, changes: vec![change] }];

        let no_space = |what: &str, result: Result<(), FileError>| {
            let fault = Fault::from(result.expect_err(what));
            assert_eq!(fault.reason, Reason::NoSpace, "{what}: {fault}");
            assert_eq!(fs::read(small.join("file")).unwrap(), b"old content", "{what}");
            assert_eq!(fs::read(small.join("tree/half")).unwrap().len(), 600_000, "{what}");
            fault
        };
        no_space("write", put(root, "small/file", &longer));
        no_space("edit", edit(root, &edits, false).map(drop));
        no_space("copy of a file", copy(root, &path("large"), &path("small/twin"), false));
        no_space("copy of a tree", copy(root, &path("small/tree"), &path("small/twin"), false));
        assert_eq!(names(&small), ["file", "tree"]);
        let unpacked = archive_put(root, &path("small/to"), ArchiveFormat::Tar, &archive[..]).map(drop);
        let fault = no_space("archive", unpacked);
        assert_eq!(fault.effect, Effect::Applied);
        assert!(fault.message.contains("(entries: 1)"), "{fault}");
        assert_eq!(names(&small.join("to")), ["a"]);

        let mut number = 0;
        let full = loop {
            match mkdir(root, &path(&format!("small/d{number}")), false, 0o755) {
                Ok(()) => number += 1,
                Err(error) => break error,
            }
            assert!(number < 24, "more inodes than there are");
        };
        no_space("no inodes: mkdir", Err(full));
        no_space("no inodes: write", put(root, "small/new", b"x"));

        // With room again, everything works.
        remove(root, &path("small/tree"), true).unwrap();
        remove(root, &path("small/to"), true).unwrap();
        (0..number).for_each(|number| fs::remove_dir(small.join(format!("d{number}"))).unwrap());
        put(root, "small/file", &longer).unwrap();
        assert_eq!(fs::read(small.join("file")).unwrap(), longer);
        assert_eq!(names(&small), ["file"]);
    });
}

#[test]
fn what_crosses_file_systems_is_refused_as_that_and_no_escape() {
    mounting("what_crosses_file_systems_is_refused_as_that_and_no_escape", |root, base| {
        let other = base.join("other");
        let _mounted = mount(&other, "size=1m");
        fs::write(base.join("file"), "x").unwrap();
        let fault = Fault::from(move_entry(root, &path("file"), &path("other/file"), false).unwrap_err());
        assert_eq!(fault.reason, Reason::FailedPrecondition);
        assert!(fault.message.contains("different file systems") && fault.hint.contains("Copy"), "{fault}");
        copy(root, &path("file"), &path("other/file"), false).unwrap();
        assert_eq!(fs::read(other.join("file")).unwrap(), b"x");
        // A hard link in an archive, from one to the other.
        let mut archive = Vec::new();
        fs::create_dir_all(base.join("from/other")).unwrap();
        fs::write(base.join("from/a"), "x").unwrap();
        fs::hard_link(base.join("from/a"), base.join("from/other/b")).unwrap();
        archive_get(root, &path("from"), ArchiveFormat::Tar, &[], &mut archive).unwrap();
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &archive[..]).unwrap_err();
        assert_eq!(error.reason(), Reason::FailedPrecondition, "{error}");
        // Out of the root is out of the root.
        symlink("/", base.join("out")).unwrap();
        assert_eq!(
            move_entry(root, &path("file"), &path("out/file"), false).unwrap_err().reason(),
            Reason::PathEscapesRoot
        );
    });
}

#[test]
fn a_copy_keeps_owners_attributes_and_the_times_of_links() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    let root = Root::open(base).unwrap();
    fs::create_dir(base.join("from")).unwrap();
    fs::write(base.join("from/file"), "x").unwrap();
    symlink("file", base.join("from/link")).unwrap();
    let large = vec![7; 3_000];
    for (name, attribute, value) in [("from", "user.kind", &b"tree"[..]), ("from/file", "user.note", &large)] {
        lsetxattr(base.join(name), attribute, value, XattrFlags::empty()).unwrap();
    }
    fs::set_permissions(base.join("from/file"), fs::Permissions::from_mode(0o4440)).unwrap();
    let privileged = rustix::process::geteuid().is_root();
    if privileged {
        let (owner, group) = (rustix::fs::Uid::from_raw(1_234), rustix::fs::Gid::from_raw(4_321));
        for name in ["from", "from/file", "from/link"] {
            chownat(CWD, base.join(name), Some(owner), Some(group), rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        // A change of the owner takes the set-id bit away.
        fs::set_permissions(base.join("from/file"), fs::Permissions::from_mode(0o4440)).unwrap();
    }
    let time = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, base.join("from/link"), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    copy(&root, &path("from"), &path("to"), false).unwrap();
    for name in ["", "file", "link"] {
        let (one, two) = (base.join("from").join(name), base.join("to").join(name));
        let (one, two) = (fs::symlink_metadata(one).unwrap(), fs::symlink_metadata(two).unwrap());
        assert_eq!((one.uid(), one.gid(), one.mode()), (two.uid(), two.gid(), two.mode()), "{name:?}");
        assert_eq!((one.mtime(), one.mtime_nsec()), (two.mtime(), two.mtime_nsec()), "{name:?}");
    }
    for (name, attribute, value) in [("to", "user.kind", &b"tree"[..]), ("to/file", "user.note", &large)] {
        let mut found = vec![0; 4_000];
        let bytes = lgetxattr(base.join(name), attribute, &mut found[..]).unwrap();
        assert_eq!(&found[..bytes], value, "{name}");
    }
}

#[test]
fn what_a_killed_process_left_is_cleared_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    let root = Root::open(base).unwrap();
    let other = |digit: char| format!(".remora-tmp-{}-{}", digit.to_string().repeat(12), digit.to_string().repeat(24));
    fs::create_dir_all(base.join("d").join(other('1')).join("deep/tree")).unwrap();
    fs::write(base.join("d").join(other('2')), "half an upload").unwrap();
    symlink("nowhere", base.join(other('3'))).unwrap();
    // Of a process that works on it, of this one, and of people.
    fs::write(base.join(other('4')), "still written to").unwrap();
    let held = fs::File::open(base.join(other('4'))).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let mut own = Writer::begin(&root, &path("d/own"), WriteOptions::default()).unwrap();
    own.write(b"own").unwrap();
    for name in [".remora-tmp-", ".remora-tmp-notes", &other('x'), &format!("{}0", other('5'))] {
        fs::write(base.join(name), "of people").unwrap();
    }
    assert_eq!(clear_unfinished(&root, || false).unwrap(), 3);
    own.commit().unwrap();
    assert_eq!(names(&base.join("d")), ["own"]);
    assert_eq!(names(base).len(), 6);
    drop(held);
    assert_eq!(clear_unfinished(&root, || true).unwrap(), 0);
    assert_eq!(clear_unfinished(&root, || false).unwrap(), 1);
    let mut left = String::new();
    fs::File::open(base.join("d/own")).unwrap().read_to_string(&mut left).unwrap();
    assert_eq!(left, "own");
}
