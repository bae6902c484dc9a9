//! Uploads that end early, and files that change while they are packed.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use remora_agent_files::{ArchiveFormat, archive_get, archive_put};
use remora_agent_root::RelPath;
use remora_proto_model::{Effect, Fault, Reason};

use crate::{forge::Forge, tree::each};

/// Gives `bytes` and then fails like a client that left.
struct Left<'a>(&'a [u8]);

impl Read for Left<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            got => Ok(got),
        }
    }
}

#[test]
fn a026_an_upload_that_is_cut_leaves_whole_files_and_says_how_many() {
    each(|root, base| {
        let large = "y".repeat(100_000);
        let bytes =
            Forge::default().file("one", "1").file("two", "2").raw(b'0', b"one", b"", 100_000, large.as_bytes()).0;
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, Left(&bytes[..90_000])).unwrap_err();
        let fault = Fault::from(error);
        assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::Applied));
        assert!(fault.message.contains("entries: 2"), "{fault}");
        let mut left: Vec<_> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["one", "two"]);
        assert_eq!(fs::read(base.join("one")).unwrap(), b"1");

        let fault = Fault::from(archive_put(root, &RelPath::root(), ArchiveFormat::Tar, Left(b"")).unwrap_err());
        assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::NotApplied));
    });
}

#[test]
fn a_file_that_shrinks_ends_the_archive_and_one_that_grows_is_cut() {
    each(|root, base| {
        let large = base.join("large");
        fs::write(&large, vec![1; 4 << 20]).unwrap();
        let mut changing = Changing { at: large.clone(), to: 5 << 20, written: 0 };
        let summary = archive_get(root, &RelPath::root(), ArchiveFormat::Tar, &[], &mut changing).unwrap();
        assert_eq!(summary.content_bytes, 4 << 20);
        let mut changing = Changing { at: large, to: 1 << 20, written: 0 };
        let error = archive_get(root, &RelPath::root(), ArchiveFormat::Tar, &[], &mut changing).unwrap_err();
        assert_eq!(error.reason(), Reason::Conflict);
        assert!(error.to_string().contains("large"), "{error}");
    });
}

/// Changes a file's length once it has taken some of it.
struct Changing {
    at: PathBuf,
    to: u64,
    written: usize,
}

impl io::Write for Changing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written <= 1 << 20 && self.written + bytes.len() > 1 << 20 {
            fs::File::options().write(true).open(&self.at)?.set_len(self.to)?;
        }
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
