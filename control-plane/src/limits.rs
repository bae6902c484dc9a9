//! The bounds of the server, each with its unit and its reason.

use std::time::Duration;

/// Connections that stand at once: people, their tools and a few dozen AI agents.
pub const MAX_CONNECTIONS: usize = 512;
/// Connections that have not said what they speak. When another arrives the
/// oldest is dropped, so that silent ones cannot keep a real client out.
pub const MAX_HANDSHAKES: usize = 256;
/// Time for the TLS handshake and the first bytes that tell HTTP/2 from HTTP/1.1.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the headers of an HTTP/1.1 request, and for the next request to begin.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams of one connection.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Calls in flight over all connections.
pub const MAX_CALLS: usize = 2_048;
/// Calls in flight to one project. An agent takes 256 streams on a connection;
/// the rest is for the control plane's own.
pub const MAX_CALLS_PER_PROJECT: usize = 200;
/// Bytes of one gRPC message, both ways. The contract's own bound is 1 MiB; the rest is slack for new fields.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the headers of one request.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Header fields of one HTTP/1.1 request.
pub const MAX_HEADERS: usize = 64;
/// Bytes of one stream on their way to us that nobody has read yet.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for a whole connection: every stream's window, so that one reader
/// that stands still takes nothing from the others.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * MAX_STREAMS_PER_CONNECTION;
/// Bytes of one stream that wait for a slow reader before its call is held back.
pub const MAX_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Silence after which a connection is asked whether it lives, and time for the answer.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// Streams that a client reset before they were accepted; more close the connection (CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 64;
/// Streams of one connection that end with an error of the protocol before the
/// connection is closed. HTTP/2 libraries count over the life of the connection,
/// and a client's frame that crosses with our reset is enough to count: a bound
/// for a day would end the terminals of a connection that stands for months.
pub const MAX_ERROR_RESETS: usize = 65_536;
/// Bytes of a request body that are read and thrown away after its call was answered.
pub const LINGER_BYTES: usize = 1024 * 1024;
/// Time for that: a round trip, and a client that is slow to hear.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// Pause after accept(2) failed for want of descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
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

/// API keys. Each is held in memory, and a person manages them.
pub const MAX_KEYS: usize = 1_000;
/// Projects of one API key.
pub const MAX_KEY_PROJECTS: usize = 64;
/// Characters of an API key's name and of a token's subject.
pub const MAX_NAME_CHARACTERS: usize = 64;
/// Containers that one token names, as many as a project may have.
pub const MAX_TOKEN_CONTAINERS: usize = 16;
/// Life of a capability that the server makes for a caller's calls.
pub const CALL_TOKEN_SECONDS: u64 = 300;
/// Rest of its life at which another one is made: longer than clocks differ and calls take to begin.
pub const CALL_TOKEN_REST_SECONDS: u64 = 60;
/// Capabilities kept for further calls.
pub const MAX_CALL_TOKENS: usize = 4_096;

/// Connections to the bucket; each may hold a few descriptors of files.
pub const MAX_BUCKET_CONNECTIONS: usize = 512;
/// Bytes read from an object at once.
pub const BUCKET_READ_BYTES: usize = 64 * 1024;
/// Objects of one page of a listing (Amazon S3, ListObjectsV2).
pub const MAX_LISTED_OBJECTS: usize = 1_000;
