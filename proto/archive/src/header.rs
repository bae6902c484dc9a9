//! The header of one entry, as it is written: ustar, with an extended header
//! (pax, POSIX.1-2001) before it for what ustar has no room for.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::{
    BLOCK, Time, padding,
    record::record,
    xattrs::{Xattr, key},
};

/// The largest number that eleven octal digits hold: sizes and times.
pub(crate) const MAX_OCTAL_11: u64 = 0o77_777_777_777;
/// The largest number that seven octal digits hold: owners.
const MAX_OCTAL_7: u32 = 0o7_777_777;
/// Bytes of a name or a link's target in a ustar header.
const NAME_BYTES: usize = 100;

/// What a header says.
pub struct Written<'a> {
    /// What the entry is.
    pub kind: EntryType,
    /// With a slash at the end where it is a directory.
    pub path: &'a [u8],
    /// A link's target.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow.
    pub size: u64,
    /// Last change of the content.
    pub modified: Time,
    /// Attributes of users.
    pub xattrs: &'a [Xattr],
}

/// Writes the header of an entry, and the extended one where it needs one.
pub fn write_header(out: &mut impl Write, entry: &Written<'_>) -> io::Result<()> {
    let mut extended = Vec::new();
    let mut header = Header::new_ustar();
    let mut binary = false;
    let names = header.as_old_mut();
    for (key, value, field) in [("path", entry.path, &mut names.name), ("linkpath", entry.link, &mut names.linkname)] {
        let plain = std::str::from_utf8(value).is_ok();
        // A name that fills its field has no NUL behind it, which some readers miss.
        if value.len() >= NAME_BYTES || !plain {
            binary |= !plain;
            record(&mut extended, key.as_bytes(), value);
        }
        put(field, value);
    }
    if binary {
        // Otherwise readers may take the names for UTF-8 and change them.
        let mut first = Vec::new();
        record(&mut first, b"hdrcharset", b"BINARY");
        extended.splice(..0, first);
    }
    let seconds = u64::try_from(entry.modified.seconds).ok().filter(|seconds| *seconds <= MAX_OCTAL_11);
    if seconds.is_none() || entry.modified.nanos != 0 {
        record(&mut extended, b"mtime", entry.modified.to_string().as_bytes());
    }
    for (key, number) in [("uid", entry.uid), ("gid", entry.gid)] {
        if number > MAX_OCTAL_7 {
            record(&mut extended, key.as_bytes(), number.to_string().as_bytes());
        }
    }
    if entry.size > MAX_OCTAL_11 {
        record(&mut extended, b"size", entry.size.to_string().as_bytes());
    }
    for xattr in entry.xattrs {
        record(&mut extended, &key(&xattr.name), &xattr.value);
    }
    if !extended.is_empty() {
        let mut before = Header::new_ustar();
        before.set_entry_type(EntryType::XHeader);
        put(&mut before.as_old_mut().name, b"PaxHeader");
        before.set_mode(0o644);
        before.set_mtime(0);
        before.set_size(extended.len() as u64);
        before.set_cksum();
        out.write_all(before.as_bytes())?;
        out.write_all(&extended)?;
        out.write_all(&[0; BLOCK][..padding(extended.len() as u64)])?;
    }
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.min(MAX_OCTAL_7).into());
    header.set_gid(entry.gid.min(MAX_OCTAL_7).into());
    header.set_mtime(seconds.unwrap_or(0));
    header.set_size(entry.size.min(MAX_OCTAL_11));
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn put(field: &mut [u8], value: &[u8]) {
    let bytes = value.len().min(field.len());
    field[..bytes].copy_from_slice(&value[..bytes]);
}
