//! `/proc/PID/stat`, and who started whom.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use crate::identity::Identity;

/// A kernel thread, among the flags of `include/linux/sched.h`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process at the moment of a look.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Which one it is.
    pub identity: Identity,
    /// The process that started it, or that took it over.
    pub parent: i32,
    /// The state of its first thread: a letter of proc(5).
    pub state: u8,
    /// Processor time of its own, in ticks.
    pub ticks: u64,
    /// The same of its children that have ended and were waited for, and of theirs.
    pub children_ticks: u64,
    /// Its threads; 0 for some that have ended.
    pub(crate) threads: u32,
    /// Whether it is a thread of the kernel, which has no memory and no environment.
    pub(crate) kernel: bool,
    pub(crate) memory: Memory,
}

/// Where things are in the memory of a process. All of it is 0 where it has no memory, or this
/// process may not know, which a few sandboxes never may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The program. execve(2) notes it last, so 0 too while that is on its way.
    pub(crate) code: u64,
    /// The environment, from the first to behind the last byte.
    pub(crate) environment: (u64, u64),
}

impl Stat {
    /// Whether anything of it runs: a first thread that has ended while others go on is a process that runs.
    pub fn lives(&self) -> bool {
        !self.first_thread_ended() || self.threads > 1
    }

    pub(crate) fn first_thread_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Every process that can be seen, those that have ended and were not waited for among them.
pub fn all() -> Vec<Stat> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder.flatten().filter_map(|entry| look(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The process of this number, unless there is none.
pub fn look(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name may hold any byte, so fields count from its last bracket.
fn parse(pid: i32, stat: &[u8]) -> Option<Stat> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let fields: Vec<&str> = std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace().collect();
    // The numbers of proc(5), where the first field after the name is 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    // Waited-for times are signed and may be less than nothing for a moment.
    let or_zero = |at: usize| number(at).unwrap_or(0);
    Some(Stat {
        identity: Identity { pid, start: number(22)? },
        parent: field(4)?.parse().ok()?,
        state: *field(3)?.as_bytes().first()?,
        ticks: or_zero(14) + or_zero(15),
        children_ticks: or_zero(16) + or_zero(17),
        threads: field(20)?.parse().ok()?,
        kernel: number(9)? & PF_KTHREAD != 0,
        memory: Memory { code: or_zero(26), environment: (or_zero(50), or_zero(51)) },
    })
}

/// Of `all` those whose numbers are `roots`, and what they started as far as parentage tells.
pub fn descendants(all: &[Stat], roots: impl IntoIterator<Item = i32>) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat.identity.pid);
    }
    let mut found: HashSet<i32> = roots.into_iter().collect();
    let mut queue: Vec<i32> = found.iter().copied().collect();
    while let Some(pid) = queue.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                queue.push(*child);
            }
        }
    }
    all.iter().filter(|stat| found.contains(&stat.identity.pid)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4711 (a) b (c)) S 4700 4711 4711 0 -1 4194304 1 2 3 4 50 60 7 -8 20 0 3 0 98765 1 1 1 1000 1 1 \
                        1 1 0 0 0 0 1 0 0 17 0 0 0 0 0 0 11 12 13 14 15 1600 1700 0\n";

    #[test]
    fn fields_count_from_the_last_bracket_of_the_name() {
        let stat = parse(4711, LINE.as_bytes()).unwrap();
        assert_eq!((stat.identity, stat.parent), (Identity { pid: 4711, start: 98_765 }, 4700));
        assert_eq!((stat.ticks, stat.children_ticks, stat.threads), (110, 7, 3));
        assert_eq!((stat.kernel, stat.lives()), (false, true));
        assert_eq!(stat.memory, Memory { code: 1000, environment: (1600, 1700) });
        assert!(parse(4711, b"4711 (cut) S 1").is_none() && parse(4711, b"").is_none());
    }

    #[test]
    fn a_first_thread_that_has_ended_is_no_ended_process_while_others_go_on() {
        let zombie = |threads: &str| LINE.replace(") S ", ") Z ").replace(" 20 0 3 0 ", &format!(" 20 0 {threads} 0 "));
        assert!(parse(4711, zombie("2").as_bytes()).unwrap().lives());
        assert!(!parse(4711, zombie("1").as_bytes()).unwrap().lives());
    }

    #[test]
    fn descendants_are_found_however_deep() {
        let stat =
            |pid, parent| Stat { identity: Identity { pid, start: 1 }, parent, ..parse(1, LINE.as_bytes()).unwrap() };
        let all = [stat(9, 5), stat(2, 1), stat(5, 2), stat(3, 1), stat(7, 9)];
        let mut found: Vec<i32> = descendants(&all, [2]).iter().map(|stat| stat.identity.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 5, 7, 9]);
    }
}
