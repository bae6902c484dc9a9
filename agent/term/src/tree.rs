//! Everything a session started: descendants by parentage, and what was forked
//! away twice or made a session of its own by the mark in its environment.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::{Duration, Instant},
};

use remora_proto_process::{Identity, Stat, all, descendants, environments, look, variables};
use rustix::process::Signal;

use crate::{
    environment::SESSION_MARK,
    limits::{COMMAND_LINE_CHARACTERS, FREEZE_SETTLE, KILL_SETTLE, NAMED_PROCESSES},
    screen::visible,
};

/// Ticks a second in /proc/PID/stat: what Linux shows to programs on each architecture that this is built for.
const USER_HZ: u64 = 100;
/// Time between two looks at processes that were asked to end.
const LOOK: Duration = Duration::from_millis(10);

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The process that was started.
    Leader,
    /// Its group; of a terminal, the one in the foreground.
    Group,
    /// Everything it started.
    Tree,
}

/// A process as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its command line, escaped and clipped.
    pub command: String,
}

/// The living processes that the session `mark` with this leader started, the leader among them.
/// Blocks: one of them may be about to run a program, see [`environments`].
pub(crate) fn members(leader: i32, mark: &str) -> Vec<Identity> {
    let all = all();
    let mark = format!("{SESSION_MARK}={mark}");
    let mut roots = HashSet::from([leader]);
    environments(&all, |stat, environment| {
        if variables(environment).any(|variable| variable == mark.as_bytes()) {
            roots.insert(stat.identity.pid);
        }
    });
    living(&all, roots).iter().map(|stat| stat.identity).collect()
}

/// What lives of these and of what they started, but for this process.
fn living(all: &[Stat], roots: HashSet<i32>) -> Vec<Stat> {
    let mut found = descendants(all, roots);
    let own = own();
    found.retain(|stat| stat.lives() && stat.identity.pid != own);
    found
}

fn own() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// Sends `signal` to each; returns how many got it. A number that means another process by now gets nothing.
pub(crate) fn send(members: &[Identity], signal: Signal) -> usize {
    members.iter().filter(|member| member.signal(signal)).count()
}

/// Asks each to end with `signal`, also what stands still.
pub(crate) fn ask(members: &[Identity], signal: Signal) {
    send(members, signal);
    // A stopped process acts on the request only once it goes on.
    send(members, Signal::CONT);
}

/// Asks each to end as a terminal that is closed does. What was started to outlive one
/// (nohup(1)) gets SIGTERM: more than that SIGHUP would end others before they have saved.
pub(crate) fn hang_up(members: &[Identity]) {
    let (outliving, others): (Vec<_>, Vec<_>) = members.iter().partition(|member| ignores(member.pid, Signal::HUP));
    ask(&outliving, Signal::TERM);
    ask(&others, Signal::HUP);
}

fn ignores(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (signal.as_raw() - 1)) != 0
}

/// Asks everything to end, waits for `grace`, ends what is left, and returns
/// what lives on nevertheless. Blocks; not for a task.
pub(crate) fn end(find: impl Fn() -> Vec<Identity>, ask: Signal, grace: Duration) -> Vec<Process> {
    self::ask(&find(), ask);
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline {
        if find().is_empty() {
            return Vec::new();
        }
        pause();
    }
    let deadline = Instant::now() + KILL_SETTLE;
    let mut killed = HashSet::new();
    loop {
        let left = find();
        if left.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= deadline {
            return left.into_iter().take(NAMED_PROCESSES).map(|member| describe(member.pid)).collect();
        }
        send(&left, Signal::KILL);
        // Each round again: a tree that forks while it dies is caught by the next one, and
        // while it grows there is no time to lose.
        let before = killed.len();
        killed.extend(left);
        if killed.len() == before {
            pause();
        }
    }
}

pub(crate) fn describe(pid: i32) -> Process {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<u8> = line.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    let text = visible(String::from_utf8_lossy(&words).trim_end());
    Process { pid, command: text.chars().take(COMMAND_LINE_CHARACTERS).collect() }
}

/// Processes but this one that hold one of the files (`pipe:[4711]`) open.
pub(crate) fn holders(files: &[String]) -> Vec<Process> {
    let holds = |pid: i32| {
        let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        folder
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| files.iter().any(|file| target.as_os_str() == file.as_str()))
    };
    let pids = all().into_iter().map(|stat| stat.identity.pid);
    pids.filter(|pid| *pid != own() && holds(*pid)).take(NAMED_PROCESSES).map(describe).collect()
}

/// What freeze stopped, so that thaw lets go on exactly that.
#[derive(Debug, Default)]
pub struct Frozen(HashSet<Identity>);

impl Frozen {
    /// How many processes are stopped.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is stopped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn below_us() -> Vec<Stat> {
    living(&all(), HashSet::from([own()]))
}

/// What the descendants of this process want of the processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Processor time that they took so far, those included that have ended and were waited
    /// for. It may be a little less than a moment ago: of what ends without anybody who
    /// waits for it the time is lost.
    pub time: Duration,
    /// Whether one of them runs or wants to at this moment, or waits for a disk.
    pub wants: bool,
}

/// Looks at them.
pub fn load() -> Load {
    let below = below_us();
    let living: u64 = below.iter().map(|stat| stat.ticks + stat.children_ticks).sum();
    let ended = look(own()).map_or(0, |stat| stat.children_ticks);
    Load {
        time: Duration::from_millis((living + ended) * (1_000 / USER_HZ)),
        wants: below.iter().any(|stat| matches!(stat.state, b'R' | b'D')),
    }
}

/// Stops every descendant of this process, and returns once each thread of each
/// stands still: a signal that was sent has not arrived yet, one process may let
/// another go on until it stops itself, and new ones may appear. What was stopped
/// before (by job control) is left alone. Returns what does not stop in time, or until
/// `give_up` says so.
pub fn freeze(frozen: &mut Frozen, give_up: impl Fn() -> bool) -> Vec<Process> {
    let deadline = Instant::now() + FREEZE_SETTLE;
    loop {
        let all = below_us();
        let paces: HashMap<i32, Pace> = all.iter().map(|stat| (stat.identity.pid, pace(stat.identity.pid))).collect();
        let is = |pid: i32, wanted: Pace| paces.get(&pid) == Some(&wanted);
        if paces.values().all(|pace| *pace == Pace::Stands) {
            return Vec::new();
        }
        let moving = |stat: &&Stat| !is(stat.identity.pid, Pace::Stands);
        if give_up() || Instant::now() >= deadline {
            return all.iter().filter(moving).take(NAMED_PROCESSES).map(|stat| describe(stat.identity.pid)).collect();
        }
        // A parent within vfork(2) cannot stop before its child has called exec: that one goes on until then.
        let (needed, others): (Vec<&Stat>, Vec<&Stat>) = all.iter().partition(|stat| is(stat.parent, Pace::Waits));
        let needed = needed.into_iter().map(|stat| stat.identity).filter(|identity| frozen.0.remove(identity));
        send(&needed.collect::<Vec<_>>(), Signal::CONT);
        let stopping: Vec<Identity> = others.into_iter().filter(moving).map(|stat| stat.identity).collect();
        send(&stopping, Signal::STOP);
        frozen.0.extend(stopping);
        pause();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// No thread of it runs.
    Stands,
    /// A thread of it is in the kernel's uninterruptible sleep.
    Waits,
    Runs,
}

fn pace(pid: i32) -> Pace {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Pace::Stands };
    let state = |stat: &[u8]| Some(*stat.get(stat.iter().rposition(|byte| *byte == b')')? + 2)?);
    // One that has ended meanwhile has no stat.
    let states: Vec<u8> =
        threads.flatten().filter_map(|thread| state(&fs::read(thread.path().join("stat")).ok()?)).collect();
    if states.iter().all(|state| matches!(state, b'T' | b't' | b'Z' | b'X')) {
        Pace::Stands
    } else if states.contains(&b'D') {
        Pace::Waits
    } else {
        Pace::Runs
    }
}

/// Lets everything go on that freeze stopped.
pub fn thaw(frozen: &mut Frozen) {
    let members: Vec<Identity> = frozen.0.drain().collect();
    send(&members, Signal::CONT);
}

/// Ends every descendant of this process; returns what lives on nevertheless. Blocks.
pub fn kill_descendants(grace: Duration) -> Vec<Process> {
    end(|| below_us().into_iter().map(|stat| stat.identity).collect(), Signal::TERM, grace)
}

#[expect(clippy::disallowed_methods, reason = "only blocking threads end trees, and processes of others give no event")]
fn pause() {
    std::thread::sleep(LOOK);
}
