//! What would do harm is refused before it does.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use remora_agent_files::{ArchiveFormat, archive_put};
use remora_agent_root::RelPath;
use remora_proto_model::Reason;

use crate::{
    forge::Forge,
    tree::{each, path, record},
};

#[test]
fn a073_archives_that_would_do_harm_are_refused() {
    let forge = Forge::default;
    let long = "x".repeat(256);
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("climbing name", forge().file("../out/secret", "evil").end(), Reason::ArchiveInvalid),
        ("climbing in the middle", forge().file("a/../../out/secret", "evil").end(), Reason::ArchiveInvalid),
        ("climbing inside", forge().file("a/../b", "evil").end(), Reason::ArchiveInvalid),
        ("absolute name", forge().file("/tmp/evil", "evil").end(), Reason::ArchiveInvalid),
        ("no name", forge().file("", "evil").end(), Reason::ArchiveInvalid),
        ("long name", forge().pax(&[("path", &long)]).file("x", "").end(), Reason::ArchiveInvalid),
        ("NUL in a name", forge().pax(&[("path", "a\0b")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("climbing by pax", forge().pax(&[("path", "../out/secret")]).file("x", "evil").end(), Reason::ArchiveInvalid),
        (
            "climbing by GNU",
            forge().raw(b'L', b"././@LongLink", b"", 14, b"../out/secret\0").file("x", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "link out, then through it",
            forge().link(b'2', "l", "../out").file("l/secret", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "absolute link, then through it",
            forge().link(b'2', "l", "/").file("l/evil", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "out of the target, inside the workspace",
            forge().link(b'2', "l", "..").file("l/evil", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "directory through a link out",
            forge().link(b'2', "l", "../../out").link(b'5', "l/d/", "").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "link through a link out",
            forge().link(b'2', "l", "../../out").link(b'2', "l/d", "x").end(),
            Reason::PathEscapesRoot,
        ),
        ("hard link out", forge().link(b'1', "h", "../../out/secret").end(), Reason::ArchiveInvalid),
        ("hard link to an absolute name", forge().link(b'1', "h", "/etc/passwd").end(), Reason::ArchiveInvalid),
        (
            "hard link through a link out",
            forge().link(b'2', "l", "../../out").link(b'1', "h", "l/secret").end(),
            Reason::PathEscapesRoot,
        ),
        ("hard link to nothing", forge().link(b'1', "h", "none").end(), Reason::ArchiveInvalid),
        ("character device", forge().link(b'3', "null", "").end(), Reason::ArchiveInvalid),
        ("block device", forge().link(b'4', "sda", "").end(), Reason::ArchiveInvalid),
        ("FIFO", forge().link(b'6', "fifo", "").end(), Reason::ArchiveInvalid),
        ("unknown kind", forge().link(b'Z', "z", "").end(), Reason::ContentUnsupported),
        ("GNU sparse", forge().link(b'S', "s", "").end(), Reason::ContentUnsupported),
        ("pax sparse", forge().pax(&[("GNU.sparse.major", "1")]).file("s", "x").end(), Reason::ContentUnsupported),
        ("two sizes", forge().pax(&[("size", "0")]).file("x", "content").end(), Reason::ArchiveInvalid),
        ("directory with content", forge().raw(b'5', b"d/", b"", 4, b"evil").end(), Reason::ArchiveInvalid),
        ("link with content", forge().raw(b'2', b"l", b"x", 4, b"evil").end(), Reason::ArchiveInvalid),
        ("link without a target", forge().link(b'2', "l", "").end(), Reason::ArchiveInvalid),
        ("size beyond the end", forge().raw(b'0', b"x", b"", 1 << 20, b"short").end(), Reason::ArchiveInvalid),
        (
            "size of exabytes",
            forge().pax(&[("size", "9223372036854775807")]).raw(b'0', b"x", b"", 0o77_777_777_777, b"").end(),
            Reason::ArchiveInvalid,
        ),
        ("size that is none", forge().pax(&[("size", "-1")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("time that is none", forge().pax(&[("mtime", "now")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("records that lie", forge().raw(b'x', b"p", b"", 9, b"99 path=x").file("x", "").end(), Reason::ArchiveInvalid),
        ("huge extended header", forge().raw(b'x', b"p", b"", 1 << 33, b"").end(), Reason::ArchiveInvalid),
        ("huge long name", forge().raw(b'L', b"l", b"", 1 << 33, b"").end(), Reason::ArchiveInvalid),
        ("extended header of nothing", forge().pax(&[("path", "x")]).end(), Reason::ArchiveInvalid),
        ("a global path", forge().raw(b'g', b"g", b"", 9, b"9 path=x\n").file("y", "").end(), Reason::ArchiveInvalid),
        (
            "attributes for all",
            forge().raw(b'g', b"g", b"", 25, b"25 SCHILY.xattr.user.x=y\n").file("y", "").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "attribute without a name",
            forge().pax(&[("SCHILY.xattr.user.", "x")]).file("y", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "attribute with a NUL in its name",
            forge().pax(&[("SCHILY.xattr.user.a\0b", "x")]).file("y", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "attribute with a long name",
            forge().pax(&[(&format!("SCHILY.xattr.user.{long}"), "x")]).file("y", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "attribute with a long value",
            forge().pax(&[("SCHILY.xattr.user.x", &"x".repeat(65_537))]).file("y", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "attributes without end",
            (0..257)
                .collect::<Vec<_>>()
                .chunks(32)
                .fold(forge(), |forge, numbers| {
                    let names: Vec<_> = numbers.iter().map(|number| format!("SCHILY.xattr.user.{number}")).collect();
                    forge.pax(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>())
                })
                .file("y", "evil")
                .end(),
            Reason::ArchiveInvalid,
        ),
        (
            "more bytes of attributes than one entry may have",
            (0..9)
                .fold(forge(), |forge, number| {
                    forge.pax(&[(&format!("SCHILY.xattr.user.{number}"), &"x".repeat(60_000))])
                })
                .file("y", "evil")
                .end(),
            Reason::ArchiveInvalid,
        ),
        (
            "headers without end",
            (0..20).fold(forge(), |forge, _| forge.pax(&[("a", "b")])).end(),
            Reason::ArchiveInvalid,
        ),
        ("no tar", b"hello".repeat(1_000), Reason::ArchiveInvalid),
        ("nothing", Vec::new(), Reason::ArchiveInvalid),
        ("no end mark", forge().file("x", "whole").0, Reason::ArchiveInvalid),
        (
            "two archives",
            [forge().file("x", "one").end(), forge().file("x", "two").end()].concat(),
            Reason::ArchiveInvalid,
        ),
        ("cut in a header", forge().file("x", "").0[..300].to_vec(), Reason::ArchiveInvalid),
    ];
    each(|root, base| {
        for (what, bytes, reason) in &cases {
            let packed = zstd::encode_all(&bytes[..], 1).unwrap();
            for (format, bytes) in [(ArchiveFormat::Tar, bytes), (ArchiveFormat::TarZstd, &packed)] {
                fs::create_dir(base.join("t")).unwrap();
                let error = archive_put(root, &path("t"), format, &bytes[..]).expect_err(what);
                assert_eq!(error.reason(), *reason, "{what}: {error}");
                let left = record(&base.join("t"));
                let evil = blake3::hash(b"evil").to_string();
                assert!(left.values().all(|entry| entry.3 != evil), "{what}: {left:?}");
                assert!(!left.keys().any(|name| name.to_string_lossy().contains(".remora-tmp")), "{what}: {left:?}");
                fs::remove_dir_all(base.join("t")).unwrap();
            }
        }
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);
    });
}

#[test]
fn a073_duplicates_and_odd_orders_are_taken_as_they_come() {
    each(|root, base| {
        fs::write(base.join("kept"), "old").unwrap();
        symlink("kept", base.join("l")).unwrap();
        let bytes = Forge::default()
            .file("twice", "one")
            .file("twice", "two")
            .file("l", "took the place of the link")
            .file("made/on/the/way", "x")
            .link(b'5', "made/", "")
            .link(b'1', "h", "twice")
            .link(b'1', "h", "twice")
            .link(b'2', "s", "made/on")
            .file("s/through", "inside")
            .end();
        archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &bytes[..]).unwrap();
        assert_eq!(fs::read(base.join("twice")).unwrap(), b"two");
        assert_eq!(fs::read(base.join("h")).unwrap(), b"two");
        assert_eq!(fs::metadata(base.join("h")).unwrap().nlink(), 2);
        assert_eq!(fs::read(base.join("kept")).unwrap(), b"old");
        assert!(fs::symlink_metadata(base.join("l")).unwrap().is_file());
        assert_eq!(fs::read(base.join("made/on/through")).unwrap(), b"inside");
        assert_eq!(fs::metadata(base.join("made")).unwrap().mtime(), 1);
        let file = Forge::default().link(b'5', "twice", "").end();
        assert_eq!(
            archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &file[..]).unwrap_err().reason(),
            Reason::NotADirectory
        );
    });
}

/// Rights and labels are the system's to give; an archive that brings some is taken without them.
#[test]
fn a073_attributes_of_the_system_are_not_taken() {
    each(|root, base| {
        let capability = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let bytes = Forge::default()
            .pax(&[
                ("SCHILY.xattr.security.capability", capability),
                ("SCHILY.xattr.trusted.overlay.opaque", "y"),
                ("SCHILY.xattr.system.posix_acl_access", "x"),
                ("SCHILY.xattr.user.kept", "yes"),
                ("SCHILY.xattr.user.kept", "the later one"),
            ])
            .file("f", "x")
            .pax(&[("SCHILY.xattr.user.link", "x")])
            .link(b'2', "l", "f")
            .end();
        let summary = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &bytes[..]).unwrap();
        assert_eq!((summary.entries, summary.xattrs_refused), (2, 0));
        let mut names = vec![0; 65_536];
        let length = rustix::fs::listxattr(base.join("f"), &mut names[..]).unwrap();
        let names: Vec<_> = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        assert!(names.iter().all(|name| *name == b"user.kept" || *name == b"security.selinux"), "{names:?}");
        assert_eq!(record(base)[std::path::Path::new("f")].5["user.kept"], b"the later one");
    });
}
