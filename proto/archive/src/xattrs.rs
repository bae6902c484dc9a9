//! Extended attributes of users, as archives carry them: records of the name
//! `SCHILY.xattr.` and the attribute's own, which star began and which GNU tar and
//! libarchive read and write. Of all namespaces only `user.`: labels and
//! capabilities are the system's to give.

use std::{ffi::OsStr, os::fd::AsFd, os::unix::ffi::OsStrExt as _};

use rustix::{
    fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr},
    io::Errno,
};

use crate::limits::{MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES, MAX_XATTRS, MAX_XATTRS_BYTES};

const PREFIX: &[u8] = b"SCHILY.xattr.";
const NAMESPACE: &[u8] = b"user.";

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// With its namespace, `user.`.
    pub name: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// The key of the record for the attribute `name`. The equals sign ends a key, so
/// GNU tar writes it, and the percent sign, in hexadecimal.
pub fn key(name: &[u8]) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}

/// The attribute whose record has this key; `None` where it is of no user's attribute.
pub fn name_of(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(PREFIX)?;
    let mut name = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            [b'%', b'3', b'D' | b'd', after @ ..] => (b'=', after),
            _ => (*first, after),
        };
        name.push(byte);
        rest = after;
    }
    name.starts_with(NAMESPACE).then_some(name)
}

/// Takes an attribute that an archive gives; the later of two with one name counts.
/// An error says what is wrong with it.
pub fn take(into: &mut Vec<Xattr>, name: Vec<u8>, value: &[u8]) -> Result<(), String> {
    let shown = String::from_utf8_lossy(&name[..name.len().min(100)]).escape_debug().to_string();
    if name.len() > MAX_XATTR_NAME_BYTES || name.len() == NAMESPACE.len() || name.contains(&0) {
        return Err(format!("the extended attribute \"{shown}\" has a name that none can have"));
    }
    if value.len() > MAX_XATTR_VALUE_BYTES {
        return Err(format!(
            "the extended attribute \"{shown}\" has {} bytes, more than {MAX_XATTR_VALUE_BYTES}",
            value.len()
        ));
    }
    into.retain(|xattr| xattr.name != name);
    into.push(Xattr { name, value: value.to_vec() });
    let bytes: usize = into.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
    if into.len() > MAX_XATTRS || bytes > MAX_XATTRS_BYTES {
        return Err(format!(
            "an entry has more than {MAX_XATTRS} extended attributes or {MAX_XATTRS_BYTES} bytes of them"
        ));
    }
    Ok(())
}

/// The user's attributes of what `fd` is open on, ascending by name; none where the
/// file system has none. More than an entry of an archive may have is
/// [`Errno::TOOBIG`].
pub fn read(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let mut names = Vec::new();
    match into(&mut names, MAX_XATTR_VALUE_BYTES, |buffer| flistxattr(&fd, buffer)) {
        Ok(()) => {}
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let (mut found, mut value) = (Vec::new(), Vec::new());
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(NAMESPACE)) {
        match into(&mut value, MAX_XATTR_VALUE_BYTES, |buffer| fgetxattr(&fd, OsStr::from_bytes(name), buffer)) {
            Ok(()) => take(&mut found, name.to_vec(), &value).map_err(|_| Errno::TOOBIG)?,
            // It went meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// First buffer for a list of names or a value: most fit.
const SMALL_BUFFER_BYTES: usize = 256;

/// Fills `buffer` with what `read` gives, in one call where it is small.
fn into(buffer: &mut Vec<u8>, most: usize, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
    buffer.resize(SMALL_BUFFER_BYTES, 0);
    let length = match read(buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(most, 0);
            read(buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(())
}

/// Sets `xattrs`; how many the file system or the system's rules did not take.
pub fn set(fd: impl AsFd, xattrs: &[Xattr]) -> Result<u64, Errno> {
    let mut refused = 0;
    for Xattr { name, value } in xattrs {
        match fsetxattr(&fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => refused += 1,
            Err(errno) => return Err(errno),
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_every_name_and_only_users_attributes_are_read() {
        for name in ["user.a", "user.a=b", "user.100%", "user.%3D=%25", "user.é"] {
            let key = key(name.as_bytes());
            assert!(!key.contains(&b'='), "{name}");
            assert_eq!(name_of(&key).as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(key(b"user.a=b"), b"SCHILY.xattr.user.a%3Db");
        for other in ["SCHILY.xattr.security.capability", "SCHILY.xattr.trusted.x", "SCHILY.acl.access", "user.a"] {
            assert_eq!(name_of(other.as_bytes()), None, "{other}");
        }
    }
}
