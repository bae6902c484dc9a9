//! List, Glob and Grep on trees, with either resolver.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    time::{Duration, Instant},
};

use remora_agent_files::{
    FileError, GlobQuery, Grep, GrepHow, GrepMode, GrepResult, GrepSummary, ListQuery, Listing, Stop, glob, list,
};
use remora_agent_root::{RelPath, Resolver, Root};
use remora_proto_model::Reason;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn stop() -> Stop {
    Stop::after(Duration::from_secs(60))
}

/// Runs `check` on a workspace with these files, with each resolver.
fn each(files: &[(&str, &str)], check: impl Fn(&Root, &Path)) {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("in");
        fs::create_dir(&base).unwrap();
        for (name, content) in files {
            let file = base.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        check(&Root::open_with(&base, resolver).unwrap(), &base);
    }
}

fn query(place: &str, depth: usize) -> ListQuery {
    ListQuery { path: path(place), depth, ignore_rules: false, page_size: 1_000, page_token: String::new() }
}

fn shown(listing: &Listing) -> Vec<String> {
    listing.entries.iter().map(|(path, _)| path.to_string()).collect()
}

/// Every page of a listing, joined.
fn all_pages(root: &Root, first: ListQuery) -> Vec<String> {
    let (mut query, mut all) = (first, Vec::new());
    loop {
        let page = list(root, &query, &stop()).unwrap();
        assert!(page.entries.len() <= query.page_size);
        all.extend(shown(&page));
        match page.next {
            Some(next) => query.page_token = next,
            None => return all,
        }
    }
}

const PROJECT: &[(&str, &str)] = &[
    (".gitignore", "target\n*.log\n!keep.log\n/only-here\n"),
    (".hidden", "x"),
    (".ignore", "generated.rs\n"),
    ("a.txt", "x"),
    ("a/b/c.rs", "x"),
    ("a/only-here", "x"),
    ("a-b", "x"),
    ("a/keep.log", "x"),
    ("a/lost.log", "x"),
    ("only-here", "x"),
    ("src/generated.rs", "x"),
    ("src/main.rs", "x"),
    ("src/.gitignore", "main.txt\n"),
    ("src/main.txt", "x"),
    ("target/debug/out.rs", "x"),
    ("vendor/.git/info/exclude", "private\n"),
    ("vendor/lib.log", "x"),
    ("vendor/private", "x"),
];

#[test]
fn a_listing_has_one_level_or_several_in_the_order_of_a_tree() {
    each(PROJECT, |root, _| {
        let listing = list(root, &query("a", 1), &stop()).unwrap();
        assert_eq!(shown(&listing), ["a/b", "a/keep.log", "a/lost.log", "a/only-here"]);
        assert_eq!((listing.total, listing.next), (Some(4), None));
        let deep = list(root, &query("", 2), &stop()).unwrap();
        let below: Vec<_> = shown(&deep).into_iter().filter(|path| path.starts_with('a')).collect();
        assert_eq!(below, ["a", "a/b", "a/keep.log", "a/lost.log", "a/only-here", "a-b", "a.txt"]);
        assert_eq!(deep.total, None);
        for (place, reason) in [("none", Reason::NotFound), ("a.txt", Reason::NotADirectory)] {
            assert_eq!(list(root, &query(place, 1), &stop()).unwrap_err().reason(), reason, "{place}");
        }
    });
}

#[test]
fn pages_of_any_size_join_to_the_whole() {
    each(PROJECT, |root, _| {
        for depth in [1, 2, 64] {
            let whole = shown(&list(root, &query("", depth), &stop()).unwrap());
            for page_size in [1, 2, 3, 7] {
                assert_eq!(all_pages(root, ListQuery { page_size, ..query("", depth) }), whole, "{depth} {page_size}");
            }
        }
    });
}

#[test]
fn what_comes_and_goes_between_pages_shifts_nothing_else() {
    each(PROJECT, |root, base| {
        let first = list(root, &ListQuery { page_size: 6, ..query("", 64) }, &stop()).unwrap();
        let last = shown(&first).pop().unwrap();
        assert_eq!(last, "a/b/c.rs");
        fs::write(base.join("a/a-new-one-before"), "x").unwrap();
        fs::write(base.join("a/c-new-one-after"), "x").unwrap();
        // What the cursor names may go as well.
        fs::remove_dir_all(base.join("a/b")).unwrap();
        let rest = ListQuery { page_size: 3, page_token: first.next.unwrap(), ..query("", 64) };
        assert_eq!(shown(&list(root, &rest, &stop()).unwrap()), ["a/c-new-one-after", "a/keep.log", "a/lost.log"]);
    });
}

#[test]
fn a_token_of_another_question_is_refused() {
    each(PROJECT, |root, _| {
        let token = list(root, &ListQuery { page_size: 1, ..query("", 1) }, &stop()).unwrap().next.unwrap();
        for (place, depth, token) in [("a", 1, token.as_str()), ("", 2, &token), ("", 1, "00"), ("", 1, "zz")] {
            let wrong = ListQuery { page_token: token.to_owned(), ..query(place, depth) };
            let error = list(root, &wrong, &stop()).unwrap_err();
            assert_eq!(error.reason(), Reason::InvalidArgument, "{place} {depth} {token}");
        }
    });
}

#[test]
fn ignore_rules_leave_out_what_ripgrep_leaves_out() {
    each(PROJECT, |root, _| {
        let rules = |place: &str| ListQuery { ignore_rules: true, ..query(place, 64) };
        let expected = [
            "a",
            "a/b",
            "a/b/c.rs",
            "a/keep.log",
            "a/only-here",
            "a-b",
            "a.txt",
            "src",
            "src/main.rs",
            "vendor",
            // Of another repository: the .gitignore above it is not its own.
            "vendor/lib.log",
        ];
        assert_eq!(shown(&list(root, &rules(""), &stop()).unwrap()), expected);
        // Those above count as well.
        assert_eq!(shown(&list(root, &rules("src"), &stop()).unwrap()), ["src/main.rs"]);
        assert_eq!(all_pages(root, ListQuery { page_size: 2, ..rules("") }), expected);
    });
}

#[test]
fn links_are_listed_and_not_followed() {
    each(&[("dir/file", "needle"), ("../secret", "needle")], |root, base| {
        symlink("dir", base.join("inside")).unwrap();
        symlink("..", base.join("outside")).unwrap();
        symlink("../.gitignore", base.join(".gitignore")).unwrap();
        let listing = list(root, &query("", 64), &stop()).unwrap();
        assert_eq!(shown(&listing), [".gitignore", "dir", "dir/file", "inside", "outside"]);
        assert_eq!(listing.entries[3].1.link_target.as_deref(), Some(&b"dir"[..]));
        let error = list(root, &query("outside", 1), &stop()).unwrap_err();
        assert_eq!(error.reason(), Reason::PathEscapesRoot);
        assert_eq!(shown(&list(root, &query("inside", 1), &stop()).unwrap()), ["inside/file"]);
        assert_eq!(texts(&grep(root, "", how("needle")).unwrap().0), ["dir/file:1:needle"]);
        assert_eq!(grep(root, "outside/secret", how("needle")).unwrap_err().reason(), Reason::PathEscapesRoot);
    });
}

#[test]
fn a021_a_hundred_thousand_entries_are_paged() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..100_000 {
        fs::File::create(temp.path().join(format!("f{number:06}"))).unwrap();
    }
    let root = Root::open(temp.path()).unwrap();
    let (mut query, mut seen) = (query("", 1), 0);
    loop {
        let page = list(&root, &query, &stop()).unwrap();
        assert_eq!(page.total, Some(100_000));
        for (path, _) in &page.entries {
            assert_eq!(path.to_string(), format!("f{seen:06}"));
            seen += 1;
        }
        // Every tenth page is enough to see that they join.
        match page.next {
            Some(next) if seen < 5_000 => query.page_token = next,
            Some(_) => break,
            None => panic!("it ended at {seen}"),
        }
    }
    assert_eq!(seen, 5_000);
    let found = glob(&root, &globbed(&["f09999?"]), &stop()).unwrap();
    assert_eq!((found.total, found.entries.len()), (10, 10));
}

fn globbed(patterns: &[&str]) -> GlobQuery {
    GlobQuery {
        path: RelPath::root(),
        patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        ignore_rules: false,
        page_size: 1_000,
        page_token: String::new(),
    }
}

#[test]
fn globs_match_as_people_write_them() {
    each(PROJECT, |root, base| {
        let find = |patterns: &[&str]| {
            let found = glob(root, &globbed(patterns), &stop()).unwrap();
            assert_eq!(found.total, found.entries.len() as u64);
            found.entries.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(find(&["*.rs"]), ["a/b/c.rs", "src/generated.rs", "src/main.rs", "target/debug/out.rs"]);
        assert_eq!(find(&["**/*.rs", "!target"]), ["a/b/c.rs", "src/generated.rs", "src/main.rs"]);
        assert_eq!(find(&["src/*.{rs,txt}", "!src/gen*"]), ["src/main.rs", "src/main.txt"]);
        assert_eq!(find(&["/*.txt"]), ["a.txt"]);
        assert_eq!(find(&["a/**/c.rs", "a?b"]), ["a/b/c.rs", "a-b"]);
        assert!(find(&["[xyz]/nothing"]).is_empty());
        let odd = base.join(std::ffi::OsStr::from_bytes(b"odd\xff\n.rs"));
        fs::write(&odd, "x").unwrap();
        assert_eq!(find(&["odd*"]).len(), 1);
        fs::remove_file(odd).unwrap();

        let below = GlobQuery { path: path("src"), ..globbed(&["main.*"]) };
        let found = glob(root, &below, &stop()).unwrap();
        assert_eq!(found.entries[0].0, path("src/main.rs"));

        let mut paged = GlobQuery { page_size: 1, ignore_rules: true, ..globbed(&["*.log", "*.rs"]) };
        let mut all = Vec::new();
        loop {
            let page = glob(root, &paged, &stop()).unwrap();
            assert_eq!(page.total, 4);
            all.extend(page.entries.into_iter().map(|(path, _)| path.to_string()));
            match page.next {
                Some(next) => paged.page_token = next,
                None => break,
            }
        }
        assert_eq!(all, ["a/b/c.rs", "a/keep.log", "src/main.rs", "vendor/lib.log"]);
        let other = GlobQuery { page_token: "0011223344556677aa".to_owned(), ..globbed(&["*"]) };
        assert_eq!(glob(root, &other, &stop()).unwrap_err().reason(), Reason::InvalidArgument);
    });
}

fn how(pattern: &str) -> GrepHow {
    GrepHow {
        pattern: pattern.to_owned(),
        literal: false,
        ignore_case: false,
        whole_words: false,
        multiline: false,
        globs: Vec::new(),
        ignore_rules: true,
        mode: GrepMode::Content,
        before: 0,
        after: 0,
        max_results: 250,
    }
}

fn grep(root: &Root, place: &str, how: GrepHow) -> Result<(Vec<GrepResult>, GrepSummary), FileError> {
    let mut results = Vec::new();
    let summary = Grep::new(how)?.run(root, &path(place), &stop(), &mut |batch| {
        results.extend(batch);
        true
    })?;
    Ok((results, summary))
}

fn texts(results: &[GrepResult]) -> Vec<String> {
    let line = |result: &GrepResult| {
        let mark = if result.context { '-' } else { ':' };
        format!("{}{mark}{}{mark}{}", result.path, result.line, String::from_utf8_lossy(&result.text))
    };
    results.iter().map(line).collect()
}

const TEXT: &str = "one\ntwo needle\nthree\nfour\nfive Needle needles\nsix\n";

#[test]
fn lines_come_with_numbers_offsets_spans_and_context() {
    each(&[("b", TEXT), ("a/x", "needle"), ("c", "none\n")], |root, _| {
        let (results, summary) = grep(root, "", how("needle")).unwrap();
        assert_eq!(texts(&results), ["a/x:1:needle", "b:2:two needle", "b:5:five Needle needles"]);
        assert_eq!((summary.files, summary.matches, summary.more), (3, 3, false));
        assert_eq!((results[2].offset, &results[2].spans[..]), (26, &[(12, 18)][..]));

        let context = GrepHow { before: 1, after: 1, ..how("needle") };
        let (results, _) = grep(root, "b", context).unwrap();
        let expected = ["b-1-one", "b:2:two needle", "b-3-three", "b-4-four", "b:5:five Needle needles", "b-6-six"];
        assert_eq!(texts(&results), expected);

        let words = GrepHow { whole_words: true, ignore_case: true, ..how("NEEDLE") };
        let (results, _) = grep(root, "b", words).unwrap();
        assert_eq!(results[1].spans, [(5, 11)]);
        let literal = GrepHow { literal: true, ..how("needle.") };
        assert!(grep(root, "", literal).unwrap().0.is_empty());
        assert_eq!(grep(root, "", how("^t.*e$")).unwrap().0.len(), 2);
    });
}

#[test]
fn files_and_counts_are_given_once_a_file() {
    each(&[("b", TEXT), ("a/x", "needle"), ("c", "none\n")], |root, _| {
        let (files, _) = grep(root, "", GrepHow { mode: GrepMode::Files, ..how("needle") }).unwrap();
        assert_eq!(files.iter().map(|r| r.path.to_string()).collect::<Vec<_>>(), ["a/x", "b"]);
        let (counts, _) = grep(root, "", GrepHow { mode: GrepMode::Count, ..how("needle") }).unwrap();
        assert_eq!(
            counts.iter().map(|r| (r.path.to_string(), r.count)).collect::<Vec<_>>(),
            [("a/x".to_owned(), 1), ("b".to_owned(), 2)]
        );
        let globs = GrepHow { globs: vec!["b".to_owned(), "!a".to_owned()], ..how("needle") };
        assert_eq!(grep(root, "", globs).unwrap().1.files, 1);
    });
}

#[test]
fn a_match_may_span_lines_where_it_is_asked_for() {
    each(&[("b", TEXT)], |root, _| {
        let spanning = GrepHow { multiline: true, ..how("needle\nthree\nf") };
        let (results, _) = grep(root, "", spanning).unwrap();
        assert_eq!(texts(&results), ["b:2:two needle", "b:3:three", "b:4:four"]);
        assert_eq!(results.iter().map(|r| r.spans.clone()).collect::<Vec<_>>(), [[(4, 10)], [(0, 5)], [(0, 1)]]);
        let error = grep(root, "", how("needle\\nthree")).unwrap_err();
        assert_eq!(error.reason(), Reason::PatternInvalid);
        assert!(format!("{:?}", error).contains("multiline"), "{error:?}");
    });
}

#[test]
fn results_stop_at_their_bound_and_say_that_there_were_more() {
    each(&[("a", &"x\n".repeat(100)), ("b", "x\n")], |root, _| {
        let bounded = |max_results, mode| grep(root, "", GrepHow { max_results, mode, ..how("x") }).unwrap();
        let (results, summary) = bounded(10, GrepMode::Content);
        assert_eq!((results.len(), summary.more), (10, true));
        let (results, summary) = bounded(101, GrepMode::Content);
        assert_eq!((results.len(), summary.more, summary.matches), (101, false, 101));
        let (results, summary) = bounded(1, GrepMode::Files);
        assert_eq!((results.len(), summary.more), (1, true));
        let (results, summary) = bounded(2, GrepMode::Count);
        assert_eq!((results.len(), summary.more), (2, false));
        // Somebody who goes away ends it.
        let mut batches = 0;
        let gone = Grep::new(how("x")).unwrap().run(root, &RelPath::root(), &stop(), &mut |_| {
            batches += 1;
            false
        });
        assert_eq!((gone.unwrap_err().reason(), batches), (Reason::Cancelled, 1));
        let late = Stop::after(Duration::ZERO);
        let summary = Grep::new(how("x")).unwrap().run(root, &RelPath::root(), &late, &mut |_| true).unwrap();
        assert!(summary.out_of_time && summary.matches == 0);
        late.ask();
        let asked = Grep::new(how("x")).unwrap().run(root, &RelPath::root(), &late, &mut |_| true);
        assert_eq!(asked.unwrap_err().reason(), Reason::Cancelled);
    });
}

#[test]
fn binary_special_and_unreadable_files_are_counted_and_never_waited_for() {
    each(&[("text", "needle"), ("binary", "needle\0needle")], |root, base| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, base.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(base.join("socket")).unwrap();
        let (results, summary) = grep(root, "", how("needle")).unwrap();
        assert_eq!((summary.files, summary.binary), (2, 1));
        assert!(texts(&results).contains(&"text:1:needle".to_owned()));
        assert_eq!(grep(root, "fifo", how("x")).unwrap_err().reason(), Reason::NotARegularFile);
    });
}

#[test]
fn a_file_too_large_to_search_across_lines_is_told() {
    each(&[("small", "a\nb\n")], |root, base| {
        fs::write(base.join("large"), "a\nb\n".repeat(3 << 20)).unwrap();
        let (results, summary) = grep(root, "", GrepHow { multiline: true, ..how("a\nb") }).unwrap();
        assert_eq!(texts(&results), ["small:1:a", "small:2:b"]);
        assert_eq!((summary.too_large, summary.unreadable), (1, 0));
    });
}

#[test]
fn a_match_in_a_long_line_is_found_wherever_it_lies_and_given_once() {
    each(&[], |root, base| {
        let piece = remora_agent_files::limits::GREP_PIECE_BYTES;
        for at in [0, 5_000, piece - 3, piece + 30_000, 3 * piece / 2, 2 * piece + 1, 3 * piece - 6] {
            let mut line = vec![b'x'; 3 * piece];
            line[at..at + 6].copy_from_slice(b"needle");
            let text = [b"before\n", &line[..], b"\nafter needle\n"].concat();
            fs::write(base.join("long"), text).unwrap();
            let context = GrepHow { before: 1, after: 1, ..how("needle") };
            let (results, summary) = grep(root, "", context).unwrap();
            let lines: Vec<_> = results.iter().map(|r| (r.line, r.context)).collect();
            // Of a later piece the line before is the piece before, which is no context.
            let expected = [(1, true), (2, false), (3, false)];
            assert_eq!(lines, expected[expected.len() - lines.len()..], "at {at}");
            assert!(lines.len() == 3 || at > piece, "at {at}");
            assert_eq!((summary.matches, summary.pieced_lines), (2, 1), "at {at}");
            let found = &results[results.len() - 2];
            assert_eq!((found.offset, found.clipped), (7, true), "at {at}");
            let (start, end) = found.spans[0];
            assert_eq!(&found.text[start..end], b"needle", "at {at}");
            assert_eq!(found.text_offset + start as u64, 7 + at as u64, "at {at}");
            assert_eq!(results[results.len() - 1].offset, 7 + 3 * piece as u64 + 1, "at {at}");
        }
    });
}

/// Holes are binary: a file of terabytes costs what its first block does.
#[test]
fn a019_a_sparse_file_of_terabytes_is_not_read_through() {
    each(&[("text", "needle\n")], |root, base| {
        for (name, begin) in [("hole", &b""[..]), ("log", b"first\nneedle\n")] {
            let file = fs::File::create(base.join(name)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, begin, 0).unwrap();
            file.set_len(5 << 40).unwrap();
        }
        let began = std::time::Instant::now();
        let (results, summary) = grep(root, "", how("needle")).unwrap();
        assert!(texts(&results).contains(&"text:1:needle".to_owned()), "{:?}", texts(&results));
        assert!(!summary.more && began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn a013_a_tree_of_4096_levels_is_searched_as_far_as_it_can_be_named() {
    each(&[("top", "needle")], |root, base| {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut here = openat(CWD, base, flags, Mode::empty()).unwrap();
        for _ in 0..4_096 {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = openat(&here, "d", flags, Mode::empty()).unwrap();
        }
        let (results, summary) = grep(root, "", how("needle")).unwrap();
        assert_eq!(texts(&results), ["top:1:needle"]);
        assert_eq!(summary.unreadable, 1);
        let found = glob(root, &globbed(&["d"]), &stop()).unwrap();
        assert_eq!((found.total, found.unreadable), (2_048, 1));
        assert_eq!(shown(&list(root, &query("", 64), &stop()).unwrap()).len(), 65);
        remora_agent_files::remove(root, &path("d"), true).unwrap();
    });
}

#[test]
fn a022_hostile_expressions_are_refused_fast_and_slow_ones_are_linear() {
    let root = Root::open(std::env::temp_dir()).unwrap();
    for hostile in [
        "(a{1000}){1000}".to_owned(),
        "(?:(?:a{100}){100}){100}".to_owned(),
        "(?:){4294967295}".to_owned() + "(a{1000}){1000}",
        "a{4294967295}".to_owned(),
        r"\w{5000}".to_owned(),
        "(".repeat(5_000) + &")".repeat(5_000),
        "x".repeat(65_537),
        String::new(),
        "(".to_owned(),
        "(?=a)".to_owned(),
        r"(a)\1".to_owned(),
    ] {
        let started = Instant::now();
        let error = Grep::new(how(&hostile)).unwrap_err();
        let took = started.elapsed();
        assert_eq!(error.reason(), Reason::PatternInvalid, "{hostile:.40}");
        assert!(error.to_string().len() < 400, "{error}");
        // A debug build on a busy machine; what is refused late takes minutes.
        assert!(took < Duration::from_secs(3), "{hostile:.40} took {took:?}");
        eprintln!("{hostile:.40} refused in {took:?}");
    }
    drop(root);
    each(&[("a", &format!("{}b\n", "a".repeat(100_000)))], |root, _| {
        let started = Instant::now();
        assert!(grep(root, "", how("(a+)+$")).unwrap().0.is_empty());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    });
}
