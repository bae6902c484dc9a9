//! Where a file is cut. No part of the format: a reader takes any cut. But equal
//! contents are stored once only where they are cut alike.

use fastcdc::v2020::FastCDC;

use crate::limits::{AVERAGE_BLOB_BYTES, MAX_BLOB_BYTES, MIN_BLOB_BYTES};

/// Length of the first blob of `bytes`, which are [`MAX_BLOB_BYTES`] or end where
/// the content ends.
pub(super) fn first_blob(bytes: &[u8]) -> usize {
    if bytes.len() <= MIN_BLOB_BYTES {
        return bytes.len();
    }
    FastCDC::new(bytes, MIN_BLOB_BYTES, AVERAGE_BLOB_BYTES, MAX_BLOB_BYTES)
        .next()
        .map_or(bytes.len(), |blob| blob.length)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn what_is_inserted_moves_few_cuts() {
        let mut bytes = vec![0; 4 << 20];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        let cuts = |bytes: &[u8]| {
            let (mut at, mut blobs) = (0, BTreeSet::new());
            while at < bytes.len() {
                let end = (at + MAX_BLOB_BYTES).min(bytes.len());
                let length = first_blob(&bytes[at..end]);
                assert!(length <= MAX_BLOB_BYTES && (length >= MIN_BLOB_BYTES || at + length == bytes.len()));
                blobs.insert(*blake3::hash(&bytes[at..at + length]).as_bytes());
                at += length;
            }
            blobs
        };
        let before = cuts(&bytes);
        bytes.splice(1_000_000..1_000_000, *b"inserted");
        let after = cuts(&bytes);
        assert!(before.len() > 30 && after.difference(&before).count() <= 3, "{}", before.len());
    }
}
