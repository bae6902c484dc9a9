//! What is too large, too deep or too much is refused, and says so.

use std::{
    fs,
    io::{self, Read, Write as _},
};

use remora_agent_files::{ArchiveFormat, archive_put};
use remora_agent_root::{RelPath, Root};
use remora_proto_model::{Fault, Reason};

use crate::{
    forge::Forge,
    tree::{each, get, path},
};

#[test]
fn a019_a_sparse_file_of_terabytes_is_refused_before_a_byte_of_it() {
    each(|root, base| {
        fs::File::create(base.join("sparse")).unwrap().set_len(5 << 40).unwrap();
        let fault = Fault::from(get(root, "", ArchiveFormat::TarZstd, &[]).unwrap_err());
        assert_eq!(fault.reason, Reason::TooLarge);
        assert!(fault.message.contains("sparse") && fault.hint.contains("exclude"), "{fault}");
    });
}

#[test]
fn a013_a_tree_too_deep_to_name_is_a_clean_error_and_a_deep_one_is_packed() {
    each(|root, base| {
        fs::create_dir_all(base.join("d/".repeat(500))).unwrap();
        let (summary, bytes) = get(root, "", ArchiveFormat::TarZstd, &[]).unwrap();
        assert_eq!(summary.entries, 500);
        archive_put(root, &path("twin"), ArchiveFormat::TarZstd, &bytes[..]).unwrap();
        assert!(base.join("twin").join("d/".repeat(500)).is_dir());
        fs::remove_dir_all(base.join("twin")).unwrap();

        let mut here = root.open_dir(&path("d/".repeat(500))).unwrap();
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            here = rustix::fs::openat(&here, "d", flags, rustix::fs::Mode::empty()).unwrap();
        }
        assert_eq!(get(root, "", ArchiveFormat::Tar, &[]).unwrap_err().reason(), Reason::PathInvalid);
    });
}

#[test]
fn a073_bombs_are_stopped_by_their_ratio_and_their_number() {
    each(|root, base| {
        // 2 GB of zeros in 65 KB, of which a quarter of a GB is unpacked at most.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let head = Forge::default().raw(b'0', b"bomb", b"", 10 << 30, b"").0;
        encoder.write_all(&head).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..2 << 10).for_each(|_| encoder.write_all(&zeros).unwrap());
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 18, "{}", bomb.len());
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::TarZstd, &bomb[..]).unwrap_err();
        assert!(error.reason() == Reason::ArchiveInvalid && error.to_string().contains("too large"), "{error}");
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);

        let dot = Forge::default().link(b'5', "./", "").0;
        let endless = Endless { block: dot, at: 0 };
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, endless).unwrap_err();
        assert!(error.to_string().contains("1000000 entries"), "{error}");
        let long = format!("{}/", "d".repeat(250)).repeat(15);
        let held = Endless { block: Forge::default().pax(&[("path", &long)]).link(b'5', "d/", "").0, at: 0 };
        let error = archive_put(root, &path("held"), ArchiveFormat::Tar, held).unwrap_err();
        assert!(error.to_string().contains("one directory too many"), "{error}");
        let directories = Endless { block: Forge::default().pax(&[("path", "x")]).0, at: 0 };
        assert_eq!(
            archive_put(root, &RelPath::root(), ArchiveFormat::Tar, directories).unwrap_err().reason(),
            Reason::ArchiveInvalid
        );
    });
}

#[test]
fn a021_linked_files_are_packed_up_to_what_may_be_held_of_them() {
    let temp = tempfile::tempdir().unwrap();
    let deep = temp.path().join(format!("{}/", "d".repeat(250)).repeat(15));
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(temp.path().join("z")).unwrap();
    let root = Root::open(temp.path()).unwrap();
    let link = |number: usize| {
        fs::write(deep.join(number.to_string()), "").unwrap();
        fs::hard_link(deep.join(number.to_string()), temp.path().join("z").join(number.to_string())).unwrap();
    };
    (0..1_000).for_each(link);
    assert_eq!(get(&root, "", ArchiveFormat::Tar, &[]).unwrap().0.entries, 16 + 2_000);
    (1_000..8_900).for_each(link);
    let error = get(&root, "", ArchiveFormat::Tar, &[]).unwrap_err();
    assert_eq!(error.reason(), Reason::LimitReached, "{error}");
}

/// The same block again and again.
struct Endless {
    block: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = (&self.block[self.at..]).read(buffer)?;
        self.at = (self.at + got) % self.block.len();
        Ok(got)
    }
}
