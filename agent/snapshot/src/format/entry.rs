//! [`Entry`]: one name of a tree and all that must survive about it.

use remora_agent_root::limits::MAX_PATH_BYTES;

use super::path;
use crate::limits::{
    MAX_BLOB_BYTES, MAX_TARGET_BYTES, MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES, MAX_XATTRS, MAX_XATTRS_BYTES,
};

/// A point in time as the file system has it: also before 1970 and after 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since the epoch, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

/// What a rule says about an entry that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Restored first.
    #[default]
    Keep,
    /// Can be made again from the rest, such as `node_modules`; restored last.
    Derived,
}

/// One extended attribute. POSIX ACLs are `system.posix_acl_access` and
/// `system.posix_acl_default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Its whole name, with the namespace.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// One name of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Components joined by slashes; empty is the root of the tree.
    pub path: Vec<u8>,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// What the rules say about it.
    pub class: Class,
    /// Ascending by name.
    pub xattrs: Vec<Xattr>,
    /// What it is.
    pub node: Node,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory. Every entry but the root of the tree lies in one that comes before it.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link.
    Symlink {
        /// Where it points, whatever that is.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// Another name of an inode that came before, and the same in all else: its
    /// mode, owner, time and attributes are those of `first`.
    Hardlink {
        /// Path of the first entry with this inode, which is no hardlink itself.
        first: Vec<u8>,
    },
}

/// The content of a file, or a part of it: the record of a very large file goes on
/// in the next page under the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Length of the whole file in bytes, holes included.
    pub size: u64,
    /// Where in the file this record begins. 0 in all but a continued one.
    pub start: u64,
    /// Whether the next record goes on with the same file. Where none does, what
    /// the chunks leave up to `size` is a hole.
    pub more: bool,
    /// The content, in order.
    pub chunks: Vec<Chunk>,
}

/// A run of a file's bytes and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes before it that are a hole.
    pub hole: u64,
    /// Index of the frame, in the table of the page or of the pack.
    pub frame: u32,
    /// Where it begins in the unpacked frame.
    pub offset: u32,
    /// Its length, at least 1.
    pub length: u32,
}

impl Content {
    /// Where in the file the record's last chunk ends; `None` beyond 2^63.
    pub fn end(&self) -> Option<u64> {
        let end = self
            .chunks
            .iter()
            .try_fold(self.start, |at, chunk| at.checked_add(chunk.hole)?.checked_add(u64::from(chunk.length)))?;
        (end <= i64::MAX as u64).then_some(end)
    }
}

impl Entry {
    /// The chunks, where it is a file.
    pub fn chunks(&self) -> &[Chunk] {
        match &self.node {
            Node::File(content) => &content.chunks,
            _ => &[],
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WireEntry {
    /// Bytes that the path has in common with the one before.
    #[prost(uint32, tag = "1")]
    shared: u32,
    #[prost(bytes = "vec", tag = "2")]
    suffix: Vec<u8>,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint32, tag = "4")]
    mode: u32,
    #[prost(uint32, tag = "5")]
    uid: u32,
    #[prost(uint32, tag = "6")]
    gid: u32,
    #[prost(sint64, tag = "7")]
    seconds: i64,
    #[prost(uint32, tag = "8")]
    nanos: u32,
    #[prost(uint32, tag = "9")]
    class: u32,
    #[prost(message, repeated, tag = "10")]
    xattrs: Vec<WireXattr>,
    /// Target of a symbolic link, first path of a hardlink.
    #[prost(bytes = "vec", tag = "11")]
    target: Vec<u8>,
    #[prost(uint64, tag = "12")]
    size: u64,
    #[prost(uint64, tag = "13")]
    start: u64,
    #[prost(bool, tag = "14")]
    more: bool,
    #[prost(message, repeated, tag = "15")]
    chunks: Vec<WireChunk>,
}

/// Numbers of the fields that are counted before decoding.
pub(crate) const XATTRS_FIELD: u64 = 10;
pub(crate) const CHUNKS_FIELD: u64 = 15;

#[derive(Clone, PartialEq, prost::Message)]
struct WireXattr {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct WireChunk {
    #[prost(uint64, tag = "1")]
    hole: u64,
    #[prost(uint32, tag = "2")]
    frame: u32,
    #[prost(uint32, tag = "3")]
    offset: u32,
    #[prost(uint32, tag = "4")]
    length: u32,
}

const DIRECTORY: u32 = 1;
const FILE: u32 = 2;
const SYMLINK: u32 = 3;
const FIFO: u32 = 4;
const HARDLINK: u32 = 5;

/// Entries as they are stored, each path as what it adds to the one before.
pub(crate) fn encode(entries: &[Entry]) -> Vec<WireEntry> {
    let mut before: &[u8] = &[];
    let wire = entries.iter().map(|entry| {
        let shared = entry.path.iter().zip(before).take_while(|(a, b)| a == b).count();
        before = &entry.path;
        encode_one(entry, shared)
    });
    wire.collect()
}

fn encode_one(entry: &Entry, shared: usize) -> WireEntry {
    let xattr = |xattr: &Xattr| WireXattr { name: xattr.name.clone(), value: xattr.value.clone() };
    let mut wire = WireEntry {
        shared: shared as u32,
        suffix: entry.path[shared..].to_vec(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        seconds: entry.mtime.seconds,
        nanos: entry.mtime.nanos,
        class: u32::from(entry.class == Class::Derived),
        xattrs: entry.xattrs.iter().map(xattr).collect(),
        ..WireEntry::default()
    };
    match &entry.node {
        Node::Directory => wire.kind = DIRECTORY,
        Node::Fifo => wire.kind = FIFO,
        Node::Symlink { target } => (wire.kind, wire.target) = (SYMLINK, target.clone()),
        Node::Hardlink { first } => (wire.kind, wire.target) = (HARDLINK, first.clone()),
        Node::File(content) => {
            (wire.kind, wire.size, wire.start, wire.more) = (FILE, content.size, content.start, content.more);
            let chunk = |chunk: &Chunk| WireChunk {
                hole: chunk.hole,
                frame: chunk.frame,
                offset: chunk.offset,
                length: chunk.length,
            };
            wire.chunks = content.chunks.iter().map(chunk).collect();
        }
    }
    wire
}

/// Takes entries apart and checks each by itself and against the one before.
/// `frames` are the unpacked lengths of the frames that chunks refer to.
pub(crate) fn decode(wire: Vec<WireEntry>, frames: &[u32]) -> Result<Vec<Entry>, &'static str> {
    let mut entries: Vec<Entry> = Vec::with_capacity(wire.len());
    for wire in wire {
        let before = entries.last().map_or(&[][..], |entry| &entry.path);
        let shared = before.get(..wire.shared as usize).ok_or("a path has more in common than there is")?;
        if shared.len() + wire.suffix.len() > MAX_PATH_BYTES {
            return Err("a path is longer than 4095 bytes");
        }
        let path = [shared, &wire.suffix].concat();
        if !path::is_valid(&path) {
            return Err("a path could lead out of the tree");
        }
        entries.push(decode_one(wire, path, frames)?);
    }
    Ok(entries)
}

fn decode_one(wire: WireEntry, path: Vec<u8>, frames: &[u32]) -> Result<Entry, &'static str> {
    let WireEntry { kind, mode, uid, gid, seconds, nanos, class, target, size, start, more, .. } = wire;
    if mode > 0o7777 || nanos >= 1_000_000_000 || class > 1 {
        return Err("an entry has a mode, time or class that none can have");
    }
    let content = Content { size, start, more, chunks: wire.chunks.iter().map(chunk).collect() };
    let empty = |content: &Content| *content == Content::default();
    let node = match kind {
        FILE if target.is_empty() => {
            check_content(&content, frames)?;
            Node::File(content)
        }
        DIRECTORY if target.is_empty() && empty(&content) => Node::Directory,
        FIFO if target.is_empty() && empty(&content) => Node::Fifo,
        SYMLINK
            if !target.is_empty() && target.len() <= MAX_TARGET_BYTES && !target.contains(&0) && empty(&content) =>
        {
            Node::Symlink { target }
        }
        HARDLINK if !target.is_empty() && path::is_valid(&target) && empty(&content) => {
            if path::path_order(&target, &path).is_ge() {
                return Err("a hardlink names an entry that does not come before it");
            }
            Node::Hardlink { first: target }
        }
        _ => return Err("an entry is of no kind that there is"),
    };
    if path.is_empty() && node != Node::Directory {
        return Err("the root of the tree is no directory");
    }
    let class = if class == 1 { Class::Derived } else { Class::Keep };
    let xattrs = decode_xattrs(wire.xattrs)?;
    Ok(Entry { path, mode, uid, gid, mtime: Timestamp { seconds, nanos }, class, xattrs, node })
}

fn chunk(wire: &WireChunk) -> Chunk {
    Chunk { hole: wire.hole, frame: wire.frame, offset: wire.offset, length: wire.length }
}

fn check_content(content: &Content, frames: &[u32]) -> Result<(), &'static str> {
    for chunk in &content.chunks {
        let frame = frames.get(chunk.frame as usize).ok_or("a chunk names a frame that is not in the table")?;
        let inside = chunk.offset.checked_add(chunk.length).is_some_and(|end| end <= *frame);
        if chunk.length == 0 || chunk.length as usize > MAX_BLOB_BYTES || !inside {
            return Err("a chunk does not lie in its frame");
        }
    }
    if content.size > i64::MAX as u64 || content.end().is_none_or(|end| end > content.size) {
        return Err("a file's chunks go beyond its end");
    }
    Ok(())
}

fn decode_xattrs(wire: Vec<WireXattr>) -> Result<Vec<Xattr>, &'static str> {
    let bytes: usize = wire.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
    let fits = |xattr: &WireXattr| {
        (1..=MAX_XATTR_NAME_BYTES).contains(&xattr.name.len())
            && !xattr.name.contains(&0)
            && xattr.value.len() <= MAX_XATTR_VALUE_BYTES
    };
    if wire.len() > MAX_XATTRS || bytes > MAX_XATTRS_BYTES || !wire.iter().all(fits) {
        return Err("an entry has extended attributes that none can have");
    }
    if !wire.is_sorted_by(|a, b| a.name < b.name) {
        return Err("an entry's extended attributes are out of order");
    }
    Ok(wire.into_iter().map(|WireXattr { name, value }| Xattr { name, value }).collect())
}
