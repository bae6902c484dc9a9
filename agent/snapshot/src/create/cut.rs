//! Where a file is cut. No part of the format: a reader takes any cut. But equal
//! contents are stored once only where they are cut alike.

use fastcdc::v2020::FastCDC;

use crate::limits::{
    AVERAGE_BLOB_BYTES, LARGE_FILE_AVERAGE_BLOB_BYTES, LARGE_FILE_BYTES, LARGE_FILE_MIN_BLOB_BYTES, MAX_BLOB_BYTES,
    MIN_BLOB_BYTES, WHOLE_FILE_BYTES,
};

/// How a file of some length is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Not at all.
    Whole,
    /// Into blobs of these lengths, as its content says.
    Blobs {
        /// The shortest.
        least: usize,
        /// What is aimed at.
        average: usize,
    },
}

impl Cut {
    pub(super) fn of(size: u64) -> Self {
        if size <= WHOLE_FILE_BYTES {
            Cut::Whole
        } else if size <= LARGE_FILE_BYTES {
            Cut::Blobs { least: MIN_BLOB_BYTES, average: AVERAGE_BLOB_BYTES }
        } else {
            Cut::Blobs { least: LARGE_FILE_MIN_BLOB_BYTES, average: LARGE_FILE_AVERAGE_BLOB_BYTES }
        }
    }

    /// Length of the first blob of `bytes`, which are [`MAX_BLOB_BYTES`] or end where
    /// the content ends.
    pub(super) fn first_blob(self, bytes: &[u8]) -> usize {
        match self {
            Cut::Blobs { least, average } if bytes.len() > least => {
                FastCDC::new(bytes, least, average, MAX_BLOB_BYTES).next().map_or(bytes.len(), |blob| blob.length)
            }
            _ => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn what_is_inserted_moves_few_cuts() {
        let mut bytes = vec![0; 16 << 20];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        for size in [WHOLE_FILE_BYTES + 1, LARGE_FILE_BYTES + 1] {
            let cut = Cut::of(size);
            let Cut::Blobs { least, .. } = cut else { panic!("{size} is not cut") };
            let cuts = |bytes: &[u8]| {
                let (mut at, mut blobs) = (0, BTreeSet::new());
                while at < bytes.len() {
                    let end = (at + MAX_BLOB_BYTES).min(bytes.len());
                    let length = cut.first_blob(&bytes[at..end]);
                    assert!(length <= MAX_BLOB_BYTES && (length >= least || at + length == bytes.len()));
                    blobs.insert(*blake3::hash(&bytes[at..at + length]).as_bytes());
                    at += length;
                }
                blobs
            };
            let before = cuts(&bytes);
            let mut longer = bytes.clone();
            longer.splice(1_000_000..1_000_000, *b"inserted");
            let after = cuts(&longer);
            let moved = after.difference(&before).count();
            assert!(before.len() > 60 && moved * 5 < before.len(), "{moved} of {}", before.len());
        }
        assert_eq!(Cut::of(WHOLE_FILE_BYTES), Cut::Whole);
    }
}
