//! What the verbs leave on the disk, with either resolver.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use remora_agent_files::{
    Attributes, Change, Condition, FileEdit, FileError, LineFormat, Range, Time, WriteOptions, Writer, Written, copy,
    edit, mkdir, move_entry, read, read_link, remove, set_attr, stat, symlink as make_link,
};
use remora_agent_root::{EntryKind, RelPath, Resolver, Root};
use remora_proto_model::{Fault, Reason};

fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Runs `check` on an empty workspace with each resolver.
fn each(check: impl Fn(&Root, &Path)) {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("in");
        fs::create_dir(&base).unwrap();
        fs::write(temp.path().join("secret"), "outside").unwrap();
        check(&Root::open_with(&base, resolver).unwrap(), &base);
        assert_eq!(fs::read(temp.path().join("secret")).unwrap(), b"outside");
    }
}

fn put(root: &Root, name: &str, data: &[u8], options: WriteOptions) -> Result<Written, FileError> {
    let mut writer = Writer::begin(root, &path(name), options)?;
    for chunk in data.chunks(7) {
        writer.write(chunk)?;
    }
    writer.commit()
}

fn names(base: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn reason<T: std::fmt::Debug>(result: Result<T, FileError>) -> Reason {
    result.unwrap_err().reason()
}

#[test]
fn a025_every_byte_round_trips() {
    each(|root, base| {
        let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        for (name, data) in [("bytes", &all[..]), ("crlf", b"\xef\xbb\xbfa\r\nb"), ("empty", b"")] {
            let written = put(root, name, data, WriteOptions::default()).unwrap();
            assert_eq!(fs::read(base.join(name)).unwrap(), data);
            assert_eq!((written.size, written.created), (data.len() as u64, true));
            let page = read(root, &path(name), Range::Bytes { offset: 0, length: 0 }, None).unwrap();
            assert_eq!((page.data.as_slice(), &page.etag, page.next), (data, &written.etag, None));
            assert_eq!(page.binary, name == "bytes");
        }
    });
}

#[test]
fn a_write_keeps_the_mode_checks_its_condition_and_makes_parents() {
    each(|root, base| {
        assert_eq!(reason(put(root, "a/b/c", b"x", WriteOptions::default())), Reason::NotFound);
        put(root, "a/b/c", b"x", WriteOptions { parents: true, mode: Some(0o750), ..Default::default() }).unwrap();
        let first = stat(root, &path("a/b/c"), true).unwrap();
        assert_eq!(first.mode, 0o750);

        let create = WriteOptions { condition: Condition::Create, ..Default::default() };
        assert_eq!(reason(put(root, "a/b/c", b"y", create)), Reason::AlreadyExists);
        let matching = WriteOptions { condition: Condition::IfMatch(first.etag), ..Default::default() };
        put(root, "a/b/c", b"yy", matching.clone()).unwrap();
        assert_eq!(reason(put(root, "a/b/c", b"zzz", matching.clone())), Reason::EtagMismatch);
        assert_eq!(reason(put(root, "none", b"zzz", matching)), Reason::NotFound);
        assert_eq!(fs::read(base.join("a/b/c")).unwrap(), b"yy");
        assert_eq!(fs::metadata(base.join("a/b/c")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(names(&base.join("a/b")), ["c"]);

        symlink("b/c", base.join("a/link")).unwrap();
        put(root, "a/link", b"through", WriteOptions::default()).unwrap();
        assert_eq!(fs::read(base.join("a/b/c")).unwrap(), b"through");
        assert!(fs::symlink_metadata(base.join("a/link")).unwrap().is_symlink());
        symlink("../secret", base.join("out")).unwrap();
        assert_eq!(reason(put(root, "out", b"x", WriteOptions::default())), Reason::PathEscapesRoot);
        assert_eq!(reason(put(root, "a", b"x", WriteOptions::default())), Reason::IsADirectory);
    });
}

#[test]
fn a026_an_aborted_write_leaves_the_old_file_and_nothing_else() {
    each(|root, base| {
        put(root, "file", b"old", WriteOptions::default()).unwrap();
        let mut writer = Writer::begin(root, &path("file"), WriteOptions::default()).unwrap();
        writer.write(&vec![b'n'; 1 << 20]).unwrap();
        assert_eq!(names(base).len(), 2);
        drop(writer);
        assert_eq!(names(base), ["file"]);
        assert_eq!(fs::read(base.join("file")).unwrap(), b"old");
    });
}

#[test]
fn a027_lengths_and_offsets_that_do_not_fit_are_clean_errors() {
    each(|root, base| {
        let announced = |length| WriteOptions { length: Some(length), ..Default::default() };
        for length in [0, 2, 4, u64::MAX] {
            assert_eq!(reason(put(root, "file", b"abc", announced(length))), Reason::InvalidArgument, "{length}");
        }
        assert!(names(base).is_empty());
        put(root, "file", b"abc", announced(3)).unwrap();
        let bytes = |offset, length| read(root, &path("file"), Range::Bytes { offset, length }, None);
        assert_eq!(bytes(1, u64::MAX).unwrap().data, b"bc");
        assert_eq!(bytes(3, 1).unwrap().data, b"");
        assert_eq!(reason(bytes(4, 1)), Reason::OutOfRange);
        assert_eq!(reason(bytes(u64::MAX, u64::MAX)), Reason::OutOfRange);
        let lines = Range::Lines { first: u64::MAX, count: 1, format: LineFormat::Plain };
        assert_eq!(reason(read(root, &path("file"), lines, None)), Reason::OutOfRange);
    });
}

#[test]
fn a018_racing_writers_and_a_reader_never_see_a_mixture() {
    each(|root, _| {
        put(root, "file", &[b'0'; 50_000], WriteOptions::default()).unwrap();
        std::thread::scope(|scope| {
            let writers: Vec<_> = [b'a', b'b']
                .into_iter()
                .map(|letter| {
                    scope.spawn(move || {
                        for _ in 0..40 {
                            put(root, "file", &vec![letter; 50_000], WriteOptions::default()).unwrap();
                        }
                    })
                })
                .collect();
            while !writers.iter().all(|writer| writer.is_finished()) {
                // Between the look and the open the file may be another one, whole all the same.
                let page = read(root, &path("file"), Range::Bytes { offset: 0, length: 0 }, None).unwrap();
                assert_eq!(page.data.len(), 50_000);
                assert!(page.data.iter().all(|byte| *byte == page.data[0]));
            }
        });
    });
}

#[test]
fn lines_are_paged_numbered_and_clipped() {
    each(|root, _| {
        let text: String = (1..=5_000).map(|number| format!("line {number}\n")).collect();
        put(root, "file", text.as_bytes(), WriteOptions::default()).unwrap();
        let (mut first, mut all) = (1, Vec::new());
        loop {
            let page =
                read(root, &path("file"), Range::Lines { first, count: 0, format: LineFormat::Plain }, None).unwrap();
            all.extend(page.data);
            match page.next {
                Some(next) => first = next,
                None => break,
            }
        }
        assert_eq!(all, text.as_bytes());
        let range = Range::Lines { first: 4_999, count: 1, format: LineFormat::Numbered };
        let page = read(root, &path("file"), range, None).unwrap();
        assert_eq!((page.data.as_slice(), page.next), (&b"  4999\tline 4999\n"[..], Some(5_000)));

        put(root, "long", format!("{}\nshort", "é".repeat(3_000)).as_bytes(), WriteOptions::default()).unwrap();
        let page =
            read(root, &path("long"), Range::Lines { first: 1, count: 0, format: LineFormat::Plain }, None).unwrap();
        assert_eq!(page.clipped_lines, 1);
        let shown = String::from_utf8(page.data).unwrap();
        assert!(shown.starts_with(&"é".repeat(2_000)) && shown.ends_with("6001 bytes in all]\nshort"), "{shown:.20}");
    });
}

#[test]
fn an_edit_of_many_files_is_all_or_nothing() {
    each(|root, base| {
        put(root, "a", b"one two\n", WriteOptions { mode: Some(0o700), ..Default::default() }).unwrap();
        put(root, "b", b"three\n", WriteOptions::default()).unwrap();
        let change = |name: &str, old: &str, new: &str| FileEdit {
            path: path(name),
            if_match: None,
            changes: vec![Change::Replace { old: old.into(), new: new.into(), expected: 1 }],
        };
        let bad = [change("a", "one", "1"), change("b", "four", "4")];
        assert_eq!(reason(edit(root, &bad, false)), Reason::EditNoMatch);
        assert_eq!(fs::read(base.join("a")).unwrap(), b"one two\n");

        let good = [change("a", "one", "1"), change("b", "three", "3")];
        let shown = edit(root, &good, true).unwrap();
        assert_eq!(fs::read(base.join("a")).unwrap(), b"one two\n");
        let done = edit(root, &good, false).unwrap();
        assert_eq!(done[0].diff, shown[0].diff);
        assert!(done[0].diff.contains("-one two\n+1 two\n"), "{}", done[0].diff);
        assert_eq!(fs::read(base.join("a")).unwrap(), b"1 two\n");
        assert_eq!(fs::read(base.join("b")).unwrap(), b"3\n");
        assert_eq!(stat(root, &path("a"), true).unwrap().mode, 0o700);
        assert_eq!(stat(root, &path("a"), true).unwrap().etag, done[0].etag);
        assert_eq!(names(base), ["a", "b"]);

        let stale = FileEdit { if_match: Some("0".into()), ..change("a", "1", "one") };
        assert_eq!(reason(edit(root, &[stale], false)), Reason::EtagMismatch);
        assert_eq!(reason(edit(root, &[change("a", "1", "x"), change("a", "2", "x")], false)), Reason::InvalidArgument);
    });
}

#[test]
fn an_edit_that_leaves_nothing_as_it_was_has_a_diff_in_time() {
    each(|root, base| {
        let lines = |odd: u64| (0..300_000).map(|number| format!("{}\n", number * 2 + odd)).collect::<String>();
        let (old, new) = (lines(0), lines(1));
        fs::write(base.join("file"), &old).unwrap();
        let changes = vec![Change::Lines { first: 1, last: 300_000, new: new.clone().into_bytes() }];
        let started = std::time::Instant::now();
        let edited = edit(root, &[FileEdit { path: path("file"), if_match: None, changes }], false).unwrap();
        assert!(edited[0].diff_cut && edited[0].diff.contains("-0\n"));
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
        assert_eq!(fs::read(base.join("file")).unwrap(), new.as_bytes());
    });
}

#[test]
fn move_copy_and_remove_do_what_they_say() {
    each(|root, base| {
        mkdir(root, &path("dir"), false, 0o755).unwrap();
        assert_eq!(reason(mkdir(root, &path("dir"), false, 0o755)), Reason::AlreadyExists);
        mkdir(root, &path("dir/sub/deep"), true, 0o755).unwrap();
        put(root, "dir/file", b"data", WriteOptions { mode: Some(0o640), ..Default::default() }).unwrap();
        make_link(root, &path("dir/link"), b"file").unwrap();
        assert_eq!(read_link(root, &path("dir/link")).unwrap(), b"file");
        assert_eq!(reason(read_link(root, &path("dir/file"))), Reason::InvalidArgument);
        let time = Time { seconds: 1_000_000_000, nanos: 123_456_789 };
        set_attr(root, &path("dir/file"), Attributes { mode: None, modified: Some(time) }).unwrap();

        copy(root, &path("dir"), &path("twin"), false).unwrap();
        assert_eq!(names(&base.join("twin")), ["file", "link", "sub"]);
        let twin = stat(root, &path("twin/file"), true).unwrap();
        assert_eq!((twin.mode, twin.modified_seconds, twin.modified_nanos), (0o640, time.seconds, time.nanos));
        assert_eq!(stat(root, &path("twin/link"), false).unwrap().link_target.unwrap(), b"file");
        assert_eq!(reason(copy(root, &path("dir"), &path("dir/sub/x"), false)), Reason::InvalidArgument);
        assert_eq!(reason(copy(root, &path("dir"), &path("twin"), false)), Reason::AlreadyExists);

        assert_eq!(reason(move_entry(root, &path("dir"), &path("twin"), false)), Reason::AlreadyExists);
        assert_eq!(reason(move_entry(root, &path("dir"), &path("dir/sub/x"), false)), Reason::InvalidArgument);
        move_entry(root, &path("dir"), &path("moved"), false).unwrap();
        assert_eq!(names(base), ["moved", "twin"]);

        assert_eq!(reason(remove(root, &path("moved"), false)), Reason::DirectoryNotEmpty);
        remove(root, &path("moved/link"), false).unwrap();
        assert!(base.join("moved/file").exists());
        remove(root, &path("moved"), true).unwrap();
        assert_eq!(reason(remove(root, &path("moved"), true)), Reason::NotFound);
        for root_itself in ["", ".", "twin/.."] {
            assert_eq!(reason(remove(root, &path(root_itself), true)), Reason::PathInvalid);
        }
        assert_eq!(names(base), ["twin"]);
    });
}

#[test]
fn a009_special_files_are_never_opened() {
    each(|root, base| {
        let fifo = base.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(stat(root, &path("fifo"), true).unwrap().kind, EntryKind::Fifo);
        assert_eq!(
            reason(read(root, &path("fifo"), Range::Bytes { offset: 0, length: 0 }, None)),
            Reason::NotARegularFile
        );
        assert_eq!(reason(put(root, "fifo", b"x", WriteOptions::default())), Reason::NotARegularFile);
        assert_eq!(reason(copy(root, &path("fifo"), &path("twin"), false)), Reason::NotARegularFile);
        assert_eq!(names(base), ["fifo"]);
        remove(root, &path("fifo"), false).unwrap();
    });
}

#[test]
fn a011_a012_odd_names_are_literal_and_distinct() {
    each(|root, base| {
        let odd: [&[u8]; 10] = [
            b"a\nb",
            b"\x1b[31m",
            b"\xff\xfe",
            "\u{e9}".as_bytes(),
            "e\u{301}".as_bytes(),
            b"a ",
            b"a.",
            b"-rf",
            b"~",
            b"$HOME",
        ];
        for name in odd {
            let mut writer = Writer::begin(root, &path(name), WriteOptions::default()).unwrap();
            writer.write(name).unwrap();
            writer.commit().unwrap();
        }
        assert_eq!(names(base).len(), odd.len());
        for name in odd {
            assert_eq!(read(root, &path(name), Range::Bytes { offset: 0, length: 0 }, None).unwrap().data, name);
        }
    });
}

#[test]
fn a013_a_tree_of_4096_levels_is_removed() {
    each(|root, base| {
        let mut here = root.open_dir(&RelPath::root()).unwrap();
        for _ in 0..4_096 {
            rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            here = rustix::fs::openat(&here, "d", flags, rustix::fs::Mode::empty()).unwrap();
        }
        assert_eq!(reason(copy(root, &path("d"), &path("twin"), false)), Reason::LimitReached);
        assert_eq!(names(base), ["d"]);
        remove(root, &path("d"), true).unwrap();
        assert!(names(base).is_empty());
    });
}

#[test]
fn a019_a_copy_keeps_the_holes_of_a_sparse_file() {
    each(|root, base| {
        let file = fs::File::create(base.join("sparse")).unwrap();
        file.set_len(1 << 33).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 33) - 3).unwrap();
        copy(root, &path("sparse"), &path("twin"), false).unwrap();
        let twin = stat(root, &path("twin"), true).unwrap();
        assert_eq!(twin.size, 1 << 33);
        assert!(twin.allocated < 1 << 20, "{} bytes allocated", twin.allocated);
        let tail = read(root, &path("twin"), Range::Bytes { offset: (1 << 33) - 4, length: 0 }, None).unwrap();
        assert_eq!(tail.data, b"\0end");
        let lines = Range::Lines { first: 2, count: 1, format: LineFormat::Plain };
        assert_eq!(reason(read(root, &path("sparse"), lines, None)), Reason::TooLarge);
    });
}

#[test]
fn set_attr_follows_links_inside_only() {
    each(|root, base| {
        put(root, "file", b"x", WriteOptions::default()).unwrap();
        symlink("file", base.join("link")).unwrap();
        symlink("../secret", base.join("out")).unwrap();
        set_attr(root, &path("link"), Attributes { mode: Some(0o4711), modified: None }).unwrap();
        assert_eq!(fs::metadata(base.join("file")).unwrap().permissions().mode() & 0o7777, 0o4711);
        let attributes = Attributes { mode: Some(0o777), modified: None };
        assert_eq!(reason(set_attr(root, &path("out"), attributes)), Reason::PathEscapesRoot);
        let attributes = Attributes { mode: Some(0o17777), modified: None };
        assert_eq!(reason(set_attr(root, &path("file"), attributes)), Reason::InvalidArgument);
    });
}

#[test]
fn an_error_says_what_to_do_next() {
    each(|root, _| {
        let fault = Fault::from(stat(root, &path("none"), true).unwrap_err());
        assert_eq!((fault.reason, fault.errno), (Reason::NotFound, Some(2)));
        assert!(fault.message.contains("\"none\"") && fault.hint.contains("List"), "{fault}");
    });
}
