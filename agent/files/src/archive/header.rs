//! The header of one entry, as it is written: ustar, with an extended header
//! (pax, POSIX.1-2001) before it for what ustar has no room for.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::{BLOCK, padding};

/// The largest number that eleven octal digits hold: sizes and times.
pub(super) const MAX_OCTAL_11: u64 = 0o77_777_777_777;
/// The largest number that seven octal digits hold: owners.
const MAX_OCTAL_7: u32 = 0o7_777_777;
/// Bytes of a name or a link's target in a ustar header.
const NAME_BYTES: usize = 100;

/// What a header says.
pub(crate) struct Written<'a> {
    pub(crate) kind: EntryType,
    /// With a slash at the end where it is a directory.
    pub(crate) path: &'a [u8],
    /// A link's target.
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) modified: PaxTime,
}

/// A point in time; the nanoseconds go forward from the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PaxTime {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// Writes the header of an entry, and the extended one where it needs one.
pub(crate) fn write_header(out: &mut impl Write, entry: &Written<'_>) -> io::Result<()> {
    let mut extended = Vec::new();
    let mut header = Header::new_ustar();
    let mut binary = false;
    let names = header.as_old_mut();
    for (key, value, field) in [("path", entry.path, &mut names.name), ("linkpath", entry.link, &mut names.linkname)] {
        let plain = std::str::from_utf8(value).is_ok();
        // A name that fills its field has no NUL behind it, which some readers miss.
        if value.len() >= NAME_BYTES || !plain {
            binary |= !plain;
            record(&mut extended, key, value);
        }
        put(field, value);
    }
    if binary {
        // Otherwise readers may take the names for UTF-8 and change them.
        let mut first = Vec::new();
        record(&mut first, "hdrcharset", b"BINARY");
        extended.splice(..0, first);
    }
    let seconds = u64::try_from(entry.modified.seconds).ok().filter(|seconds| *seconds <= MAX_OCTAL_11);
    if seconds.is_none() || entry.modified.nanos != 0 {
        record(&mut extended, "mtime", entry.modified.to_string().as_bytes());
    }
    for (key, number) in [("uid", entry.uid), ("gid", entry.gid)] {
        if number > MAX_OCTAL_7 {
            record(&mut extended, key, number.to_string().as_bytes());
        }
    }
    if entry.size > MAX_OCTAL_11 {
        record(&mut extended, "size", entry.size.to_string().as_bytes());
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

/// `length key=value` and a line feed; the length counts itself.
fn record(into: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    // The digits of the length may have made it one digit longer.
    length = rest + digits(length);
    into.extend_from_slice(format!("{length} {key}=").as_bytes());
    into.extend_from_slice(value);
    into.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Decimal seconds with the nanoseconds behind the point, as pax writes it.
impl std::fmt::Display for PaxTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.seconds, self.nanos) {
            (seconds, 0) => write!(f, "{seconds}"),
            (seconds @ 0.., nanos) => write!(f, "{seconds}.{nanos:09}"),
            // -1 s and 250,000,000 ns is -0.75.
            (seconds, nanos) => write!(f, "-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        }
    }
}

impl PaxTime {
    /// Reads what [`Display`](std::fmt::Display) writes; digits past the ninth are dropped.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(part) {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanos: u32 = format!("{part:0<9}").get(..9)?.parse().ok()?;
        Some(match (negative, nanos) {
            (false, nanos) => PaxTime { seconds, nanos },
            (true, 0) => PaxTime { seconds: -seconds, nanos },
            (true, nanos) => PaxTime { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (seconds, nanos, text) in [
            (0, 0, "0"),
            (12, 5, "12.000000005"),
            (-1, 250_000_000, "-0.750000000"),
            (-2, 0, "-2"),
            (-3, 999_999_999, "-2.000000001"),
            (i64::MAX, 1, "9223372036854775807.000000001"),
        ] {
            let time = PaxTime { seconds, nanos };
            assert_eq!(time.to_string(), text);
            assert_eq!(PaxTime::parse(text), Some(time));
        }
        assert_eq!(PaxTime::parse("1.12345678999"), Some(PaxTime { seconds: 1, nanos: 123_456_789 }));
        for bad in ["", "-", ".5", "1.x", "+1", "--1", "1e3", "99999999999999999999"] {
            assert_eq!(PaxTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for bytes in 0..1_200 {
            let mut found = Vec::new();
            record(&mut found, "path", &vec![b'x'; bytes]);
            let length = String::from_utf8(found.clone()).unwrap().split(' ').next().unwrap().parse();
            assert_eq!(length, Ok(found.len()), "{bytes}");
        }
    }
}
