//! A frame: a run of whole blobs, compressed together, the smallest thing that is
//! fetched. In a plain pack it is a zstd frame; sealed it is a skippable one, so
//! that a pack is a well-formed zstd stream either way.

use super::{Crypt, block::unpack, crypt::Sealed};
use crate::{
    SnapshotError,
    limits::{MAX_FRAME_RAW, MAX_FRAME_STORED},
};

/// Skippable frame that holds a sealed one.
const SEALED_MAGIC: u32 = 0x184D_2A5E;
/// Magic number and length of a skippable frame.
pub(crate) const SKIPPABLE_HEAD: usize = 8;

/// Level of contents: what two cores read, they can compress as they go.
const LEVEL: i32 = 1;

/// `raw` as it is stored. What does not shrink is stored as it is, in the raw
/// blocks that zstd has for it.
pub fn encode_frame(crypt: &Crypt, raw: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let packed =
        zstd::bulk::compress(raw, LEVEL).map_err(|_| SnapshotError::Defect { what: "zstd refused to compress" })?;
    if !crypt.is_encrypted() {
        return Ok(packed);
    }
    let sealed = crypt.seal(Sealed::Frame, b"", packed)?;
    let mut stored = Vec::with_capacity(SKIPPABLE_HEAD + sealed.len());
    write_skippable(&mut stored, SEALED_MAGIC, &sealed);
    Ok(stored)
}

/// The content of a frame of `raw` bytes. `object` is the pack's key, for the
/// error. Whoever has a hash of `stored` compares it first.
pub fn decode_frame(crypt: &Crypt, object: &str, stored: &[u8], raw: usize) -> Result<Vec<u8>, SnapshotError> {
    let damaged = |problem| SnapshotError::damaged(object, problem);
    if stored.len() > MAX_FRAME_STORED || raw > MAX_FRAME_RAW {
        return Err(damaged("a frame is longer than any may be"));
    }
    if !crypt.is_encrypted() {
        return unpack(stored, raw).ok_or_else(|| damaged("a frame does not unpack"));
    }
    let sealed = read_skippable(stored, SEALED_MAGIC).ok_or_else(|| damaged("a frame is not sealed"))?;
    let packed =
        crypt.open(Sealed::Frame, b"", sealed.to_vec()).ok_or_else(|| damaged("a frame does not open with the key"))?;
    unpack(&packed, raw).ok_or_else(|| damaged("a frame does not unpack"))
}

pub(crate) fn write_skippable(out: &mut Vec<u8>, magic: u32, content: &[u8]) {
    out.extend_from_slice(&magic.to_le_bytes());
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(content);
}

/// The content of a skippable frame that is all of `bytes`.
pub(crate) fn read_skippable(bytes: &[u8], magic: u32) -> Option<&[u8]> {
    let (head, content) = bytes.split_at_checked(SKIPPABLE_HEAD)?;
    let length = u32::from_le_bytes(head[4..].try_into().ok()?);
    (head[..4] == magic.to_le_bytes() && length as usize == content.len()).then_some(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn the_largest_frame_that_does_not_shrink_fits() {
        for crypt in [Crypt::plain(), Crypt::encrypted(&[1; 32])] {
            let raw = noise(MAX_FRAME_RAW);
            let stored = encode_frame(&crypt, &raw).unwrap();
            assert!(stored.len() <= MAX_FRAME_STORED, "{}", stored.len());
            assert_eq!(decode_frame(&crypt, "packs/x", &stored, raw.len()).unwrap(), raw);
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert!(bomb.len() < MAX_FRAME_STORED);
        for claimed in [0, 1, MAX_FRAME_RAW, 64 << 20] {
            decode_frame(&Crypt::plain(), "packs/x", &bomb, claimed).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn round_trip_truncation_and_flips(raw in prop::collection::vec(any::<u8>(), 0..2_000), key in any::<bool>(),
            bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), claimed in 0_usize..3_000) {
            let crypt = if key { Crypt::encrypted(&[1; 32]) } else { Crypt::plain() };
            let stored = encode_frame(&crypt, &raw).unwrap();
            prop_assert_eq!(&decode_frame(&crypt, "packs/x", &stored, raw.len()).unwrap(), &raw);
            prop_assert!(claimed == raw.len() || decode_frame(&crypt, "packs/x", &stored, claimed).is_err());
            prop_assert!(decode_frame(&crypt, "packs/x", &stored[..cut.index(stored.len())], raw.len()).is_err());
            let mut flipped = stored.clone();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A plain frame is checked by the hash in its page; here only that it does not panic.
            let opened = decode_frame(&crypt, "packs/x", &flipped, raw.len());
            prop_assert!(!key || opened.is_err());
        }
    }
}
