//! The bounds of `serve`, each with its unit and its reason.

use std::time::Duration;

use remora_agent_term as term;
use remora_proto_serving::limits::{MAX_HEADER_BYTES, MAX_STREAMS_PER_CONNECTION};

/// Connections that stand at once. The callers are a few control-plane replicas.
pub const MAX_CONNECTIONS: usize = 64;
/// Time for the TLS handshake. A peer in the same cluster needs milliseconds.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls in flight over all connections.
pub const MAX_CALLS: usize = 2_048;
/// Bytes of one message, both ways. The contract's own bound is 1 MiB; the rest is slack for new fields.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Time for running calls to end after the agent was told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to the port for probes and metrics.
pub const MAX_PROBE_CONNECTIONS: usize = 16;
/// Time one probe may take from its first byte to its answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls on files that act at once; more wait for their turn. Each takes a thread,
/// and disks gain nothing from more.
pub const MAX_FILE_CALLS: usize = 16;
/// Archives that are packed or unpacked at once; each takes a thread for as long
/// as its client takes, and up to 48 MiB.
pub const MAX_ARCHIVE_CALLS: usize = 4;
/// Bytes of an archive in one message.
pub const ARCHIVE_CHUNK_BYTES: usize = 256 * 1024;
/// Messages of an archive that wait between the engine and the client.
pub const ARCHIVE_CHUNKS_AHEAD: usize = 2;
/// Watches that stand at once; each takes a thread.
pub const MAX_WATCHES: usize = 16;
/// Batches of a watch that wait for the client; further changes gather meanwhile.
pub const WATCH_BATCHES_AHEAD: usize = 2;
/// Time after which a watch without changes looks whether anybody still listens.
pub const WATCH_LOOK: Duration = Duration::from_millis(250);
/// Time that a client may leave a stream unread before its call ends.
pub const DOWNLOAD_STALL: Duration = Duration::from_secs(60);
/// Searches that run at once; more wait for their turn. Each takes a thread until
/// its client has read its results.
pub const MAX_SEARCHES: usize = 8;
/// Batches of results that wait between a search and its client.
pub const SEARCH_BATCHES_AHEAD: usize = 4;
/// Time that a client may leave the results of a search unread before it ends.
pub const SEARCH_STALL: Duration = Duration::from_secs(30);
/// Time for one page of List or Glob.
pub const LIST_BUDGET: Duration = Duration::from_secs(15);
/// Time that one message of an upload may take to arrive: a client that is
/// slower than this is gone.
pub const UPLOAD_STALL: Duration = Duration::from_secs(60);

/// Calls to one shim that are in flight: the shim takes 256 streams, and the agent's own calls need some.
pub const MAX_SHIM_CALLS: usize = 240;
/// Bytes of one answer of a shim: the largest listing, with all 256 commands at their bounds.
pub const MAX_SHIM_ANSWER_BYTES: usize = MAX_MESSAGE_BYTES;
/// Receive window of a stream from a shim, bytes: eight frames of output. What a slow caller does not
/// read stays in the ring; with two frames both sides wait for each other a third of the time.
pub const SHIM_STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// Receive window of a connection to a shim, bytes: all streams' windows
/// together, so that one that is not read never stalls the others.
pub const SHIM_CONNECTION_WINDOW_BYTES: u32 = 256 * SHIM_STREAM_WINDOW_BYTES;
/// Bytes of one HTTP/2 frame from a shim. A frame that nobody takes keeps the buffer that it was read into:
/// with larger ones a stream that is not read costs a third more.
pub const SHIM_HTTP2_FRAME_BYTES: u32 = 32 * 1024;
/// Time for a shim to say who it is.
pub const SHIM_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a first call waits while an agent that has just started connects.
pub const SHIM_FIRST_WAIT: Duration = Duration::from_secs(2);
/// Time for a shim to answer a call, beside what the call itself waits for: a
/// look through /proc, or a fork on a machine that is short of everything.
pub const SHIM_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a shim within an attachment: three of its heartbeats.
pub const SHIM_SILENCE: Duration = Duration::from_secs(30);
/// Pause between two reports of a shim that are looked at: faster ones are
/// somebody's attempt to keep the agent busy.
pub const SHIM_STATUS_PAUSE: Duration = Duration::from_millis(20);
/// Longest silence that the agent asks of a shim's status; three of them are a dead shim.
pub const SHIM_STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// Silence on a connection to a shim before it is asked whether it lives, and time for the answer.
pub const SHIM_KEEPALIVE: Duration = Duration::from_secs(5);
/// First and longest rest before a shim is tried again: a container starts within seconds.
pub const SHIM_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// See [`SHIM_BACKOFF_MIN`].
pub const SHIM_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// When a caller should try an unreachable container again.
pub const SHIM_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time without a connection after which a shim is gone and not only away for a moment.
pub const SHIM_IS_GONE: Duration = Duration::from_secs(2);
/// Characters of a shim's words that are passed on.
pub const SHIM_TEXT_CHARACTERS: usize = 1_000;
/// Time between two looks at what changes without a word (calls in flight), for WatchStatus.
pub const STATUS_LOOK: Duration = Duration::from_millis(500);

/// Time between two looks at whether a container is used: a command that ends in between
/// was noticed when it began.
pub const USAGE_LOOK: Duration = Duration::from_secs(1);
/// Time over which the processor time of a container's processes is looked at: a server
/// that only wakes up now and then is not at work.
pub const BUSY_WINDOW: Duration = Duration::from_secs(5);
/// Thousandths of a processor from which on a container is at work. A dev server that
/// waits takes under ten, one that polls its files up to thirty, a build hundreds. One that
/// gets less and wants more at both ends of the window is at work too.
pub const BUSY_MILLICORES: u128 = 50;
/// Time between two looks at connections. One that both of them see counts: a probe of the
/// cluster is gone by the next.
pub const VISITOR_LOOK: Duration = Duration::from_secs(2);
/// Other ends of connections that are remembered: a project has up to 16 pods that may
/// stand twice while they are replaced, and who comes beside those matters only once.
pub const MAX_VISITORS: usize = 64;
/// Largest table of connections that is read, in bytes: some 50,000 of them.
pub const MAX_CONNECTION_TABLE_BYTES: u64 = 8 << 20;
/// Time within which another use is no news for those who follow the status: it is in what
/// they are told at the latest then.
pub const USE_IS_NEWS_AFTER: Duration = Duration::from_secs(5);

/// Every bound that a caller may want to know, by name (`GetInfo.limits`).
pub fn table() -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("max_connections", MAX_CONNECTIONS as u64),
        ("max_streams_per_connection", u64::from(MAX_STREAMS_PER_CONNECTION)),
        ("max_calls", MAX_CALLS as u64),
        ("max_file_calls", MAX_FILE_CALLS as u64),
        ("max_searches", MAX_SEARCHES as u64),
        ("max_message_bytes", MAX_MESSAGE_BYTES as u64),
        ("max_header_bytes", u64::from(MAX_HEADER_BYTES)),
        ("drain_timeout_ms", DRAIN_TIMEOUT.as_millis() as u64),
        ("max_container_calls", MAX_SHIM_CALLS as u64),
        ("max_terminals", term::TERMINALS as u64),
        ("max_terminal_viewers", term::VIEWERS as u64),
        ("terminal_ring_bytes", term::RING_BYTES as u64),
        ("max_terminal_ring_bytes", term::RING_BYTES_MAX as u64),
        ("max_frame_bytes", term::FRAME_BYTES as u64),
        ("max_running_commands", term::COMMANDS_RUNNING as u64),
        ("max_commands", term::COMMANDS as u64),
        ("command_output_bytes", term::COMMAND_DISK_BYTES as u64),
        ("ended_commands_output_bytes", term::COMMANDS_DISK_BYTES as u64),
        ("run_timeout_ms", term::RUN_TIMEOUT.as_millis() as u64),
        ("max_run_timeout_ms", term::RUN_TIMEOUT_MAX.as_millis() as u64),
        ("run_output_characters", term::EXCERPT_CHARACTERS as u64),
        ("pipe_drain_ms", term::PIPE_DRAIN.as_millis() as u64),
    ]
    .into_iter()
}

/// Pause between two looks at how far the workspace is from the store. One look
/// goes through the whole tree without reading contents: 0.2 s for 100,000 files.
pub const MEASURE_INTERVAL: Duration = Duration::from_secs(15);
/// Pause between two reports of a snapshot operation: the contract promises one a second.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Messages of a snapshot stream that wait for a slow reader.
pub const MAX_QUEUED_EVENTS: usize = 16;
/// Comparisons of snapshots at once: each reads manifests and may read the whole workspace.
pub const MAX_DIFFS: usize = 2;
/// Exports of snapshots at once: each holds as many contents as a restore.
pub const MAX_EXPORTS: usize = 1;
/// Differences in one message: even of the longest paths they stay below 1 MiB.
pub const MAX_DIFF_BATCH: usize = 200;
/// Time that `hydrate` and `dehydrate` take to end their step after SIGTERM: the
/// smaller part of the 30 s that Kubernetes grants.
pub const STOP_BUDGET: Duration = Duration::from_secs(8);
/// Bytes of an archive that one request to the store asks for while a workspace is
/// filled from it: two of them are held.
pub const SEED_PART_BYTES: u64 = 4 * 1024 * 1024;
/// Pause between two attempts of the last snapshot: a store that comes back is soon
/// noticed, and one that refuses is not pressed.
pub const FLUSH_RETRY: Duration = Duration::from_millis(500);
/// Longest budget of the last snapshot: more than any grace period of a pod.
pub const MAX_FLUSH_BUDGET: Duration = Duration::from_secs(3_600);
/// Time that threads which wait for a disk or a store get once a role has ended.
pub const EXIT_PATIENCE: Duration = Duration::from_millis(500);
/// What a shim takes at most beyond its --stop-grace until it has exited and with it
/// everything in its container: those asked last get 2 s, those killed have 1 s to be
/// gone, and followers 0.2 s to read how the command ended. Whoever divides a pod's grace
/// period keeps this free between the two: grace = stop-grace + this + flush budget.
pub const SHIM_STOP_SLACK: Duration = Duration::from_secs(5);
/// Lease of containers that are stopped for a snapshot: what they stand still at
/// most where the agent dies meanwhile.
pub const QUIET_LEASE: Duration = Duration::from_secs(60);
/// Pause between two renewals of that lease: two of them may be lost.
pub const QUIET_RENEWAL: Duration = Duration::from_secs(15);
/// Shortest time that containers stay stopped after a commit, the shortest lease.
pub const MIN_HOLD: Duration = Duration::from_secs(1);
/// Most things that one container waits for: a project has 16 containers, and one is the workspace.
pub const MAX_GATES: usize = 16;
/// Rest between two looks at what a container waits for: each is a connection.
pub const GATE_LOOK: Duration = Duration::from_millis(250);
/// Longest such look: on one network an answer takes milliseconds.
pub const GATE_TRY: Duration = Duration::from_secs(2);
