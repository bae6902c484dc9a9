//! Paths of requests as bytes: a name in a workspace need not be UTF-8, so what
//! is percent-encoded stays the bytes that it stands for.

use bytes::Bytes;
use remora_proto_model::Fault;

/// Where every path of a project begins.
const PROJECTS: &str = "/api/v1/projects/";

/// The parts of `/api/v1/projects/{name}/{kind}/{rest}`; the rest as it came.
pub(super) fn parts(path: &str) -> Result<(String, &str), Fault> {
    let below = path.strip_prefix(PROJECTS).ok_or_else(|| Fault::invalid("path", "is no path of a project"))?;
    let (name, below) = below.split_once('/').unwrap_or((below, ""));
    let name = String::from_utf8(decoded(name)?).map_err(|_| Fault::invalid("name", "is no UTF-8"))?;
    let rest = below.split_once('/').map_or("", |(_, rest)| rest);
    Ok((name, rest))
}

/// The bytes that percent-encoded text stands for (RFC 3986, 2.1).
pub(super) fn decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let byte = rest.get(..2).and_then(|digits| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            u8::try_from(digit(0)? * 16 + digit(1)?).ok()
        });
        bytes.push(byte.ok_or_else(|| {
            Fault::invalid("path", "has a % that no two hexadecimal digits follow").hint("write a % in a name as %25")
        })?);
        rest = &rest[2..];
    }
    Ok(bytes)
}

/// A path of a JSON body: text, or bytes in base64.
pub(super) fn of_text(path: &str) -> Bytes {
    Bytes::copy_from_slice(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_way_through() {
        let (name, rest) = parts("/api/v1/projects/shop/files/a%20b/%ff%2F%25.txt").unwrap();
        assert_eq!((name.as_str(), rest), ("shop", "a%20b/%ff%2F%25.txt"));
        assert_eq!(decoded(rest).unwrap(), b"a b/\xff/%.txt");
        assert_eq!(parts("/api/v1/projects/shop/exec").unwrap(), ("shop".to_owned(), ""));
        assert_eq!(parts("/api/v1/projects/shop/files//etc/passwd").unwrap().1, "/etc/passwd");
        for bad in ["%", "%1", "%zz", "a%+1", "%é"] {
            assert!(decoded(bad).unwrap_err().message.starts_with("path:"), "{bad}");
        }
    }
}
