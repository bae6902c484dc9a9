//! Bounds of the control plane's runtime. Each says its unit and its reason.

use std::time::Duration;

/// Projects on one server: each has a driver task and, while it runs, a status
/// stream and two processes at least, so this is past what one machine carries.
pub const MAX_PROJECTS: usize = 1_000;

/// Changes of projects that a slow watcher may be behind before it has to list
/// again: about a minute of a busy server.
pub const CHANGES_BEHIND: usize = 1_024;

/// Versions that are reserved with one write to the disk, so that a status which
/// changes every few seconds costs none.
pub const VERSION_BLOCK: u64 = 4_096;

/// Largest archive that a project starts from, in bytes: what a `git clone` of a
/// large repository with its history takes, with room.
pub const MAX_SOURCE_BYTES: u64 = 4 << 30;

/// Life of a signed URL where nobody says how long.
pub const DEFAULT_URL_LIFE: Duration = Duration::from_secs(3_600);

/// Longest life of a signed URL: the signature's own bound (SigV4, `X-Amz-Expires`).
pub const MAX_URL_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Time after the end of its URL for which an object stays: who began to download then
/// comes to an end.
pub const URL_GRACE: Duration = Duration::from_secs(3_600);

/// Time for the archive of a snapshot to be packed and stored: the largest one at 20 MB/s.
pub const EXPORT_WITHIN: Duration = Duration::from_secs(3_600);

/// Time between two looks for objects whose URL has ended: one listing for all projects.
pub const TRANSFER_SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Archives of one project's snapshots on the store, and archives that were brought for
/// it and not taken: each may be as large as its workspace.
pub const MAX_PROJECT_TRANSFERS: usize = 8;

/// Parts of one archive on its way to the store (S3 takes 10,000).
pub const MAX_ARCHIVE_PARTS: i32 = 10_000;

/// Pieces of an archive that wait to be looked through, at most 1 MiB each.
pub const INSPECT_AHEAD: usize = 4;

/// Attempts at one change of a record that others change at the same moment: each
/// lost one means that another writer got on.
pub const CHANGE_ATTEMPTS: u32 = 8;

/// Rest before the third of them, doubled with each: whoever refuses all of them is asked
/// less than five times a second.
pub const CHANGE_REST: Duration = Duration::from_millis(250);

/// Longest rest between two of them: a caller waits for all.
pub const CHANGE_REST_MOST: Duration = Duration::from_secs(1);

/// Orphans of one kind that are told of: more is one problem and not as many.
pub const MAX_ORPHANS: usize = 200;

/// Bytes of a part of an archive on its way to the store: each upload holds one
/// and the chunk that fills it, and S3 takes none below 5 MiB but the last.
pub const SOURCE_PART_BYTES: usize = 8 << 20;

/// Wait of a server that does not act for what the one that does has recorded, before it
/// answers by what it knows: reading one record takes milliseconds.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Rest before a project that could not be looked at is looked at again.
pub const BLIND_REST: Duration = Duration::from_secs(1);
/// How long a change may be between its two writes, before it is taken for one whose server
/// has ended there: the API server takes at most 60 s for a request.
pub const HALF_CHANGED: Duration = Duration::from_secs(90);

/// What a caller waits before it asks again for a project that is on its way, at least.
pub const NOT_READY_RETRY: Duration = Duration::from_secs(1);

/// How many similar names an error for an unknown project shows.
pub const SIMILAR_NAMES: usize = 3;

/// Size at which the log of a process is cut, in bytes: an hour of a talkative dev server.
pub const MAX_LOG_BYTES: u64 = 4 << 20;

/// What is kept of a log that is cut, in bytes.
pub const KEPT_LOG_BYTES: u64 = 1 << 20;

/// Time for a process of ours to say that it is ready: a cold binary on a busy machine.
pub const READY_WITHIN: Duration = Duration::from_secs(30);

/// Time for killed processes to be gone.
pub const KILL_WITHIN: Duration = Duration::from_secs(10);

/// Time that a container's command has between SIGTERM and SIGKILL.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Time that the agent has to finish its calls, after its own drain budget of 10 s.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(12);

/// How often a pod is looked at: a killed agent is back within a second.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often processes that are getting ready are looked at.
pub const START_LOOK: Duration = Duration::from_millis(50);

/// How often an agent that runs is asked whether it answers.
pub const ANSWER_LOOK: Duration = Duration::from_millis(200);

/// How often logs are looked at.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Folders of past generations that stay, for their logs.
pub const KEPT_GENERATIONS: u64 = 3;

/// Largest root object that is read back, in bytes: roots are a few hundred.
pub const MAX_ROOT_BYTES: u64 = 1 << 20;

/// Time for one request to the store.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(15);

/// Time for the agent to answer a question about itself.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a connection to an agent is asked whether it lives, and time for its answer.
pub const KEEPALIVE: Duration = Duration::from_secs(20);

/// Bytes of one HTTP/2 frame from an agent: one message of a command's or a terminal's output with its head.
pub const HTTP2_FRAME_BYTES: u32 = 128 * 1024;

/// Bytes that are read at once from the connection to an agent: its TLS asks for 4 KiB a call.
pub const TLS_READ_BYTES: usize = 64 * 1024;

/// Bytes of one stream from an agent that nobody has read yet: more than the window of an agent on a
/// stream from its shim, so that neither waits for the other.
pub const STREAM_WINDOW_BYTES: u32 = 768 * 1024;

/// The same for the connection to an agent: the window of each of the 256 streams
/// that it takes, so that a client that does not read stalls no other.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * 256;

/// Time that a snapshot operation waits for its turn while the agent is at another
/// one: as long as a snapshot of a large tree takes, and less than a caller's patience.
pub const TURN_WITHIN: Duration = Duration::from_secs(120);

/// Time between two looks whether the turn has come.
pub const TURN_LOOK: Duration = Duration::from_millis(250);

/// Time between two prunes of a lineage that gets snapshots all the time.
pub const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// Longest path of a Unix socket, in bytes (sun_path of unix(7), less its NUL).
pub const MAX_SOCKET_PATH: usize = 107;

/// Time for drivers to end between two steps when the server ends.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Longest silence that is asked of an agent's status.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Rest before a status stream that broke off is opened again.
pub const STATUS_REST: Duration = Duration::from_millis(250);
