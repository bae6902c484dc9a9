//! The bytes of an archive as they come: decompressed where they are
//! compressed, counted, and ended where they grow beyond what is honest.

use std::{
    fmt,
    io::{self, BufReader, Read},
};

use zstd::Decoder;

use crate::limits::{
    ARCHIVE_BLOCK_BYTES, ARCHIVE_RATIO_FREE_BYTES, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, MAX_ARCHIVE_WINDOW_LOG,
};

/// Why no more bytes come; found inside an [`io::Error`].
#[derive(Debug)]
pub enum UnpackFault {
    /// Whoever sends them failed or left.
    Input(io::Error),
    /// They are not what was announced.
    Undecodable(String),
    /// They become more than is taken.
    TooMuch(String),
}

impl fmt::Display for UnpackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackFault::Input(error) => error.fmt(f),
            UnpackFault::Undecodable(text) | UnpackFault::TooMuch(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for UnpackFault {}

/// See the module.
pub struct Unpacked<R: Read> {
    stream: Stream<R>,
    unpacked: u64,
}

enum Stream<R: Read> {
    Plain(Counted<R>),
    Zstd(Box<Decoder<'static, BufReader<Counted<R>>>>),
}

struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Unpacked<R> {
    /// The tar that `input` gives, in a zstd stream where `zstd`.
    pub fn new(zstd: bool, input: R) -> io::Result<Self> {
        let input = Counted { input, bytes: 0 };
        let stream = match zstd {
            false => Stream::Plain(input),
            true => {
                let mut decoder = Decoder::with_buffer(BufReader::with_capacity(ARCHIVE_BLOCK_BYTES, input))?;
                decoder.window_log_max(MAX_ARCHIVE_WINDOW_LOG)?;
                Stream::Zstd(Box::new(decoder))
            }
        };
        Ok(Unpacked { stream, unpacked: 0 })
    }

    fn check(&self) -> Result<(), UnpackFault> {
        // Headers of small files are as large as what they hold.
        if self.unpacked / 2 > MAX_ARCHIVE_BYTES {
            return Err(UnpackFault::TooMuch(format!("it unpacks to more than {MAX_ARCHIVE_BYTES} bytes")));
        }
        let Stream::Zstd(decoder) = &self.stream else { return Ok(()) };
        let packed = decoder.get_ref().get_ref().bytes;
        if self.unpacked > ARCHIVE_RATIO_FREE_BYTES && self.unpacked / MAX_ARCHIVE_RATIO > packed {
            return Err(UnpackFault::TooMuch(format!("{packed} of its bytes unpack to {} and more", self.unpacked)));
        }
        Ok(())
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check().map_err(io::Error::other)?;
        let got = match &mut self.stream {
            Stream::Plain(input) => input.read(buffer)?,
            Stream::Zstd(decoder) => decoder.read(buffer).map_err(|error| match error.get_ref() {
                Some(inner) if inner.is::<UnpackFault>() => error,
                _ => io::Error::other(UnpackFault::Undecodable(format!("its zstd stream does not unpack: {error}"))),
            })?,
        };
        self.unpacked += got as u64;
        Ok(got)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer).map_err(|error| io::Error::other(UnpackFault::Input(error)))?;
        self.bytes += got as u64;
        Ok(got)
    }
}

impl<R: Read> fmt::Debug for Unpacked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked").field("unpacked", &self.unpacked).finish_non_exhaustive()
    }
}
