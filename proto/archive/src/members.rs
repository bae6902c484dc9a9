//! The entries of a tar as they come, read strictly: what two readers could
//! understand differently is refused, and so is what ends too early. Everything
//! that is held in memory is bounded.

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::{
    BLOCK, Time,
    header::MAX_OCTAL_11,
    limits::{MAX_HEADER_BYTES, MAX_HEADERS},
    padding,
    xattrs::{self, Xattr},
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of a file before it.
    HardLink,
    /// A FIFO or a device.
    Special,
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it stands there.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// A link's target.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Last change of the content.
    pub modified: Time,
    /// Bytes of its content.
    pub size: u64,
    /// Of files and directories only: nothing else has attributes of users.
    pub xattrs: Vec<Xattr>,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub enum Broken {
    /// What comes is no archive that is accepted.
    Malformed(String),
    /// It has something that is not taken, though it is well-formed.
    Unsupported(String),
    /// The input itself failed.
    Input(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("it ends in the middle"),
            _ => Broken::Input(error),
        }
    }
}

fn malformed(text: impl Into<String>) -> Broken {
    Broken::Malformed(text.into())
}

/// What extended headers say of the next entry.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Time>,
    xattrs: Vec<Xattr>,
}

/// The entries of the tar that `input` gives, one after another.
#[derive(Debug)]
pub struct Members<R> {
    input: R,
    /// Bytes of the last entry's content that were not read, and the zeros behind it.
    left: u64,
    padding: usize,
    /// From headers for all entries that follow.
    global: Extended,
}

impl<R: Read> Members<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Members { input, left: 0, padding: 0, global: Extended::default() }
    }

    /// The next entry; `None` at the end, when all of the input was read.
    pub fn next_member(&mut self) -> Result<Option<Member>, Broken> {
        self.skip_content()?;
        let mut extended = Extended::default();
        for round in 0..=MAX_HEADERS {
            let Some(header) = self.header()? else {
                if round > 0 {
                    return Err(malformed("its last header is of an entry that does not come"));
                }
                self.end()?;
                return Ok(None);
            };
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => pax(&self.body(&header)?, &mut extended)?,
                EntryType::XGlobalHeader => {
                    let body = self.body(&header)?;
                    pax(&body, &mut self.global)?;
                    let Extended { path, link, size, modified: _, xattrs } = &self.global;
                    if path.is_some() || link.is_some() || size.is_some() || !xattrs.is_empty() {
                        return Err(malformed("a global header names a path, a size or attributes for all entries"));
                    }
                }
                EntryType::GNULongName => extended.path = Some(text(self.body(&header)?)),
                EntryType::GNULongLink => extended.link = Some(text(self.body(&header)?)),
                _ => return self.member(&header, extended).map(Some),
            }
        }
        Err(malformed(format!("more than {MAX_HEADERS} headers stand before one entry")))
    }

    /// The content of the entry that came last.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    fn member(&mut self, header: &Header, extended: Extended) -> Result<Member, Broken> {
        let size = number(header.entry_size(), "size")?;
        let size = match extended.size {
            // One of the two would be read by one reader and the other by another.
            Some(other) if other != size && other <= MAX_OCTAL_11 => {
                return Err(malformed(format!("an entry has two sizes, {size} and {other}")));
            }
            Some(other) => other,
            None => size,
        };
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let kind = match header.entry_type() {
            // Tars older than ustar know a directory by its slash alone.
            EntryType::Regular if header.as_ustar().is_none() && header.as_gnu().is_none() && path.ends_with(b"/") => {
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Fifo | EntryType::Char | EntryType::Block => Kind::Special,
            EntryType::GNUSparse => return Err(Broken::Unsupported(sparse(&path))),
            other => {
                return Err(Broken::Unsupported(format!(
                    "\"{}\" is of the kind {:?}",
                    shown(&path),
                    char::from(other.as_byte())
                )));
            }
        };
        if kind != Kind::File && size != 0 {
            return Err(malformed(format!("\"{}\" has content and is no file", shown(&path))));
        }
        (self.left, self.padding) = (size, padding(size));
        let whole = Time { seconds: seconds(header)?, nanos: 0 };
        let modified = extended.modified.or(self.global.modified).unwrap_or(whole);
        let mode = number(header.mode(), "mode")? & 0o7777;
        let mut xattrs = extended.xattrs;
        if !matches!(kind, Kind::File | Kind::Directory) {
            xattrs.clear();
        }
        Ok(Member { path, kind, link, mode, modified, size, xattrs })
    }

    /// The next header; `None` is the end mark.
    fn header(&mut self) -> Result<Option<Header>, Broken> {
        let mut header = Header::new_old();
        match fill(&mut self.input, header.as_mut_bytes())? {
            BLOCK => {}
            0 => return Err(malformed("it ends without the mark of its end; it may have been cut")),
            _ => return Err(malformed("it ends in the middle of a header")),
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum is that over the header with eight blanks in its own place.
        let of = |bytes: &[u8]| bytes.iter().copied().map(u32::from).sum::<u32>();
        let sum = of(bytes) - of(&header.as_old().cksum) + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(malformed(
                "a header does not fit its checksum; is it a tar, and of the format that was named?",
            ));
        }
        Ok(Some(header))
    }

    /// The content of an extended header.
    fn body(&mut self, header: &Header) -> Result<Vec<u8>, Broken> {
        let size = number(header.entry_size(), "size")?;
        if size > MAX_HEADER_BYTES {
            return Err(malformed(format!("an extended header has {size} bytes, more than {MAX_HEADER_BYTES}")));
        }
        let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
        self.input.read_exact(&mut body)?;
        self.input.read_exact(&mut [0; BLOCK][..padding(size)])?;
        Ok(body)
    }

    fn skip_content(&mut self) -> Result<(), Broken> {
        io::copy(&mut self.content(), &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        self.input.read_exact(&mut [0; BLOCK][..padding])?;
        Ok(())
    }

    /// Behind the end mark come zeros up to the end of the input: anything else
    /// would be dropped without a word.
    fn end(&mut self) -> Result<(), Broken> {
        let mut block = [0; BLOCK];
        loop {
            let got = fill(&mut self.input, &mut block)?;
            if block[..got].iter().any(|byte| *byte != 0) {
                return Err(malformed("something follows behind its end, perhaps a second archive"));
            }
            if got < BLOCK {
                return Ok(());
            }
        }
    }
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// See [`Members::content`]. Ends with the entry, or fails where the input ends before.
#[derive(Debug)]
pub struct Content<'a, R>(&'a mut Members<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.0.input.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.left -= got as u64;
        Ok(got)
    }
}

fn number<T>(field: io::Result<T>, what: &str) -> Result<T, Broken> {
    field.map_err(|_| malformed(format!("the {what} of an entry is no number")))
}

/// GNU tar writes a time before 1970 in binary, big end first, after a byte of ones.
fn seconds(header: &Header) -> Result<i64, Broken> {
    let field = &header.as_old().mtime;
    match field.split_last_chunk::<8>() {
        Some((lead, last)) if lead.iter().all(|byte| *byte == 0xff) => Ok(i64::from_be_bytes(*last)),
        _ => Ok(number(header.mtime(), "time")?.try_into().unwrap_or(0)),
    }
}

/// GNU tar ends a long name with a NUL.
fn text(mut body: Vec<u8>) -> Vec<u8> {
    if body.last() == Some(&0) {
        body.pop();
    }
    body
}

fn sparse(path: &[u8]) -> String {
    format!("\"{}\" is packed as a sparse file", shown(path))
}

/// A name for a message: bounded, with nothing in it that a terminal would take for an order.
pub fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).escape_debug().to_string()
}

/// Reads the records of a pax header: `length key=value` and a line feed.
fn pax(mut body: &[u8], into: &mut Extended) -> Result<(), Broken> {
    let wrong = || malformed("a record of an extended header does not fit its length");
    while !body.is_empty() {
        let digits = body.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = std::str::from_utf8(&body[..digits]).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| (digits + 2..=body.len()).contains(length)).ok_or_else(wrong)?;
        let record = body[digits + 1..length].strip_suffix(b"\n").ok_or_else(wrong)?;
        body = &body[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let as_text = std::str::from_utf8(value).ok();
        match key {
            b"path" => into.path = Some(value.to_vec()),
            b"linkpath" => into.link = Some(value.to_vec()),
            b"size" => {
                let size = as_text.and_then(|text| text.parse().ok());
                into.size = Some(size.ok_or_else(|| malformed("the size of an entry is no number"))?);
            }
            b"mtime" => {
                let time = as_text.and_then(Time::parse);
                into.modified = Some(time.ok_or_else(|| malformed("the time of an entry is no time"))?);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(Broken::Unsupported(sparse(into.path.as_deref().unwrap_or(b"an entry"))));
            }
            key => {
                // Owners, access times and the system's attributes are the reader's to take or leave.
                if let Some(name) = xattrs::name_of(key) {
                    xattrs::take(&mut into.xattrs, name, value).map_err(malformed)?;
                }
            }
        }
    }
    Ok(())
}
