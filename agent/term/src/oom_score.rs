//! Whom the kernel kills first when memory runs out: what this process starts,
//! not this process, with which all of it would end.
//!
//! The kernel takes the process with the highest score: its resident memory, and
//! a thousandth of the group's limit for each point of `oom_score_adj`
//! (proc_pid_oom_score_adj(5)). A program that takes memory quickly is often small
//! still when the last page goes, so each child is given as many points as are worth
//! what this process may take. Raising one's own points needs no privilege.

use std::{fs, path::Path};

use crate::{limits::OWN_MEMORY_BYTES, oom::folders};

/// The most points there are.
const MAX: i32 = 1_000;

/// What a child writes to its own `oom_score_adj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OomScore(i32);

impl OomScore {
    /// The points of this process and those that put its children before it.
    pub(crate) fn of_children() -> Self {
        let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut limits: Vec<u64> = folders(&groups).iter().filter_map(|folder| limit(folder)).collect();
        // Without a limit it is the whole machine that runs out.
        let machine = rustix::system::sysinfo();
        limits.push((machine.totalram as u64).saturating_mul(machine.mem_unit.into()));
        OomScore::above(own.unwrap_or(0), limits.into_iter().min().unwrap_or(u64::MAX))
    }

    /// Points above `own` that are worth [`OWN_MEMORY_BYTES`] where `limit` bytes are all there is.
    fn above(own: i32, limit: u64) -> Self {
        let share = OWN_MEMORY_BYTES.saturating_mul(1_000).div_ceil(limit.max(1));
        OomScore(own.saturating_add(i32::try_from(share).unwrap_or(MAX).min(MAX)).min(MAX))
    }

    /// The number in decimal, and how many of the bytes it takes: made before a fork, after which nothing is allocated.
    pub(crate) fn text(self) -> ([u8; 5], usize) {
        let text = self.0.to_string();
        let mut bytes = [0; 5];
        let length = text.len().min(bytes.len());
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        (bytes, length)
    }
}

/// The limit of a memory group in bytes, of either version; `None` where it has none.
fn limit(folder: &Path) -> Option<u64> {
    ["memory.max", "memory.limit_in_bytes"]
        .iter()
        .find_map(|name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a057_children_are_worth_as_much_more_as_this_process_takes() {
        let points = |own, limit| OomScore::above(own, limit).0;
        assert_eq!(points(0, OWN_MEMORY_BYTES * 10), 100);
        assert_eq!(points(0, 64 << 30), 1, "at least one");
        assert_eq!(points(-997, OWN_MEMORY_BYTES * 4), -747, "of a pod that is guaranteed its memory");
        assert_eq!(points(950, OWN_MEMORY_BYTES * 4), MAX, "of one that is not");
        assert_eq!((points(0, 1), points(0, 0)), (MAX, MAX));
        assert!((1..=MAX).contains(&OomScore::of_children().0));
    }

    #[test]
    fn the_text_is_the_number() {
        for number in [-1_000, -747, 0, 7, 1_000] {
            let (bytes, length) = OomScore(number).text();
            assert_eq!(std::str::from_utf8(&bytes[..length]).unwrap(), number.to_string());
        }
    }
}
