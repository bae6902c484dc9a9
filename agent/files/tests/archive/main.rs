//! Archives: what is packed is unpacked the same, also by and from GNU tar;
//! what would do harm is refused.

mod bounds;
mod cut_short;
mod forge;
mod hostile;
mod round_trip;
mod storm;
mod tree;
