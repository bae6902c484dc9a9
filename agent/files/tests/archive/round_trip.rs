//! What is packed is unpacked the same.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Stdio},
};

use remora_agent_files::{ArchiveFormat, ArchiveSummary, Attributes, Time, archive_put, set_attr};
use remora_agent_root::RelPath;
use remora_proto_model::Reason;
use rustix::fs::CWD;

use crate::{
    forge::Forge,
    tree::{FORMATS, assert_same, each, get, names, path, plant, record},
};

#[test]
fn what_is_packed_is_unpacked_the_same() {
    each(|root, base| {
        fs::create_dir(base.join("from")).unwrap();
        plant(&base.join("from"));
        let before = record(&base.join("from"));
        for format in FORMATS {
            let (packed, bytes) = get(root, "from", format, &[]).unwrap();
            assert_eq!(packed.entries, before.len() as u64);
            let unpacked = archive_put(root, &path("to/here"), format, &bytes[..]).unwrap();
            assert_eq!(unpacked, packed);
            assert_same(&record(&base.join("to/here")), &before);
            // Once more over what is there.
            assert_eq!(archive_put(root, &path("to/here"), format, &bytes[..]).unwrap(), packed);
            assert_same(&record(&base.join("to/here")), &before);
            fs::remove_dir_all(base.join("to")).unwrap();
        }
    });
}

/// GNU tar, with `arguments`, in the directory `at`.
fn gnu_tar(at: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar")
        .args(arguments)
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar is installed");
    let mut stdin = tar.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        tar.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "tar {arguments:?}");
    output.stdout
}

#[test]
fn gnu_tar_reads_what_is_packed_and_packs_what_is_read() {
    each(|root, base| {
        fs::create_dir(base.join("from")).unwrap();
        plant(&base.join("from"));
        let before = record(&base.join("from"));
        fs::create_dir(base.join("to")).unwrap();
        gnu_tar(&base.join("to"), &["--xattrs", "-xpf", "-"], &get(root, "from", ArchiveFormat::Tar, &[]).unwrap().1);
        assert_same(&record(&base.join("to")), &before);

        for (number, format) in ["--format=pax", "--format=gnu", "--xattrs"].iter().enumerate() {
            let bytes = gnu_tar(&base.join("from"), &["-cf", "-", format, "."], b"");
            let to = format!("from-{number}");
            archive_put(root, &path(&to), ArchiveFormat::Tar, &bytes[..]).unwrap();
            let mut after = record(&base.join(&to));
            if *format == "--format=gnu" {
                // It has whole seconds only.
                assert!(after.values().all(|entry| entry.2 == 0));
                for (name, entry) in &mut after {
                    entry.2 = before[name].2;
                }
            }
            if *format != "--xattrs" {
                // Nobody asked it for attributes.
                for (name, entry) in &mut after {
                    assert!(entry.5.is_empty());
                    entry.5.clone_from(&before[name].5);
                }
            }
            assert_same(&after, &before);
        }
    });
}

#[test]
fn exclude_leaves_out_and_special_files_are_counted() {
    each(|root, base| {
        for name in ["a/x.o", "a/x.c", "b/keep/y.o", "node_modules/m/i.js"] {
            fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
            fs::write(base.join(name), name).unwrap();
        }
        fs::write(base.join("a/.remora-tmp-0123456789abcdef01234567"), "half of an upload").unwrap();
        let _socket = UnixListener::bind(base.join("socket")).unwrap();
        rustix::fs::mknodat(CWD, base.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let (summary, bytes) = get(root, "", ArchiveFormat::Tar, &["**/node_modules", "**/*.o", "!b/keep/*"]).unwrap();
        assert_eq!(names(&bytes), ["a/", "a/x.c", "b/", "b/keep/", "b/keep/y.o"]);
        assert_eq!(summary, ArchiveSummary { entries: 5, content_bytes: 15, skipped: 2, xattrs_refused: 0 });

        let (summary, bytes) = get(root, "a/x.c", ArchiveFormat::Tar, &[]).unwrap();
        assert_eq!((names(&bytes), summary.content_bytes), (vec!["x.c".to_owned()], 5));
        let refused = |from: &str, exclude: &[&str]| get(root, from, ArchiveFormat::Tar, exclude).unwrap_err().reason();
        assert_eq!(refused("fifo", &[]), Reason::NotARegularFile);
        assert_eq!(refused("socket", &[]), Reason::NotARegularFile);
        assert_eq!(refused("none", &[]), Reason::NotFound);
        assert_eq!(refused("", &["["]), Reason::PatternInvalid);
        symlink("../out", base.join("link")).unwrap();
        symlink("../out/secret", base.join("file-link")).unwrap();
        assert_eq!(refused("link", &[]), Reason::PathEscapesRoot);
        assert_eq!(refused("file-link", &[]), Reason::PathEscapesRoot);
    });
}

#[test]
fn attributes_set_before_an_unpack_do_not_keep_it_out() {
    each(|root, base| {
        fs::create_dir(base.join("d")).unwrap();
        set_attr(root, &path("d"), Attributes { mode: Some(0o755), modified: Some(Time { seconds: 5, nanos: 6 }) })
            .unwrap();
        let bytes = Forge::default().file("d/f", "x").end();
        archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &bytes[..]).unwrap();
        assert_eq!(fs::read(base.join("d/f")).unwrap(), b"x");
    });
}
