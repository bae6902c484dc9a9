//! One record of an extended header.

/// Adds a record: `length key=value` and a line feed; the length counts itself.
pub(crate) fn record(into: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    // The digits of the length may have made it one digit longer.
    length = rest + digits(length);
    into.extend_from_slice(format!("{length} ").as_bytes());
    for part in [key, b"=", value, b"\n"] {
        into.extend_from_slice(part);
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for bytes in 0..1_200 {
            let mut found = Vec::new();
            record(&mut found, b"path", &vec![b'x'; bytes]);
            let length = String::from_utf8(found.clone()).unwrap().split(' ').next().unwrap().parse();
            assert_eq!(length, Ok(found.len()), "{bytes}");
        }
    }
}
