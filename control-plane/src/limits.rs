//! The bounds of the server, each with its unit and its reason.

use std::time::Duration;

/// Connections that stand at once: people, their tools and a few dozen AI agents.
pub const MAX_CONNECTIONS: usize = 512;
/// Time for the TLS handshake and the first bytes that tell HTTP/2 from HTTP/1.1.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the headers of an HTTP/1.1 request, and for the next request to begin.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls in flight over all connections.
pub const MAX_CALLS: usize = 2_048;
/// Calls in flight to one project. An agent takes 256 streams on a connection;
/// the rest is for the control plane's own.
pub const MAX_CALLS_PER_PROJECT: usize = 200;
/// Bytes of one gRPC message, both ways. The contract's own bound is 1 MiB; the rest is slack for new fields.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Header fields of one HTTP/1.1 request.
pub const MAX_HEADERS: usize = 64;
/// Time for running calls to end after the server was told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the projects' stop after `remora local` was told to end: a final
/// snapshot each. A second Ctrl-C does not wait.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of a JSON body: the largest spec that a gRPC message carries.
pub const MAX_JSON_BYTES: usize = MAX_MESSAGE_BYTES;
/// Time for a JSON body to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two pieces of a streamed body: whoever stalls longer has left.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an archive in one gRPC message.
pub const MAX_SOURCE_MESSAGE_BYTES: usize = 1024 * 1024;
/// Longest silence of a watch: a comment says that it lives.
pub const WATCH_HEARTBEAT: Duration = Duration::from_secs(15);
/// Time between two writes of when API keys were used.
pub const KEYS_FLUSH: Duration = Duration::from_secs(60);
/// Projects of a page.
pub const MAX_PAGE_PROJECTS: u32 = 1_000;
/// Projects of a page where nobody says how many.
pub const DEFAULT_PAGE_PROJECTS: u32 = 100;

/// Bytes of a file's content in one message to the agent: small enough that a slow body is not held back.
pub const MAX_WRITE_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of paths and lines in one answer of a search: what a language model can still read.
pub const MAX_GREP_ANSWER_BYTES: usize = 1024 * 1024;
/// WebSockets that stand at once: each holds a connection, and two windows of output.
pub const MAX_SOCKETS: usize = 256;
/// Bytes of one message of a WebSocket: the contract's bound on input in base64, and its frame.
pub const MAX_SOCKET_MESSAGE_BYTES: usize = 128 * 1024;
/// Bytes of output that may be on their way to a WebSocket.
pub const SOCKET_CREDIT_BYTES: u64 = 256 * 1024;
/// Time for the connection of a WebSocket to change hands.
pub const SOCKET_UPGRADE: Duration = Duration::from_secs(10);
/// Time between two pings of a WebSocket: below the idle bounds of proxies.
pub const SOCKET_PING: Duration = Duration::from_secs(15);
/// Silence after which a WebSocket's client is gone: three pings without a pong.
pub const SOCKET_SILENCE: Duration = Duration::from_secs(45);
/// Time in which a WebSocket's client must take something of what is sent to it.
pub const SOCKET_STALL: Duration = Duration::from_secs(60);
/// Longest time that a WebSocket's end is read on after its last words, so that a client
/// that is sending still hears them.
pub const SOCKET_LINGER: Duration = Duration::from_secs(2);

/// API keys. Each is held in memory, and a person manages them.
pub const MAX_KEYS: usize = 1_000;
/// Projects of one API key.
pub const MAX_KEY_PROJECTS: usize = 64;
/// Characters of an API key's name and of a token's subject.
pub const MAX_NAME_CHARACTERS: usize = 64;
/// Containers that one token names, as many as a project may have.
pub const MAX_TOKEN_CONTAINERS: usize = 16;
/// Life of an access token where nobody says how long.
pub const DEFAULT_TOKEN_SECONDS: u64 = 900;
/// Longest life of an access token: what needs more is a person's, and has a key.
pub const MAX_TOKEN_SECONDS: u64 = 30 * 24 * 3_600;
/// Access tokens of one project: one for each of many AI agents.
pub const MAX_PROJECT_TOKENS: usize = 200;
/// Access tokens. In a cluster all of them are in one Secret, which has room for 1 MiB.
pub const MAX_TOKENS: usize = 1_000;
/// Bytes of a stored access token, so that all of them fit.
pub const MAX_TOKEN_ROW_BYTES: usize = 1_000;
/// Time between two looks at whether the credentials of a call that lasts still stand.
pub const CREDENTIALS_LOOK: Duration = Duration::from_secs(2);
/// Bytes of a call that are looked at for what it is about.
pub const AUDIT_PEEK_BYTES: usize = 16 * 1024;
/// Characters of what a call is about in its audit record.
pub const MAX_AUDIT_TARGET_CHARACTERS: usize = 1_000;
/// Characters of a caller's own id of a call.
pub const MAX_REQUEST_ID_CHARACTERS: usize = 128;
/// Bytes of a file of audit records, which is renamed then.
pub const MAX_AUDIT_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Files of audit records that are kept beside the one that is written.
pub const AUDIT_ROTATED_FILES: usize = 4;
/// Audit records that wait for the reader of the standard output.
pub const AUDIT_QUEUE: usize = 4_096;
/// Life of a capability that the server makes for a caller's calls.
pub const CALL_TOKEN_SECONDS: u64 = 300;
/// Rest of its life at which another one is made: longer than clocks differ and calls take to begin.
pub const CALL_TOKEN_REST_SECONDS: u64 = 60;
/// Capabilities kept for further calls.
pub const MAX_CALL_TOKENS: usize = 4_096;

/// Connections to the bucket; each may hold a few descriptors of files.
pub const MAX_BUCKET_CONNECTIONS: usize = 512;
/// Objects that are sent to the bucket in parts at once: those of as many projects.
pub const MAX_BUCKET_UPLOADS: usize = 64;
/// Parts of one of them (Amazon S3, "Multipart upload limits").
pub const MAX_BUCKET_PARTS: i32 = 10_000;
/// Time without a part after which nobody goes on with one.
pub const BUCKET_UPLOAD_IDLE: Duration = Duration::from_secs(3_600);
/// Bytes read from an object at once.
pub const BUCKET_READ_BYTES: usize = 64 * 1024;
/// Objects of one page of a listing (Amazon S3, ListObjectsV2).
pub const MAX_LISTED_OBJECTS: usize = 1_000;

/// Longest domain for ports, in bytes: a name in DNS has 253 (RFC 1035), of which a label and its dot take 64.
pub const MAX_ROUTE_DOMAIN_BYTES: usize = 189;
/// Origins of pages that read or embed what ports show, of each kind: they go with every answer.
pub const MAX_ROUTE_ORIGINS: usize = 16;
/// Longest URL of the settings of routes, in bytes: it stands in an annotation of each.
pub const MAX_ROUTE_URL_BYTES: usize = 1_024;
/// Most requests of one address in a second: more is no bound.
pub const MAX_ROUTE_RATE: u32 = 100_000;
/// Largest bound on the body of a request, in bytes: more is no bound.
pub const MAX_ROUTE_BODY_BYTES: u64 = 1 << 40;
/// Longest silence of a connection to a port, in seconds: a WebSocket that says nothing for a day is nobody's.
pub const MAX_ROUTE_TIMEOUT_SECONDS: u32 = 24 * 3_600;
/// The same where nobody says it, in seconds: hot reloading says nothing while nobody types.
pub const DEFAULT_ROUTE_TIMEOUT_SECONDS: u32 = 3_600;
/// Life of a link that opens a port in a browser, in seconds: it is followed at once.
pub const PORT_LINK_SECONDS: u64 = 60;
/// Life of a browser's session with one port, in seconds: a day's work.
pub const PORT_SESSION_SECONDS: u64 = 12 * 3_600;
/// Longest path that a link leads to, in bytes.
pub const MAX_LINK_PATH_BYTES: usize = 2_048;
/// Bytes of a session that are looked at: it names a host and who it is for.
pub const MAX_PORT_SESSION_BYTES: usize = 2_048;

/// Time from the start of a server until it looks for what belongs to no project: ends
/// that were cut have gone on by then.
pub const ORPHANS_FIRST: Duration = Duration::from_secs(60);

/// Time between two such looks: each lists what Remora has in the cluster once.
pub const ORPHANS_INTERVAL: Duration = Duration::from_secs(600);
