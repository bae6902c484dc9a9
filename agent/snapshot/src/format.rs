//! The stored formats, and nothing but them: `docs/snapshot-format.md` in code.
//!
//! Every decoder is total. It checks each length before it allocates, returns
//! [`FORMAT_UNSUPPORTED`](remora_proto_model::Reason::FormatUnsupported) for a
//! version it does not know and
//! [`SNAPSHOT_DAMAGED`](remora_proto_model::Reason::SnapshotDamaged) with the
//! object's key for everything else that is not what an encoder writes.

#[cfg(test)]
mod arbitrary;
mod block;
mod crypt;
mod entry;
mod frame;
mod id;
mod lineage;
mod pack;
mod page;
mod path;
mod root;
mod wire;

pub use block::Cipher;
pub use crypt::{BlobId, Crypt};
pub use entry::{Chunk, Class, Content, Entry, Node, Timestamp, Xattr};
pub use frame::{decode_frame, encode_frame};
pub use id::{ObjectId, SnapshotId};
pub use lineage::{LINEAGE_KEY, LineageHeader};
pub use pack::{PackFrame, PackIndex, TRAILER_BYTES as PACK_TRAILER_BYTES};
pub use page::{Dedup, EncodedPage, FrameRef, Observed, Page, PageRef};
pub use path::path_order;
pub use root::{ClockReading, ROOTS_PREFIX, Root, RuleReport, Statistics, root_key, sequence_of_key};

/// The version of every object that this code writes.
pub const FORMAT_VERSION: u8 = 1;
