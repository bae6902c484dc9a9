//! The one table from what went wrong to how each surface says it: gRPC code,
//! HTTP status and CLI exit code. Nothing else in the tree maps errors.

use std::{fmt, str::FromStr};

/// gRPC status codes, numbered as in the gRPC specification
/// (<https://grpc.io/docs/guides/status-codes/>), so that this crate needs no tonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "the gRPC specification documents each code")]
pub enum GrpcCode {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $wire:literal, $grpc:ident, $http:literal, $exit:literal, $retry:literal;)*) => {
        /// What went wrong, as a stable word. The wire form (`ErrorInfo.reason`)
        /// is frozen: rows are added, never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in table order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The word on the wire, for example `PATH_ESCAPES_ROOT`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $wire,)* }
            }
            /// The gRPC code this reason travels as.
            pub const fn grpc(self) -> GrpcCode {
                match self { $(Reason::$variant => GrpcCode::$grpc,)* }
            }
            /// The HTTP status this reason travels as.
            pub const fn http(self) -> u16 {
                match self { $(Reason::$variant => $http,)* }
            }
            /// The exit code of a CLI verb that ends with this reason
            /// (sysexits.h where it has a word for it; `exec` uses 125 instead).
            pub const fn exit_code(self) -> u8 {
                match self { $(Reason::$variant => $exit,)* }
            }
            /// Whether the same call, unchanged, can succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Reason::$variant => $retry,)* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($wire => Ok(Reason::$variant),)* _ => Err(UnknownReason) }
            }
        }
    };
}

/// The text names no reason of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason that this version knows")]
pub struct UnknownReason;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

reasons! {
    // reason                       wire word                   gRPC               HTTP exit retry
    /// A field is missing or malformed.
    InvalidArgument               = "INVALID_ARGUMENT",           InvalidArgument,    400, 64, false;
    /// The named thing does not exist.
    NotFound                      = "NOT_FOUND",                  NotFound,           404, 66, false;
    /// The named thing exists already.
    AlreadyExists                 = "ALREADY_EXISTS",             AlreadyExists,      409, 73, false;
    /// The thing is in a state in which this call makes no sense.
    FailedPrecondition            = "FAILED_PRECONDITION",        FailedPrecondition, 409, 69, false;
    /// Somebody else changed it meanwhile; read it again and repeat.
    Conflict                      = "CONFLICT",                   Aborted,            409, 75, true;
    /// The caller went away or asked for it to stop.
    Cancelled                     = "CANCELLED",                  Cancelled,          499, 75, true;
    /// A time budget ran out.
    DeadlineExceeded              = "DEADLINE_EXCEEDED",          DeadlineExceeded,   504, 124, true;
    /// A bound of limits was reached.
    LimitReached                  = "LIMIT_REACHED",              ResourceExhausted,  429, 75, true;
    /// The request or its result is larger than the bound.
    TooLarge                      = "TOO_LARGE",                  InvalidArgument,    413, 65, false;
    /// An offset or range lies outside what exists.
    OutOfRange                    = "OUT_OF_RANGE",               OutOfRange,         416, 65, false;
    /// This version has no such behaviour.
    Unimplemented                 = "UNIMPLEMENTED",              Unimplemented,      501, 70, false;
    /// A defect of Remora itself.
    Internal                      = "INTERNAL",                   Internal,           500, 70, false;
    /// The service is starting, draining or gone.
    Unavailable                   = "UNAVAILABLE",                Unavailable,        503, 69, true;
    /// The peer broke the protocol.
    ProtocolViolation             = "PROTOCOL_VIOLATION",         Internal,           502, 76, false;

    // Authentication and authorisation
    /// No credentials were presented.
    CredentialsMissing            = "CREDENTIALS_MISSING",        Unauthenticated,    401, 77, false;
    /// The credentials do not verify.
    CredentialsInvalid            = "CREDENTIALS_INVALID",        Unauthenticated,    401, 77, false;
    /// The credentials verified once and are past their time.
    CredentialsExpired            = "CREDENTIALS_EXPIRED",        Unauthenticated,    401, 77, false;
    /// The credentials are for another project.
    ProjectMismatch               = "PROJECT_MISMATCH",           PermissionDenied,   403, 77, false;
    /// The credentials are for another generation of the project.
    GenerationMismatch            = "GENERATION_MISMATCH",        PermissionDenied,   403, 77, false;
    /// The credentials do not carry the verb of this call.
    VerbNotGranted                = "VERB_NOT_GRANTED",           PermissionDenied,   403, 77, false;
    /// The path lies outside the prefix of the credentials.
    PathNotGranted                = "PATH_NOT_GRANTED",           PermissionDenied,   403, 77, false;
    /// The container is not among those of the credentials.
    ContainerNotGranted           = "CONTAINER_NOT_GRANTED",      PermissionDenied,   403, 77, false;
    /// The caller's role in the project does not allow it.
    RoleNotGranted                = "ROLE_NOT_GRANTED",           PermissionDenied,   403, 77, false;
    /// A page of this origin may not open a WebSocket here.
    OriginNotAllowed              = "ORIGIN_NOT_ALLOWED",         PermissionDenied,   403, 77, false;

    // Files
    /// The path is not one a client may name (empty, absolute, NUL, too long).
    PathInvalid                   = "PATH_INVALID",               InvalidArgument,    400, 64, false;
    /// Following the path would leave the root.
    PathEscapesRoot               = "PATH_ESCAPES_ROOT",          PermissionDenied,   403, 77, false;
    /// Too many levels of symbolic links.
    SymlinkLoop                   = "SYMLINK_LOOP",               FailedPrecondition, 409, 65, false;
    /// A component that must be a directory is none.
    NotADirectory                 = "NOT_A_DIRECTORY",            FailedPrecondition, 409, 65, false;
    /// A file was wanted and a directory is there.
    IsADirectory                  = "IS_A_DIRECTORY",             FailedPrecondition, 409, 65, false;
    /// A FIFO, socket or device where a regular file was wanted.
    NotARegularFile               = "NOT_A_REGULAR_FILE",         FailedPrecondition, 409, 65, false;
    /// The directory has entries.
    DirectoryNotEmpty             = "DIRECTORY_NOT_EMPTY",        FailedPrecondition, 409, 73, false;
    /// The file system's own permissions forbid it.
    AccessDenied                  = "ACCESS_DENIED",              PermissionDenied,   403, 77, false;
    /// The file system is mounted read-only.
    ReadOnlyFileSystem            = "READ_ONLY_FILE_SYSTEM",      FailedPrecondition, 409, 73, false;
    /// No space, no inodes or no quota left.
    NoSpace                       = "NO_SPACE",                   ResourceExhausted,  507, 73, true;
    /// The device or file system reported an error.
    IoError                       = "IO_ERROR",                   Unavailable,        503, 74, false;
    /// The file is not the version the caller read.
    EtagMismatch                  = "ETAG_MISMATCH",              Aborted,            412, 75, false;
    /// The text to replace is not in the file.
    EditNoMatch                   = "EDIT_NO_MATCH",              FailedPrecondition, 409, 65, false;
    /// The text to replace is there another number of times than expected.
    EditCountMismatch             = "EDIT_COUNT_MISMATCH",        FailedPrecondition, 409, 65, false;
    /// A glob or regular expression does not compile.
    PatternInvalid                = "PATTERN_INVALID",            InvalidArgument,    400, 64, false;
    /// An archive is malformed or would write outside its target.
    ArchiveInvalid                = "ARCHIVE_INVALID",            InvalidArgument,    400, 65, false;
    /// The content is not what the operation needs (for example binary).
    ContentUnsupported            = "CONTENT_UNSUPPORTED",        FailedPrecondition, 409, 65, false;

    // Terminals and commands
    /// An idempotency key was used before with another request.
    IdempotencyKeyReused          = "IDEMPOTENCY_KEY_REUSED",     AlreadyExists,      409, 65, false;
    /// Another client writes to this terminal.
    WriterTaken                   = "WRITER_TAKEN",               FailedPrecondition, 409, 75, true;
    /// The program does not exist.
    ProgramNotFound               = "PROGRAM_NOT_FOUND",          NotFound,           404, 127, false;
    /// The program may not be executed.
    ProgramNotPermitted           = "PROGRAM_NOT_PERMITTED",      PermissionDenied,   403, 126, false;
    /// The program is no executable, or its interpreter is missing.
    ProgramNotExecutable          = "PROGRAM_NOT_EXECUTABLE",     FailedPrecondition, 409, 126, false;
    /// The working directory does not exist or is no directory.
    WorkingDirectoryInvalid       = "WORKING_DIRECTORY_INVALID",  FailedPrecondition, 409, 125, false;
    /// The system has no room for another process or terminal.
    ProcessLimitReached           = "PROCESS_LIMIT_REACHED",      ResourceExhausted,  429, 75, true;
    /// The session has ended.
    SessionEnded                  = "SESSION_ENDED",              FailedPrecondition, 409, 65, false;
    /// The container's shim does not answer.
    ContainerUnavailable          = "CONTAINER_UNAVAILABLE",      Unavailable,        503, 69, true;

    // Snapshots
    /// A newer generation owns the lineage; this writer stops for good.
    LineageFenced                 = "LINEAGE_FENCED",             FailedPrecondition, 412, 75, false;
    /// The object store does not answer or answers with server errors.
    StoreUnavailable              = "STORE_UNAVAILABLE",          Unavailable,        503, 69, true;
    /// The object store refuses the credentials or the action.
    StoreDenied                   = "STORE_DENIED",               FailedPrecondition, 502, 77, false;
    /// The bucket does not exist.
    BucketMissing                 = "BUCKET_MISSING",             FailedPrecondition, 502, 78, false;
    /// The object store lets several conditional writers win.
    StoreUnsafe                   = "STORE_UNSAFE",               FailedPrecondition, 502, 78, false;
    /// An object is missing or does not verify.
    SnapshotDamaged               = "SNAPSHOT_DAMAGED",           DataLoss,           500, 65, false;
    /// The stored format is newer than this version reads.
    FormatUnsupported             = "FORMAT_UNSUPPORTED",         FailedPrecondition, 409, 65, false;
    /// The snapshot is encrypted with a key that was not supplied.
    KeyMissing                    = "KEY_MISSING",                FailedPrecondition, 409, 78, false;
    /// The key that was supplied does not open the lineage.
    KeyWrong                      = "KEY_WRONG",                  FailedPrecondition, 409, 78, false;
    /// Another snapshot operation of this agent runs.
    OperationInProgress           = "OPERATION_IN_PROGRESS",      Aborted,            409, 75, true;

    // Projects
    /// The project has no ready pod to call.
    ProjectNotReady               = "PROJECT_NOT_READY",          Unavailable,        503, 69, true;
    /// A container's own command has ended, and nothing but a new start starts it again.
    CommandEnded                  = "COMMAND_ENDED",              FailedPrecondition, 409, 69, false;
    /// A container gave up waiting for another one that it depends on.
    DependencyNotReady            = "DEPENDENCY_NOT_READY",       FailedPrecondition, 409, 69, false;
    /// Another project that runs has the port.
    PortInUse                     = "PORT_IN_USE",                FailedPrecondition, 409, 73, false;
    /// Hibernation cannot proceed because the snapshot did not commit.
    HibernateBlocked              = "HIBERNATE_BLOCKED",          Unavailable,        503, 69, true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_word_parses_back_and_is_unique() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert!(seen.insert(reason.as_str()), "{reason} twice");
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        }
    }

    #[test]
    fn http_and_exit_codes_say_failure() {
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.http()), "{reason}");
            assert_ne!(reason.exit_code(), 0, "{reason}");
        }
    }
}
