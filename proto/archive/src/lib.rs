//! The tar that carries a tree between a project and whoever has its files: how the
//! header of an entry is written, with exact times and the extended attributes of
//! users in records of pax (POSIX.1-2001), and a reader that takes nothing that two
//! readers could understand differently. The agent and the command line use the same.

mod header;
mod inspect;
pub mod limits;
mod members;
mod record;
mod time;
mod unpacked;
pub mod xattrs;

pub use header::{Written, write_header};
pub use inspect::{Inspected, Refusal, inspect};
pub use members::{Broken, Content, Kind, Member, Members, shown};
pub use tar::EntryType;
pub use time::Time;
pub use unpacked::{UnpackFault, Unpacked};

/// Bytes of a block: headers and contents begin at multiples of it.
pub const BLOCK: usize = 512;

/// Zeros from the end of `size` bytes to the next block.
pub const fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}
