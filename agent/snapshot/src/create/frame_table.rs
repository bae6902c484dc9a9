//! [`FrameTable`]: where every frame is that a snapshot in the making refers to.

use std::collections::HashMap;

use crate::{
    format::{FrameRef, ObjectId},
    limits::ADOPTED_FRAMES_BYTES,
};

/// See the module. Frames have numbers, packs too: a frame takes 48 bytes.
#[derive(Debug, Default)]
pub(super) struct FrameTable {
    packs: Vec<ObjectId>,
    pack_numbers: HashMap<ObjectId, u32>,
    frames: Vec<Slot>,
    /// Numbers of frames that were in the store before, by pack and offset.
    adopted: HashMap<(u32, u32), u32>,
}

/// Bytes that a frame takes which is taken over, and a pack: its fields, here and in
/// maps that are half full.
const FRAME_BYTES: usize = 75;
const PACK_BYTES: usize = 110;

/// In place of the number of a pack that has no name yet.
const UNNAMED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    pack: u32,
    /// A pack is shorter than four gigabytes.
    offset: u32,
    stored: u32,
    raw: u32,
    blake3: [u8; 32],
}

impl FrameTable {
    /// The number of a frame that is in the store; `None` where that would be one too many.
    pub(super) fn adopt(&mut self, frame: &FrameRef) -> Option<u32> {
        let known = self.pack_numbers.get(&frame.pack);
        if let Some(number) = known.and_then(|pack| self.adopted.get(&(*pack, frame.offset as u32))) {
            return Some(*number);
        }
        if (self.adopted.len() + 1) * FRAME_BYTES + (self.packs.len() + 1) * PACK_BYTES > ADOPTED_FRAMES_BYTES {
            return None;
        }
        let pack = self.pack(&frame.pack);
        self.frames.push(slot(pack, frame));
        let number = self.frames.len() as u32 - 1;
        self.adopted.insert((pack, frame.offset as u32), number);
        Some(number)
    }

    /// The number of a frame that is being filled.
    pub(super) fn begin(&mut self) -> u32 {
        self.frames.push(Slot { pack: UNNAMED, offset: 0, stored: 0, raw: 0, blake3: [0; 32] });
        self.frames.len() as u32 - 1
    }

    /// The pack of the frame `number` has its name.
    pub(super) fn place(&mut self, number: u32, frame: &FrameRef) {
        let pack = self.pack(&frame.pack);
        self.frames[number as usize] = slot(pack, frame);
    }

    /// Where the frame `number` is, once its pack has a name.
    pub(super) fn get(&self, number: u32) -> Option<FrameRef> {
        let Slot { pack, offset, stored, raw, blake3 } = self.frames[number as usize];
        (pack != UNNAMED).then(|| FrameRef {
            pack: self.packs[pack as usize],
            offset: offset.into(),
            stored,
            raw,
            blake3,
        })
    }

    fn pack(&mut self, pack: &ObjectId) -> u32 {
        *self.pack_numbers.entry(*pack).or_insert_with(|| {
            self.packs.push(*pack);
            self.packs.len() as u32 - 1
        })
    }
}

fn slot(pack: u32, frame: &FrameRef) -> Slot {
    let FrameRef { offset, stored, raw, blake3, .. } = *frame;
    Slot { pack, offset: offset as u32, stored, raw, blake3 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_FRAME_RAW, MAX_TREE_BYTES};

    fn frame(pack: u32, offset: u64) -> FrameRef {
        let mut name = [0; 32];
        name[..4].copy_from_slice(&pack.to_le_bytes());
        FrameRef { pack: ObjectId(name), offset, stored: 7, raw: 9, blake3: [3; 32] }
    }

    #[test]
    fn frames_are_found_by_number_and_adopted_once() {
        let mut table = FrameTable::default();
        let first = table.adopt(&frame(1, 0)).unwrap();
        let new = table.begin();
        assert_eq!((table.get(first), table.get(new)), (Some(frame(1, 0)), None));
        assert_ne!(table.adopt(&frame(1, 7)), Some(first));
        assert_eq!(table.adopt(&frame(1, 0)), Some(first));
        table.place(new, &frame(2, 16));
        assert_eq!(table.get(new), Some(frame(2, 16)));
    }

    #[test]
    fn thousands_of_packs_of_one_frame_end_at_the_bound() {
        let mut table = FrameTable::default();
        let bound = (0..).find(|pack| table.adopt(&frame(*pack, 0)).is_none()).unwrap();
        assert!((100_000..200_000).contains(&bound), "{bound}");
        assert_eq!((table.adopt(&frame(bound, 0)), table.packs.len() as u32), (None, bound));
        assert_eq!(table.adopt(&frame(5, 0)), Some(5));
        assert_eq!(table.get(bound - 1), Some(frame(bound - 1, 0)));
    }

    /// The largest workspace, in frames three quarters full, in packs of twenty.
    #[test]
    fn the_largest_workspace_is_taken_over_whole() {
        let mut table = FrameTable::default();
        let frames = u32::try_from(MAX_TREE_BYTES / (MAX_FRAME_RAW as u64 * 3 / 4)).unwrap();
        assert!((0..frames).all(|at| table.adopt(&frame(at / 20, u64::from(at % 20))).is_some()));
    }
}
