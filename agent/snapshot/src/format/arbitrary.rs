//! Values of the stored formats for property tests, and the properties that all
//! decoders share.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use remora_proto_model::Reason;

use super::*;
use crate::{SnapshotError, limits::MAX_FRAME_RAW};

pub(crate) fn crypts() -> impl Strategy<Value = Crypt> {
    any::<bool>().prop_map(|key| if key { Crypt::encrypted(&[5; 32]) } else { Crypt::plain() })
}

pub(crate) fn timestamps() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8.., 1..12).prop_map(|name| name.into_iter().map(|byte| if byte == b'/' { b'.' } else { byte }).collect())
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    vec(names(), 1..4)
        .prop_map(|names| names.join(&b'/'))
        .prop_filter("none inside", |path| super::path::is_valid(path))
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    prop::collection::btree_map(vec(1_u8.., 1..20), vec(any::<u8>(), 0..40), 0..3)
        .prop_map(|found| found.into_iter().map(|(name, value)| Xattr { name, value }).collect())
}

/// Chunks in frames of the unpacked lengths `frames`.
fn chunks(frames: Vec<u32>) -> impl Strategy<Value = Vec<Chunk>> {
    let chunk = (prop_oneof![3 => Just(0), 1 => 0..1_u64 << 40], any::<Index>(), any::<Index>(), any::<Index>());
    vec(chunk, 0..if frames.is_empty() { 1 } else { 4 }).prop_map(move |drawn| {
        let chunk = |(hole, frame, offset, length): (u64, Index, Index, Index)| {
            let frame = frame.index(frames.len());
            let offset = offset.index(frames[frame] as usize) as u32;
            let most = (frames[frame] - offset).min(crate::limits::MAX_BLOB_BYTES as u32);
            Chunk { hole, frame: frame as u32, offset, length: 1 + length.index(most as usize) as u32 }
        };
        drawn.into_iter().map(chunk).collect()
    })
}

fn nodes(frames: Vec<u32>) -> impl Strategy<Value = Node> {
    let file = (chunks(frames), 0..1_u64 << 50).prop_map(|(chunks, hole)| {
        let mut content = Content { size: 0, start: 0, more: false, chunks };
        content.size = content.end().unwrap_or_default() + hole;
        Node::File(content)
    });
    prop_oneof![
        4 => file,
        1 => Just(Node::Directory),
        1 => Just(Node::Fifo),
        1 => vec(1_u8.., 1..60).prop_map(|target| Node::Symlink { target }),
        1 => Just(Node::Hardlink { first: vec![1] }),
    ]
}

/// Entries in path order, the root of the tree first.
pub(crate) fn entries(frames: Vec<u32>) -> impl Strategy<Value = Vec<Entry>> {
    let rest = (0..0o10000_u32, any::<u32>(), any::<u32>(), timestamps(), any::<bool>(), xattrs(), nodes(frames));
    vec((paths(), rest), 0..12).prop_map(|drawn| {
        let entry = |(path, (mode, uid, gid, mtime, derived, xattrs, mut node)): (Vec<u8>, _)| {
            if let Node::Hardlink { first } = &mut node
                && path_order(first, &path).is_ge()
            {
                node = Node::Fifo;
            }
            let class = if derived { Class::Derived } else { Class::Keep };
            Entry { path, mode, uid, gid, mtime, class, xattrs, node }
        };
        let mut entries: Vec<Entry> = drawn.into_iter().map(entry).collect();
        entries.push(Entry {
            path: Vec::new(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            class: Class::Keep,
            xattrs: Vec::new(),
            node: Node::Directory,
        });
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        entries
    })
}

fn frame_refs() -> impl Strategy<Value = Vec<FrameRef>> {
    let frame = (0..3_u8, 0..1_u64 << 24, 1..2_000_u32, 1..MAX_FRAME_RAW as u32, any::<[u8; 32]>()).prop_map(
        |(pack, offset, stored, raw, blake3)| FrameRef { pack: ObjectId([pack; 32]), offset, stored, raw, blake3 },
    );
    vec(frame, 0..5)
}

pub(crate) fn pages() -> impl Strategy<Value = (Page, Dedup)> {
    frame_refs().prop_flat_map(|frames| {
        let lengths = frames.iter().map(|frame| frame.raw).collect();
        (Just(frames), entries(lengths), any::<u64>(), timestamps()).prop_map(|(frames, entries, inode, ctime)| {
            let chunks: usize = entries.iter().map(|entry| entry.chunks().len()).sum();
            let dedup = Dedup {
                blobs: (0..chunks).map(|number| BlobId([number as u8; 32])).collect(),
                observed: vec![Observed { ctime, inode }; entries.len()],
            };
            (Page { frames, entries }, dedup)
        })
    })
}

pub(crate) fn pack_indexes() -> impl Strategy<Value = PackIndex> {
    let frame = (vec(1..2_000_u32, 1..5), 1..2_000_u32, any::<[u8; 32]>());
    vec(frame, 0..4).prop_flat_map(|drawn| {
        let frame = |(lengths, stored, blake3): &(Vec<u32>, u32, [u8; 32])| PackFrame {
            stored: *stored,
            raw: lengths.iter().sum(),
            blake3: *blake3,
        };
        let frames: Vec<_> = drawn.iter().map(frame).collect();
        let blobs: Vec<_> = drawn
            .iter()
            .flat_map(|(lengths, ..)| lengths.iter().map(|length| (BlobId([*length as u8; 32]), *length)))
            .collect();
        let lengths = frames.iter().map(|frame| frame.raw).collect();
        entries(lengths).prop_map(move |entries| PackIndex { frames: frames.clone(), blobs: blobs.clone(), entries })
    })
}

fn ids(sequence: u64, generation: u64) -> impl Strategy<Value = SnapshotId> {
    any::<[u8; 16]>().prop_map(move |nonce| SnapshotId { sequence, generation, nonce })
}

pub(crate) fn roots() -> impl Strategy<Value = Root> {
    let place = (1..u64::MAX, 1..u64::MAX).prop_flat_map(|(sequence, generation)| {
        (ids(sequence, generation), ids(sequence.saturating_sub(1).max(1), generation / 2))
    });
    let labels = prop::collection::btree_map("[a-z]{1,20}", ".{0,60}", 0..4);
    let rules = vec(("[ -~]{0,40}", any::<u64>(), paths()), 0..3);
    let page = (any::<[[u8; 32]; 3]>(), 0..100_000_u32, 0..100_000_u32, 1..4_096_u32, paths());
    (place, any::<[bool; 3]>(), any::<[u64; 10]>(), labels, vec(paths(), 0..3), rules, timestamps(), vec(page, 0..4))
        .prop_map(|((id, parent), [claim, removed, originated], n, labels, fuzzy, rules, racy_since, pages)| {
            let mut pages: Vec<_> = pages
                .into_iter()
                .map(|([id, restore_blake3, content], restore_stored, more, entries, first)| PageRef {
                    id: ObjectId(id),
                    stored: restore_stored + more,
                    restore_stored,
                    restore_blake3,
                    content,
                    entries,
                    first,
                })
                .collect();
            pages.sort_by(|a, b| path_order(&a.first, &b.first));
            Root {
                id,
                parent: (id.sequence > 1).then_some(parent),
                claim,
                origin: (claim && originated).then_some(parent),
                removed,
                created_ms: n[0],
                labels: BTreeMap::from_iter(labels),
                statistics: Statistics {
                    files: n[1],
                    directories: n[2],
                    symlinks: n[3],
                    fifos: n[4],
                    hardlinks: n[5],
                    content_bytes: n[6],
                    stored_bytes: n[7],
                    fuzzy_files: n[8],
                    skipped_entries: n[9],
                },
                fuzzy,
                rules: rules
                    .into_iter()
                    .map(|(rule, entries, example)| RuleReport { rule, entries, example })
                    .collect(),
                clock: ClockReading { boot_id: id.nonce, offset_ns: n[0] as i64, racy_since },
                pages,
            }
        })
}

/// How stored bytes are spoiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoil {
    bit: Index,
    cut: Index,
}

pub(crate) fn spoils() -> impl Strategy<Value = Spoil> {
    (any::<Index>(), any::<Index>()).prop_map(|(bit, cut)| Spoil { bit, cut })
}

impl Spoil {
    /// Decodes `stored` cut short and with a bit changed, and wants an error of the
    /// right kind both times: damage may never read as something else.
    pub(crate) fn check<T>(
        self,
        stored: &[u8],
        decode: impl Fn(&[u8]) -> Result<T, SnapshotError>,
    ) -> Result<(), TestCaseError> {
        let mut flipped = stored.to_vec();
        let bit = self.bit.index(stored.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        for bytes in [&stored[..self.cut.index(stored.len())], &flipped] {
            let reason = decode(bytes).err().map(|error| error.reason());
            prop_assert!(matches!(reason, Some(Reason::SnapshotDamaged | Reason::FormatUnsupported)), "{reason:?}");
        }
        Ok(())
    }
}
