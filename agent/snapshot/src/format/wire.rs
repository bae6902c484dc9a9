//! A look at protobuf bytes before they are decoded: how many messages of a kind
//! they hold. A message of two bytes on the wire takes hundreds in memory, so a
//! bound on bytes alone is none.

/// One field: its number and, where it is length-delimited, its bytes.
type Field<'a> = (u64, Option<&'a [u8]>);

/// The fields of one message; `None` in place of a field where the bytes are none.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, length: u64) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(skipped)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let bytes = match tag & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => {
                self.skip(8)?;
                None
            }
            2 => {
                let length = self.varint()?;
                Some(self.skip(length)?)
            }
            5 => {
                self.skip(4)?;
                None
            }
            _ => return None,
        };
        Some((tag >> 3, bytes))
    }
}

/// What may be in a message.
pub(crate) struct Bound {
    /// The path of field numbers that leads to the counted field.
    pub(crate) path: &'static [u64],
    /// How many there may be in the whole object.
    pub(crate) most: usize,
}

/// Whether `bytes` are fields throughout and hold no more than `bounds` say.
pub(crate) fn within(bytes: &[u8], bounds: &[Bound]) -> bool {
    bounds.iter().all(|bound| count(bytes, bound.path).is_some_and(|found| found <= bound.most))
}

fn count(bytes: &[u8], path: &[u64]) -> Option<usize> {
    let (first, below) = path.split_first()?;
    let mut fields = Fields(bytes);
    let mut found = 0;
    while !fields.0.is_empty() {
        let (number, content) = fields.field()?;
        if number != *first {
            continue;
        }
        found += match below {
            [] => 1,
            below => count(content?, below)?,
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_at_any_depth() {
        // Field 1 twice, each with field 2 (bytes) once and field 3 (varint) once.
        let inner = [0x12, 0x01, 0xFF, 0x18, 0x96, 0x01];
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend_from_slice(&[0x0A, inner.len() as u8]);
            bytes.extend_from_slice(&inner);
        }
        assert_eq!((count(&bytes, &[1]), count(&bytes, &[1, 2]), count(&bytes, &[1, 3])), (Some(2), Some(2), Some(2)));
        assert!(within(&bytes, &[Bound { path: &[1], most: 2 }]));
        assert!(!within(&bytes, &[Bound { path: &[1, 2], most: 1 }]));
        for cut in 1..bytes.len() {
            assert_eq!(count(&bytes[..cut], &[1, 2]).is_some(), cut == 8, "{cut}");
        }
        assert_eq!(count(&[0x0B], &[1]), None, "groups are not used");
        assert_eq!(count(&[0xFF; 20], &[1]), None);
    }
}
