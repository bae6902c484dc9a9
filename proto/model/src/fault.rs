//! [`Fault`]: one error, whole, on its way to a caller.

use std::{borrow::Cow, fmt, time::Duration};

use crate::Reason;

/// Whether the call that failed changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing was changed.
    NotApplied,
    /// Unknown. Legal only where an idempotency key can resolve it.
    MayHaveApplied,
    /// The change was made; what failed came after it.
    Applied,
}

impl Effect {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Effect::NotApplied => "NOT_APPLIED",
            Effect::MayHaveApplied => "MAY_HAVE_APPLIED",
            Effect::Applied => "APPLIED",
        }
    }

    /// Reads the word on the wire; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NOT_APPLIED" => Some(Effect::NotApplied),
            "MAY_HAVE_APPLIED" => Some(Effect::MayHaveApplied),
            "APPLIED" => Some(Effect::Applied),
            _ => None,
        }
    }
}

/// An error as a caller meets it on every surface: what was wrong, whether it
/// took effect, whether to try again, and what to do next.
///
/// Engines have errors of their own with a `reason()`; they become a `Fault`
/// at the edge. The text is the same on gRPC, REST and the CLI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stable word.
    pub reason: Reason,
    /// What was wrong, in a sentence without a final stop, naming the thing.
    pub message: Cow<'static, str>,
    /// What exists instead or what to do next. May be empty.
    pub hint: Cow<'static, str>,
    /// Whether the call changed anything.
    pub effect: Effect,
    /// The system error behind it, as in errno(3).
    pub errno: Option<i32>,
    /// The step of a longer operation that failed, for example `upload`.
    pub stage: Option<Cow<'static, str>>,
    /// How long to wait before the same call can succeed.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault that changed nothing and has no hint yet.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Fault {
            reason,
            message: message.into(),
            hint: Cow::Borrowed(""),
            effect: Effect::NotApplied,
            errno: None,
            stage: None,
            retry_after: None,
        }
    }

    /// Shorthand for the most frequent one: the field `field` is wrong in the way `problem` says.
    pub fn invalid(field: &str, problem: impl fmt::Display) -> Self {
        Fault::new(Reason::InvalidArgument, format!("{field}: {problem}"))
    }

    /// Says what exists instead or what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Says whether anything was changed.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Names the system error behind it.
    #[must_use]
    pub fn errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// Names the step that failed.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<Cow<'static, str>>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether the same call, unchanged, can succeed later.
    pub fn retryable(&self) -> bool {
        self.reason.retryable()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// The reason that a system error (errno(3), Linux numbers) stands for when a
/// file operation meets it. What no row foresees is [`Reason::IoError`], never
/// `INTERNAL`: the system said no, Remora is not at fault.
pub fn errno_reason(errno: i32) -> Reason {
    match errno {
        1 | 13 => Reason::AccessDenied,   // EPERM, EACCES
        2 => Reason::NotFound,            // ENOENT
        17 => Reason::AlreadyExists,      // EEXIST
        18 => Reason::FailedPrecondition, // EXDEV: two file systems; what a resolver means by it never gets here
        20 => Reason::NotADirectory,      // ENOTDIR
        21 => Reason::IsADirectory,       // EISDIR
        22 => Reason::InvalidArgument,    // EINVAL
        23 | 24 => Reason::LimitReached,  // ENFILE, EMFILE
        26 => Reason::FailedPrecondition, // ETXTBSY
        27 => Reason::TooLarge,           // EFBIG
        28 | 122 => Reason::NoSpace,      // ENOSPC, EDQUOT
        30 => Reason::ReadOnlyFileSystem, // EROFS
        36 => Reason::PathInvalid,        // ENAMETOOLONG
        39 => Reason::DirectoryNotEmpty,  // ENOTEMPTY
        40 => Reason::SymlinkLoop,        // ELOOP
        95 => Reason::ContentUnsupported, // EOPNOTSUPP
        6 => Reason::NotARegularFile,     // ENXIO: a FIFO or socket opened without a peer
        _ => Reason::IoError,
    }
}
