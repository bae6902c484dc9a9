//! The bounds of a port, whoever serves on it, each with its unit and its reason.

use std::time::Duration;

/// Connections that have not said who they are and what they speak. When another
/// arrives the oldest is dropped, so that silent ones cannot keep a real client out.
pub const MAX_HANDSHAKES: usize = 256;
/// Pause after accept(2) failed for want of descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Streams of one HTTP/2 connection.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Bytes of the headers of one request.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of one HTTP/2 frame that is taken: one of a command's or a terminal's messages with room for its
/// head. Frames are written one by one, so at the default of 16 KiB each costs four system calls.
pub const HTTP2_FRAME_BYTES: u32 = 128 * 1024;
/// Bytes that are read at once from a connection with TLS, whose library asks for 4 KiB a call.
pub const TLS_READ_BYTES: usize = 64 * 1024;
/// Bytes of one stream on their way to us that nobody has read yet.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for a whole connection: every stream's window, so that one reader
/// that stands still takes nothing from the other calls.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * MAX_STREAMS_PER_CONNECTION;
/// Silence after which a connection is asked whether it lives, and time for the answer.
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes of one stream that wait for a slow reader before its call is held back: one message of output
/// with its head. What else is on its way waits in the window of what it comes from.
pub const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;
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
