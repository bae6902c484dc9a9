//! How an operation tells how far it is.

/// What an operation is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The workspace is being read through, without contents.
    #[default]
    Scan,
    /// Contents are read, cut, compressed and sent.
    Upload,
    /// The root is being written.
    Commit,
    /// Manifests are read and compared.
    Plan,
    /// Contents are fetched, verified and written.
    Fetch,
    /// Modes and times are set, what is too many is removed, all is synced.
    Finish,
}

/// How far it is. Numbers never go back within one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What it is doing.
    pub stage: Stage,
    /// Files done.
    pub files_done: u64,
    /// Files in all; 0 where that is not known.
    pub files_total: u64,
    /// Bytes of content done.
    pub bytes_done: u64,
    /// Bytes in all; 0 where that is not known.
    pub bytes_total: u64,
}

/// Takes what an operation reports, often and from any thread: it must be quick,
/// and thins out by itself.
pub trait Progress: Send + Sync {
    /// The operation is this far.
    fn report(&self, counts: Counts);
}

impl<F: Fn(Counts) + Send + Sync> Progress for F {
    fn report(&self, counts: Counts) {
        self(counts);
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _counts: Counts) {}
}
