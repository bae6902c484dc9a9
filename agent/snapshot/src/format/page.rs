//! [`Page`]: a run of a manifest, in path order. What a restore needs is apart
//! from what only the next snapshot needs, and both from what they weigh.

use prost::Message as _;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    BlobId, Crypt, Entry, Node, ObjectId, Timestamp,
    block::{Cipher, HEAD_BYTES, Lengths, Reader, Section, write_head},
    crypt::Sealed,
    entry::{self, CHUNKS_FIELD, WireEntry, XATTRS_FIELD},
    path::path_order,
    wire::{Bound, within},
};
use crate::{
    SnapshotError,
    limits::{
        MAX_DEDUP_RAW, MAX_FRAME_RAW, MAX_FRAME_STORED, MAX_PACK_BYTES, MAX_PAGE_CHUNKS, MAX_PAGE_ENTRIES,
        MAX_PAGE_RAW, MAX_PAGE_XATTRS,
    },
};

const MAGIC: &[u8; 8] = b"REMORAPG";

/// Bytes that no other page has: head, nonce and the lengths of both sections.
const PREAMBLE_BYTES: usize = HEAD_BYTES + 16 + 16;

/// The restore data of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The frames that the entries refer to.
    pub frames: Vec<FrameRef>,
    /// In path order. The first may go on with the last file of the page before.
    pub entries: Vec<Entry>,
}

/// Where a frame is and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef {
    /// The pack.
    pub pack: ObjectId,
    /// Where in the pack it begins.
    pub offset: u64,
    /// Its length there.
    pub stored: u32,
    /// Its length unpacked.
    pub raw: u32,
    /// BLAKE3 of its stored bytes.
    pub blake3: [u8; 32],
}

/// What the next snapshot compares with and refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dedup {
    /// The id of each chunk, in the order of the entries and their chunks.
    pub blobs: Vec<BlobId>,
    /// What was seen of each entry, in their order.
    pub observed: Vec<Observed>,
}

/// What tells that an entry is unchanged, besides what is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Number of the inode.
    pub inode: u64,
}

/// A page as a root names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRef {
    /// The page.
    pub id: ObjectId,
    /// Its length in bytes.
    pub stored: u32,
    /// How many of its first bytes hold the restore data.
    pub restore_stored: u32,
    /// BLAKE3 of those.
    pub restore_blake3: [u8; 32],
    /// Id of what both sections say, whatever their stored bytes: pages that say
    /// the same are one.
    pub content: [u8; 32],
    /// How many entries it holds.
    pub entries: u32,
    /// The path of the first one.
    pub first: Vec<u8>,
}

/// A page, ready to be stored.
#[derive(Debug)]
pub struct EncodedPage {
    /// How a root names it.
    pub reference: PageRef,
    /// The object.
    pub bytes: Vec<u8>,
}

/// A page's two sections, not yet compressed: enough to know whether it is new.
#[derive(Debug)]
pub struct PageDraft {
    content: [u8; 32],
    restore: Vec<u8>,
    dedup: Vec<u8>,
    entries: u32,
    first: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireRestore {
    /// Ids of packs, one after the other.
    #[prost(bytes = "vec", tag = "1")]
    packs: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    frames: Vec<WireFrame>,
    #[prost(message, repeated, tag = "3")]
    entries: Vec<WireEntry>,
}

const BOUNDS: &[Bound] = &[
    Bound { path: &[2], most: MAX_PAGE_CHUNKS },
    Bound { path: &[3], most: MAX_PAGE_ENTRIES },
    Bound { path: &[3, CHUNKS_FIELD], most: MAX_PAGE_CHUNKS },
    Bound { path: &[3, XATTRS_FIELD], most: MAX_PAGE_XATTRS },
];

#[derive(Clone, PartialEq, prost::Message)]
struct WireFrame {
    #[prost(uint32, tag = "1")]
    pack: u32,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint32, tag = "3")]
    stored: u32,
    #[prost(uint32, tag = "4")]
    raw: u32,
    #[prost(bytes = "vec", tag = "5")]
    blake3: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDedup {
    /// Ids of blobs, one after the other.
    #[prost(bytes = "vec", tag = "1")]
    blobs: Vec<u8>,
    #[prost(sint64, repeated, tag = "2")]
    ctime_seconds: Vec<i64>,
    #[prost(uint32, repeated, tag = "3")]
    ctime_nanos: Vec<u32>,
    #[prost(uint64, repeated, tag = "4")]
    inodes: Vec<u64>,
}

impl Page {
    /// The page as bytes that can be compared. `dedup` is of these entries.
    pub fn draft(&self, dedup: &Dedup, crypt: &Crypt) -> PageDraft {
        let mut packs: Vec<ObjectId> = Vec::new();
        let frame = |frame: &FrameRef| {
            let pack = packs.iter().rposition(|pack| *pack == frame.pack).unwrap_or_else(|| {
                packs.push(frame.pack);
                packs.len() - 1
            });
            WireFrame {
                pack: pack as u32,
                offset: frame.offset as u32,
                stored: frame.stored,
                raw: frame.raw,
                blake3: frame.blake3.to_vec(),
            }
        };
        let frames = self.frames.iter().map(frame).collect();
        let packs = packs.iter().flat_map(|pack| pack.0).collect();
        let restore = WireRestore { packs, frames, entries: entry::encode(&self.entries) }.encode_to_vec();
        let observed = &dedup.observed;
        let dedup = WireDedup {
            blobs: dedup.blobs.iter().flat_map(|blob| blob.0).collect(),
            ctime_seconds: observed.iter().map(|seen| seen.ctime.seconds).collect(),
            ctime_nanos: observed.iter().map(|seen| seen.ctime.nanos).collect(),
            inodes: observed.iter().map(|seen| seen.inode).collect(),
        }
        .encode_to_vec();
        PageDraft {
            content: crypt.content_id([&restore, &dedup]),
            restore,
            dedup,
            entries: self.entries.len() as u32,
            first: self.entries.first().map(|entry| entry.path.clone()).unwrap_or_default(),
        }
    }

    /// The restore data of the page `named`, from its first
    /// [`PageRef::restore_stored`] bytes.
    pub fn decode_restore(crypt: &Crypt, named: &PageRef, bytes: &[u8]) -> Result<Page, SnapshotError> {
        let key = named.id.page_key();
        let mut reader = Reader::new(&key, bytes);
        if bytes.len() != named.restore_stored as usize || *blake3::hash(bytes).as_bytes() != named.restore_blake3 {
            return Err(reader.damaged("its restore data is not what was stored"));
        }
        let (restore, _) = preamble(&mut reader, crypt)?;
        let page = restore_section(&mut reader, crypt, restore, named)?;
        reader.end()?;
        Ok(page)
    }

    /// Both parts of the page `named`, from all of its bytes.
    pub fn decode(crypt: &Crypt, named: &PageRef, bytes: &[u8]) -> Result<(Page, Dedup), SnapshotError> {
        let key = named.id.page_key();
        let mut reader = Reader::new(&key, bytes);
        if bytes.len() != named.stored as usize || ObjectId::of(bytes) != named.id {
            return Err(reader.damaged("it is not what was stored"));
        }
        let (restore, dedup) = preamble(&mut reader, crypt)?;
        let page = restore_section(&mut reader, crypt, restore, named)?;
        let raw = reader.section(crypt, Sealed::PageDedup, b"", dedup)?;
        reader.end()?;
        let dedup = WireDedup::decode(raw.as_slice()).ok().and_then(|wire| dedup_of(&wire, &page));
        let dedup = dedup.ok_or_else(|| reader.damaged("its dedup index is not one of its entries"))?;
        Ok((page, dedup))
    }
}

impl PageDraft {
    /// [`PageRef::content`] of the page to be.
    pub fn content(&self) -> &[u8; 32] {
        &self.content
    }

    /// The object.
    pub fn encode(self, crypt: &Crypt) -> Result<EncodedPage, SnapshotError> {
        let restore = Section::new(crypt, Sealed::PageRestore, b"", &self.restore)?;
        let dedup = Section::new(crypt, Sealed::PageDedup, b"", &self.dedup)?;
        let mut bytes = Vec::with_capacity(PREAMBLE_BYTES + restore.stored.len() + dedup.stored.len());
        write_head(&mut bytes, MAGIC, Cipher::of(crypt));
        bytes.extend_from_slice(&unique()?);
        restore.write_lengths(&mut bytes);
        dedup.write_lengths(&mut bytes);
        bytes.extend_from_slice(&restore.stored);
        let restore_stored = bytes.len();
        let restore_blake3 = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&dedup.stored);
        let reference = PageRef {
            id: ObjectId::of(&bytes),
            stored: bytes.len() as u32,
            restore_stored: restore_stored as u32,
            restore_blake3,
            content: self.content,
            entries: self.entries,
            first: self.first,
        };
        Ok(EncodedPage { reference, bytes })
    }
}

/// Sixteen bytes that no other object has. Without them an object could get the
/// name of an abandoned one just while that is being collected.
pub(crate) fn unique() -> Result<[u8; 16], SnapshotError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| SnapshotError::Defect { what: "the system's random generator refused" })?;
    Ok(bytes)
}

fn preamble(reader: &mut Reader<'_>, crypt: &Crypt) -> Result<(Lengths, Lengths), SnapshotError> {
    reader.head_of(MAGIC, crypt)?;
    reader.take(16)?;
    Ok((reader.lengths(MAX_PAGE_RAW)?, reader.lengths(MAX_DEDUP_RAW)?))
}

fn restore_section(
    reader: &mut Reader<'_>,
    crypt: &Crypt,
    lengths: Lengths,
    named: &PageRef,
) -> Result<Page, SnapshotError> {
    let raw = reader.section(crypt, Sealed::PageRestore, b"", lengths)?;
    let page = page_of(&raw).map_err(|problem| reader.damaged(problem))?;
    let first = page.entries.first().map_or(&[][..], |entry| &entry.path);
    if page.entries.len() != named.entries as usize || first != named.first {
        return Err(reader.damaged("its entries are not those that its root names"));
    }
    Ok(page)
}

fn page_of(raw: &[u8]) -> Result<Page, &'static str> {
    if !within(raw, BOUNDS) {
        return Err("it holds more than a page may");
    }
    let wire = WireRestore::decode(raw).map_err(|_| "its restore data does not decode")?;
    let (packs, rest) = wire.packs.as_chunks::<32>();
    if !rest.is_empty() {
        return Err("the name of a pack is cut short");
    }
    let frames = wire.frames.iter().map(|frame| frame_of(frame, packs)).collect::<Option<Vec<_>>>();
    let frames = frames.ok_or("a frame lies where none can lie")?;
    let lengths: Vec<u32> = frames.iter().map(|frame| frame.raw).collect();
    let entries = entry::decode(wire.entries, &lengths)?;
    if !entries.is_sorted_by(|a, b| path_order(&a.path, &b.path).is_lt()) {
        return Err("its entries are out of order");
    }
    let last = entries.len().saturating_sub(1);
    for (at, entry) in entries.iter().enumerate() {
        let Node::File(content) = &entry.node else { continue };
        if (content.start > 0 && at > 0) || (content.more && at < last) {
            return Err("a file goes on where it cannot");
        }
    }
    Ok(Page { frames, entries })
}

fn frame_of(wire: &WireFrame, packs: &[[u8; 32]]) -> Option<FrameRef> {
    let frame = FrameRef {
        pack: ObjectId(*packs.get(wire.pack as usize)?),
        offset: u64::from(wire.offset),
        stored: wire.stored,
        raw: wire.raw,
        blake3: wire.blake3.as_slice().try_into().ok()?,
    };
    let fits = (1..=MAX_FRAME_RAW).contains(&(frame.raw as usize))
        && (1..=MAX_FRAME_STORED).contains(&(frame.stored as usize))
        && frame.offset + u64::from(frame.stored) <= MAX_PACK_BYTES;
    fits.then_some(frame)
}

fn dedup_of(wire: &WireDedup, page: &Page) -> Option<Dedup> {
    let (blobs, rest) = wire.blobs.as_chunks::<32>();
    let chunks: usize = page.entries.iter().map(|entry| entry.chunks().len()).sum();
    let entries = page.entries.len();
    let lengths = [wire.ctime_seconds.len(), wire.ctime_nanos.len(), wire.inodes.len()];
    if !rest.is_empty() || blobs.len() != chunks || lengths != [entries; 3] {
        return None;
    }
    let times = wire.ctime_seconds.iter().zip(&wire.ctime_nanos);
    let observed = times.zip(&wire.inodes).map(|((seconds, nanos), inode)| {
        (*nanos < 1_000_000_000)
            .then_some(Observed { ctime: Timestamp { seconds: *seconds, nanos: *nanos }, inode: *inode })
    });
    Some(Dedup { blobs: blobs.iter().map(|blob| BlobId(*blob)).collect(), observed: observed.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::arbitrary, *};

    proptest! {
        #[test]
        fn round_trip_and_damage((page, dedup) in arbitrary::pages(), crypt in arbitrary::crypts(),
            spoil in arbitrary::spoils()) {
            let encoded = page.draft(&dedup, &crypt).encode(&crypt).unwrap();
            let named = &encoded.reference;
            let restore = &encoded.bytes[..named.restore_stored as usize];
            prop_assert_eq!(&Page::decode_restore(&crypt, named, restore).unwrap(), &page);
            prop_assert_eq!(&Page::decode(&crypt, named, &encoded.bytes).unwrap(), &(page, dedup));
            spoil.check(&encoded.bytes, |bytes| Page::decode(&crypt, named, bytes))?;
            spoil.check(restore, |bytes| Page::decode_restore(&crypt, named, bytes))?;
        }

        /// Behind the hashes: a writer with the key that writes nonsense.
        #[test]
        fn nonsense_is_refused_and_never_panics(raw in vec(any::<u8>(), 0..400), (page, dedup) in arbitrary::pages(),
            at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let _ = page_of(&raw);
            let crypt = Crypt::plain();
            let mut draft = page.draft(&dedup, &crypt);
            let at = at.index(draft.restore.len());
            draft.restore[at] = byte;
            let encoded = draft.encode(&crypt).unwrap();
            if let Ok((read, _)) = Page::decode(&crypt, &encoded.reference, &encoded.bytes) {
                prop_assert!(read.entries.iter().all(|entry| super::super::path::is_valid(&entry.path)));
            }
        }

        #[test]
        fn the_same_content_has_one_id_and_never_the_same_name((page, dedup) in arbitrary::pages(),
            crypt in arbitrary::crypts()) {
            let encode = || page.draft(&dedup, &crypt).encode(&crypt).unwrap().reference;
            let (a, b) = (encode(), encode());
            prop_assert_eq!(a.content, b.content);
            prop_assert_ne!(a.id, b.id);
        }
    }

    #[test]
    fn a_page_of_another_lineage_is_refused() {
        let page = Page::default();
        let sealed = Crypt::encrypted(&[1; 32]);
        let encoded = page.draft(&Dedup::default(), &sealed).encode(&sealed).unwrap();
        for other in [Crypt::plain(), Crypt::encrypted(&[2; 32])] {
            Page::decode(&other, &encoded.reference, &encoded.bytes).unwrap_err();
        }
    }
}
