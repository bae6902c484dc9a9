//! The bounds of this engine, each with its unit and its reason.

use std::time::Duration;

/// Bytes of memory that a container's shim takes at most, rings and output of commands not counted: its
/// children are given the points of as much, so that the kernel ends them first.
pub const OWN_MEMORY_BYTES: u64 = 64 << 20;

/// Bytes of terminal output that are held by default: some 10,000 lines.
pub const RING_BYTES: usize = 1 << 20;
/// Smallest ring, bytes: one screen of a large terminal with colours.
pub const RING_BYTES_MIN: usize = 64 << 10;
/// Largest ring, bytes: 64 sessions of it are one GiB, the most a container should pay.
pub const RING_BYTES_MAX: usize = 16 << 20;
/// Sessions of a container, running and ended: each has a PTY and a ring.
pub const TERMINALS: usize = 64;
/// Viewers of a session: each has a queue.
pub const VIEWERS: usize = 16;
/// Bytes that a viewer may be behind before `DROP` skips, and its first credit.
pub const VIEWER_QUEUE_BYTES: u64 = 256 << 10;
/// Bytes of one frame of output or input: small enough to interleave with keystrokes.
pub const FRAME_BYTES: usize = 64 << 10;
/// Bytes of output in one frame. With its heads it fits into 64 KiB, above which allocators hand out a
/// quarter more than is asked for, and each stream that nobody reads holds some of them.
pub const OUTPUT_FRAME_BYTES: usize = 63 << 10;
/// Bytes of a terminal that floods which are taken at once: three frames, for each of which everybody on
/// the way to a viewer would be woken otherwise; and less than a viewer may be behind. Of a small ring it
/// is a quarter, so that a viewer who keeps up misses nothing.
pub const BURST_BYTES: usize = 3 * OUTPUT_FRAME_BYTES;
/// Clients whose input numbers a session remembers.
pub const INPUT_CLIENTS: usize = 64;
/// Silence before a heartbeat: half of the shortest idle timeout of usual proxies.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// Largest width and height, cells: a screen of 1,000 by 1,000 is some 30 MiB in the emulator.
pub const SIZE_MAX: u16 = 1_000;

/// Characters of a title that are kept.
pub const TITLE_CHARACTERS: usize = 256;
/// Bytes of a painted screen: what fits into a message beside everything else.
pub const SCREEN_PAINT_BYTES: usize = 3 << 20;

/// Commands that run at once in a container.
pub const COMMANDS_RUNNING: usize = 64;
/// Commands that are remembered, running and ended.
pub const COMMANDS: usize = 256;
/// Bytes of a command's output that are taken from its pipe at once: four frames, for each of which everybody
/// on the way to a caller would be woken otherwise.
pub const PIPE_BURST_BYTES: usize = 4 * OUTPUT_FRAME_BYTES;
/// Bytes that the kernel holds of the pipe of a command that floods. The pipes of others keep its default of
/// 64 KiB: what all pipes of a user hold together is bounded (pipe(7), pipe-user-pages-soft).
pub const PIPE_BYTES: usize = 256 << 10;
/// Bytes of each stream of a command that are held in memory before they move to a file.
pub const COMMAND_MEMORY_BYTES: usize = 1 << 20;
/// Bytes of each stream of a command that are held at all.
pub const COMMAND_DISK_BYTES: usize = 64 << 20;
/// Bytes of output that ended commands hold on disk together, where another one starts: both streams of the
/// largest. What is older is dropped, before most of it was written to the disk at all.
pub const COMMANDS_DISK_BYTES: usize = 2 * COMMAND_DISK_BYTES;
/// Time a foreground command has by default.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time a foreground command can ask for; longer work is for Start.
pub const RUN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Longest time of a background command.
pub const START_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of a stream that Run returns by default.
pub const EXCERPT_CHARACTERS: usize = 30_000;
/// Most characters of a stream that Run returns.
pub const EXCERPT_CHARACTERS_MAX: usize = 300_000;
/// Bytes of stdin that Run takes with it.
pub const RUN_STDIN_BYTES: usize = 1 << 20;
/// Bytes that GetOutput returns by default.
pub const OUTPUT_BYTES: usize = 256 << 10;
/// Most bytes that GetOutput returns: the bound of a message.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Time that output is read after the leader's exit while others hold it open.
pub const PIPE_DRAIN: Duration = Duration::from_secs(2);
/// Time between asking a tree to end and ending it.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
/// Longest such time a caller can ask for.
pub const KILL_GRACE_MAX: Duration = Duration::from_secs(60);
/// Time that killed processes have to be gone before they are called survivors:
/// only the kernel's uninterruptible sleep outlives SIGKILL.
pub const KILL_SETTLE: Duration = Duration::from_secs(1);
/// Time that processes have to stand still: longer is the kernel's
/// uninterruptible sleep, and what waits there may still write.
pub const FREEZE_SETTLE: Duration = Duration::from_secs(5);

/// Words of an argv.
pub const ARGV_WORDS: usize = 4_096;
/// Bytes of argv and environment together: what Linux takes by default is 2 MiB.
pub const ARGV_BYTES: usize = 1 << 20;
/// Bytes of an argv where a session is shown: a list of all commands has to fit into one message.
pub const ARGV_SHOWN_BYTES: usize = 2_048;
/// Bytes of a working directory: what Linux takes (PATH_MAX).
pub const CWD_BYTES: usize = 4_096;
/// Labels of a session.
pub const LABELS: usize = 16;
/// Bytes of a label's key and of its value.
pub const LABEL_BYTES: usize = 256;
/// Characters of a command line where processes are named.
pub const COMMAND_LINE_CHARACTERS: usize = 256;
/// Processes that are named in one answer.
pub const NAMED_PROCESSES: usize = 32;
