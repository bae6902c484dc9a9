//! Paths in manifests: bytes, relative, in one order.

use std::cmp::Ordering;

use remora_agent_root::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES};

/// The order of entries: component by component, each by its bytes, so that a
/// directory is followed by all that lies below it.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    // A path that ends, then a slash, sort before every other byte.
    let rank = |path: &[u8]| match path.get(common) {
        None => 0,
        Some(b'/') => 1,
        Some(byte) => u16::from(*byte) + 2,
    };
    rank(a).cmp(&rank(b))
}

/// Whether `path` is one that a manifest may hold: nothing that could name
/// anything above or beside the tree. Empty is the tree's root itself.
pub(crate) fn is_valid(path: &[u8]) -> bool {
    let component = |name: &[u8]| {
        !name.is_empty() && name.len() <= MAX_NAME_BYTES && name != b"." && name != b".." && !name.contains(&0)
    };
    path.is_empty() || (path.len() <= MAX_PATH_BYTES && path.split(|byte| *byte == b'/').all(component))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_path_inside() {
        for bad in [&b"/"[..], b"/a", b"a/", b"a//b", b".", b"a/..", b"..", b"../a", b"a/./b", b"a\0", &[b'a'; 256]] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        for good in [&b""[..], b"a", b"a/b", b"...", b"\xFF/\n", &[b'a'; 255]] {
            assert!(is_valid(good), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_components(
            a in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..4), 0..5),
            b in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..4), 0..5),
        ) {
            let clean = |parts: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                parts.into_iter().map(|part| part.into_iter().map(|byte| if byte == b'/' { b'.' } else { byte }).collect()).collect()
            };
            let (a, b) = (clean(a), clean(b));
            prop_assert_eq!(path_order(&a.join(&b'/'), &b.join(&b'/')), a.cmp(&b));
        }
    }
}
