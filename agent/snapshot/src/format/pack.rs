//! The end of a pack: an index of what is in it, in a skippable zstd frame. Nothing
//! needs it as long as the pages are there; with it alone files can be found again.

use prost::Message as _;

use super::{
    BlobId, Crypt, Entry,
    block::{Cipher, HEAD_BYTES, Reader, Section, write_head},
    crypt::Sealed,
    entry::{self, CHUNKS_FIELD, WireEntry, XATTRS_FIELD},
    frame::{SKIPPABLE_HEAD, read_skippable, write_skippable},
    page::unique,
    wire::{Bound, within},
};
use crate::{
    SnapshotError,
    limits::{
        MAX_BLOB_BYTES, MAX_FRAME_RAW, MAX_FRAME_STORED, MAX_PACK_BLOBS, MAX_PACK_ENTRIES, MAX_PACK_FRAMES,
        MAX_PACK_INDEX_RAW,
    },
};

const MAGIC: &[u8; 8] = b"REMORAPK";
/// Skippable frame that holds the index.
const INDEX_MAGIC: u32 = 0x184D_2A50;

/// Length of a pack's last bytes that say how long its index is: a nonce, the
/// lengths of the section, and the head.
pub const TRAILER_BYTES: usize = 16 + 8 + HEAD_BYTES;

/// What is in a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackIndex {
    /// Its frames, from its first byte on, without a gap.
    pub frames: Vec<PackFrame>,
    /// Its blobs in order; none is in two frames.
    pub blobs: Vec<(BlobId, u32)>,
    /// The files whose contents it holds, and entries without content that came
    /// between. A file has a record for each run of its bytes that is here; what
    /// lies between them is in other packs, or a hole.
    pub entries: Vec<Entry>,
}

/// One frame of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackFrame {
    /// Its length in the pack.
    pub stored: u32,
    /// Its length unpacked.
    pub raw: u32,
    /// BLAKE3 of its stored bytes.
    pub blake3: [u8; 32],
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireIndex {
    #[prost(message, repeated, tag = "1")]
    frames: Vec<WireFrame>,
    /// Ids of blobs, one after the other.
    #[prost(bytes = "vec", tag = "2")]
    blobs: Vec<u8>,
    #[prost(uint32, repeated, tag = "3")]
    lengths: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<WireEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFrame {
    #[prost(uint32, tag = "1")]
    stored: u32,
    #[prost(uint32, tag = "2")]
    raw: u32,
    #[prost(bytes = "vec", tag = "3")]
    blake3: Vec<u8>,
}

const BOUNDS: &[Bound] = &[
    Bound { path: &[1], most: MAX_PACK_FRAMES },
    Bound { path: &[4], most: MAX_PACK_ENTRIES },
    Bound { path: &[4, CHUNKS_FIELD], most: MAX_PACK_BLOBS },
    Bound { path: &[4, XATTRS_FIELD], most: MAX_PACK_ENTRIES },
];

impl PackIndex {
    /// The last bytes of the pack, to be put after its frames.
    pub fn encode(&self, crypt: &Crypt) -> Result<Vec<u8>, SnapshotError> {
        let frame =
            |frame: &PackFrame| WireFrame { stored: frame.stored, raw: frame.raw, blake3: frame.blake3.to_vec() };
        let wire = WireIndex {
            frames: self.frames.iter().map(frame).collect(),
            blobs: self.blobs.iter().flat_map(|(id, _)| id.0).collect(),
            lengths: self.blobs.iter().map(|(_, length)| *length).collect(),
            entries: entry::encode(&self.entries),
        };
        let section = Section::new(crypt, Sealed::PackIndex, b"", &wire.encode_to_vec())?;
        let mut content = section.stored.clone();
        content.extend_from_slice(&unique()?);
        section.write_lengths(&mut content);
        write_head(&mut content, MAGIC, Cipher::of(crypt));
        let mut out = Vec::with_capacity(SKIPPABLE_HEAD + content.len());
        write_skippable(&mut out, INDEX_MAGIC, &content);
        Ok(out)
    }

    /// How many of the last bytes of the pack at `key` are its index, from the last
    /// [`TRAILER_BYTES`] of it.
    pub fn stored_length(key: &str, crypt: &Crypt, trailer: &[u8]) -> Result<usize, SnapshotError> {
        let mut reader = Reader::new(key, trailer);
        reader.take(16)?;
        let lengths = reader.lengths(MAX_PACK_INDEX_RAW)?;
        reader.head_of(MAGIC, crypt)?;
        reader.end()?;
        Ok(SKIPPABLE_HEAD + lengths.stored + TRAILER_BYTES)
    }

    /// The index of the pack at `key` of `pack_bytes` bytes, from its last bytes, as
    /// many as [`PackIndex::stored_length`] says.
    pub fn decode(key: &str, crypt: &Crypt, pack_bytes: u64, tail: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = |problem| SnapshotError::damaged(key, problem);
        let content = read_skippable(tail, INDEX_MAGIC).ok_or_else(|| damaged("it does not end with an index"))?;
        let at = content.len().checked_sub(TRAILER_BYTES).ok_or_else(|| damaged("its index ends early"))?;
        let (stored, trailer) = content.split_at(at);
        if Self::stored_length(key, crypt, trailer)? != tail.len() {
            return Err(damaged("its index is not as long as it says"));
        }
        let mut lengths = Reader::new(key, &trailer[16..24]);
        let lengths = lengths.lengths(MAX_PACK_INDEX_RAW)?;
        let raw = Reader::new(key, stored).section(crypt, Sealed::PackIndex, b"", lengths)?;
        let index = index_of(&raw).map_err(damaged)?;
        let frames: u64 = index.frames.iter().map(|frame| u64::from(frame.stored)).sum();
        if frames + tail.len() as u64 != pack_bytes {
            return Err(damaged("its frames are not as long as its index says"));
        }
        Ok(index)
    }
}

fn index_of(raw: &[u8]) -> Result<PackIndex, &'static str> {
    if !within(raw, BOUNDS) {
        return Err("its index holds more than one may");
    }
    let wire = WireIndex::decode(raw).map_err(|_| "its index does not decode")?;
    let frame = |frame: &WireFrame| {
        let fits = (1..=MAX_FRAME_RAW).contains(&(frame.raw as usize))
            && (1..=MAX_FRAME_STORED).contains(&(frame.stored as usize));
        let blake3 = frame.blake3.as_slice().try_into().ok()?;
        fits.then_some(PackFrame { stored: frame.stored, raw: frame.raw, blake3 })
    };
    let frames = wire.frames.iter().map(frame).collect::<Option<Vec<_>>>().ok_or("a frame is as none can be")?;
    let (ids, rest) = wire.blobs.as_chunks::<32>();
    if !rest.is_empty() || ids.len() != wire.lengths.len() || ids.len() > MAX_PACK_BLOBS {
        return Err("its blobs do not have an id each");
    }
    let blobs: Vec<_> = ids.iter().zip(&wire.lengths).map(|(id, length)| (BlobId(*id), *length)).collect();
    if !fills(&frames, &blobs) {
        return Err("its blobs do not fill its frames");
    }
    let lengths: Vec<u32> = frames.iter().map(|frame| frame.raw).collect();
    let entries = entry::decode(wire.entries, &lengths)?;
    Ok(PackIndex { frames, blobs, entries })
}

/// Whether the blobs, one after the other, fill the frames and none is in two.
fn fills(frames: &[PackFrame], blobs: &[(BlobId, u32)]) -> bool {
    let mut blobs = blobs.iter();
    for frame in frames {
        let mut filled = 0;
        while filled < frame.raw {
            match blobs.next() {
                Some((_, length)) if (1..=MAX_BLOB_BYTES).contains(&(*length as usize)) => filled += length,
                _ => return false,
            }
        }
        if filled != frame.raw {
            return false;
        }
    }
    blobs.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::arbitrary, *};

    fn decode(crypt: &Crypt, frames: u64, tail: &[u8]) -> Result<PackIndex, SnapshotError> {
        let trailer = &tail[tail.len().saturating_sub(TRAILER_BYTES)..];
        let length = PackIndex::stored_length("packs/x", crypt, trailer)?;
        let tail = &tail[tail.len().saturating_sub(length)..];
        PackIndex::decode("packs/x", crypt, frames + tail.len() as u64, tail)
    }

    proptest! {
        #[test]
        fn round_trip_and_damage(index in arbitrary::pack_indexes(), crypt in arbitrary::crypts(),
            cut in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(), raw in vec(any::<u8>(), 0..400)) {
            let tail = index.encode(&crypt).unwrap();
            let frames: u64 = index.frames.iter().map(|frame| u64::from(frame.stored)).sum();
            prop_assert_eq!(&decode(&crypt, frames, &tail).unwrap(), &index);
            prop_assert!(PackIndex::decode("packs/x", &crypt, frames + tail.len() as u64 + 1, &tail).is_err());
            prop_assert!(decode(&crypt, frames, &tail[..cut.index(tail.len())]).is_err());
            // The pack's name checks the bytes; a sealed index checks itself.
            let mut flipped = tail.clone();
            let bit = bit.index(tail.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode(&crypt, frames, &flipped);
            prop_assert!(!crypt.is_encrypted() || read.is_err() || read.unwrap() == index);
            let _ = index_of(&raw);
        }
    }

    #[test]
    fn a_plain_pack_is_what_zstd_unpacks() {
        let crypt = Crypt::plain();
        let raw = [b"one".to_vec(), vec![0; 100_000]];
        let mut pack = Vec::new();
        let mut index = PackIndex::default();
        for raw in &raw {
            let stored = super::super::encode_frame(&crypt, raw).unwrap();
            let blake3 = *blake3::hash(&stored).as_bytes();
            index.frames.push(PackFrame { stored: stored.len() as u32, raw: raw.len() as u32, blake3 });
            index.blobs.push((crypt.blob_id(raw), raw.len() as u32));
            pack.extend_from_slice(&stored);
        }
        pack.extend_from_slice(&index.encode(&crypt).unwrap());
        assert_eq!(zstd::stream::decode_all(pack.as_slice()).unwrap(), raw.concat());
    }
}
