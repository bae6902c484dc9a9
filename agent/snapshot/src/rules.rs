//! [`Rules`]: what of a workspace is kept, what is restored last, and what is left out.

use std::{
    collections::BTreeMap,
    io::Read as _,
    os::{fd::AsFd, unix::fs::FileExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use remora_agent_root::{EntryKind, RelPath, Root};
use rustix::fs::{Mode, OFlags, openat};

use crate::{
    KeepOut, SnapshotError,
    format::RuleReport,
    limits::{MAX_RULE_BYTES, MAX_RULE_REPORTS, MAX_RULES_FILE_BYTES},
};

/// The workspace's own list of what is left out, written as a `.gitignore`.
pub const RULES_FILE: &str = ".remoraignore";

/// Names of directories whose content can be made again.
const DERIVED: [&[u8]; 4] = [b"node_modules", b"target", b".next", b".venv"];
/// What a program puts into a directory whose content it can make again, and how that
/// file begins (<https://bford.info/cachedir/>).
const TAG: &str = "CACHEDIR.TAG";
const TAG_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// What every write of ours that is under way is called.
const HIDDEN: &[u8] = b".remora-tmp-";
/// The folder that ext4 keeps for itself at the top of a volume.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Why an entry is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// A socket or a device has no content that could come back.
    Kind(EntryKind),
    /// What Remora or the file system itself put there.
    Internal,
    /// A pattern, with the place where it stands.
    Pattern(String),
}

/// See the module. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Rules {
    matcher: Arc<Gitignore>,
}

impl Rules {
    /// The rules of the workspace at `root`: its `.remoraignore`, then `excluded`,
    /// whose word counts more. `.gitignore` has none: it hides `.env` and
    /// `node_modules`, which must survive.
    pub fn load(root: &Root, excluded: &[String]) -> Result<Self, SnapshotError> {
        let mut builder = GitignoreBuilder::new("");
        let mut add = |place: String, line: &str| {
            if line.len() > MAX_RULE_BYTES {
                return Err(SnapshotError::Rule { place, problem: "it is longer than 1024 bytes".to_owned() });
            }
            builder
                .add_line(Some(Path::new(&place).to_owned()), line)
                .map(drop)
                .map_err(|error| SnapshotError::Rule { place, problem: error.to_string() })
        };
        for (number, line) in read_rules(root)?.lines().enumerate() {
            add(format!("{RULES_FILE}:{}", number + 1), line)?;
        }
        for line in excluded {
            add("--exclude".to_owned(), line)?;
        }
        let matcher = builder
            .build()
            .map_err(|error| SnapshotError::Rule { place: RULES_FILE.to_owned(), problem: error.to_string() })?;
        Ok(Rules { matcher: Arc::new(matcher) })
    }

    /// Why the entry at `path` is left out; `None` where it is kept. Nobody asks
    /// about what lies below something that is left out.
    pub(crate) fn dropped(&self, path: &[u8], kind: EntryKind) -> Option<Dropped> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = crate::tree::split(path).1;
        if matches!(kind, EntryKind::Socket | EntryKind::CharDevice | EntryKind::BlockDevice) {
            return Some(Dropped::Kind(kind));
        }
        if name.starts_with(HIDDEN) || path == LOST_AND_FOUND {
            return Some(Dropped::Internal);
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        match self.matcher.matched(path, kind == EntryKind::Directory) {
            Match::Ignore(glob) => {
                let place = glob.from().map(|place| place.display().to_string()).unwrap_or_default();
                Some(Dropped::Pattern(format!("{place}: {}", glob.original())))
            }
            Match::None | Match::Whitelist(_) => None,
        }
    }

    /// What a restore neither looks at nor removes.
    pub fn keep_out(&self) -> KeepOut {
        let rules = self.clone();
        Arc::new(move |path, kind| rules.dropped(path, kind).is_some())
    }

    /// Whether the directory `path` holds what can be made again.
    pub(crate) fn is_derived(path: &[u8]) -> bool {
        DERIVED.contains(&crate::tree::split(path).1)
    }
}

/// Whether a program has tagged the directory as one whose content it can make again.
pub(crate) fn is_tagged(directory: impl AsFd) -> bool {
    // Whatever has that name: a link is not followed and a FIFO not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat(directory, TAG, flags, Mode::empty()).map(std::fs::File::from) else { return false };
    let mut begin = [0; TAG_SIGNATURE.len()];
    file.metadata().is_ok_and(|metadata| metadata.is_file())
        && file.read_exact_at(&mut begin, 0).is_ok()
        && begin == *TAG_SIGNATURE
}

fn read_rules(root: &Root) -> Result<String, SnapshotError> {
    let file = match root.open_read(&RelPath::new(RULES_FILE)?) {
        Ok(file) => std::fs::File::from(file),
        Err(error) if error.is_not_found() => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    let refused = |problem: String| SnapshotError::Rule { place: RULES_FILE.to_owned(), problem };
    let mut bytes = Vec::new();
    file.take(MAX_RULES_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > MAX_RULES_FILE_BYTES {
        return Err(refused(format!("it is longer than {MAX_RULES_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".to_owned()))
}

/// Counts what is left out, by rule.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, (u64, Vec<u8>)>>);

impl Tally {
    pub(crate) fn add(&self, dropped: &Dropped, path: &[u8]) {
        let rule = match dropped {
            Dropped::Kind(kind) => format!("kind: {}", kind.as_str()),
            Dropped::Internal => "internal".to_owned(),
            Dropped::Pattern(rule) => rule.chars().take(MAX_RULE_BYTES / 4).collect(),
        };
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.entry(rule).or_insert_with(|| (0, path.to_vec())).0 += 1;
    }

    /// All of it, and how many entries that are.
    pub(crate) fn reports(&self) -> (Vec<RuleReport>, u64) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = counted.values().map(|(entries, _)| entries).sum();
        let report = |(rule, (entries, example)): (&String, &(u64, Vec<u8>))| RuleReport {
            rule: rule.clone(),
            entries: *entries,
            example: example.clone(),
        };
        (counted.iter().take(MAX_RULE_REPORTS).map(report).collect(), all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str, excluded: &[&str]) -> Result<Rules, SnapshotError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RULES_FILE), file).unwrap();
        std::fs::write(folder.path().join(".gitignore"), "*").unwrap();
        let excluded: Vec<String> = excluded.iter().map(|line| (*line).to_owned()).collect();
        Rules::load(&Root::open(folder.path()).unwrap(), &excluded)
    }

    #[test]
    fn patterns_read_as_in_a_gitignore() {
        let rules = rules("# comment\n*.log\n!keep.log\n/top\nbuild/\n**/cache/x\n", &["*.bak", "top"]).unwrap();
        let dropped = |path: &str, kind| rules.dropped(path.as_bytes(), kind).is_some();
        for path in ["a.log", "d/a.log", "top", "d/cache/x", "a.bak", "d/top", "d/.remora-tmp-1", "lost+found"] {
            assert!(dropped(path, EntryKind::File), "{path}");
        }
        for path in ["keep.log", "d/keep.log", "build", "d/cache", ".env", "d/lost+found", ".remoraignore"] {
            assert!(!dropped(path, EntryKind::File), "{path}");
        }
        assert!(dropped("d/build", EntryKind::Directory));
        assert!(dropped("s", EntryKind::Socket) && !dropped("p", EntryKind::Fifo));
        let Some(Dropped::Pattern(rule)) = rules.dropped(b"d/a.log", EntryKind::File) else { panic!() };
        assert_eq!(rule, ".remoraignore:2: *.log");
        assert!(Rules::is_derived(b"a/node_modules") && !Rules::is_derived(b"a/src"));
    }

    #[test]
    fn a_rule_that_is_none_is_named() {
        let error = rules("fine\n[z-a]\n", &[]).unwrap_err();
        assert!(error.to_string().starts_with(".remoraignore:2"), "{error}");
        assert!(rules("", &["[z-a]"]).is_err());
    }

    #[test]
    fn only_a_regular_file_with_the_signature_is_a_tag() {
        let folder = tempfile::tempdir().unwrap();
        let tagged = |content: &[u8]| {
            std::fs::write(folder.path().join(TAG), content).unwrap();
            is_tagged(Root::open(folder.path()).unwrap())
        };
        assert!(!is_tagged(Root::open(folder.path()).unwrap()));
        assert!(tagged(TAG_SIGNATURE));
        assert!(tagged(&[TAG_SIGNATURE, &b"\n# made by a compiler\n"[..]].concat()));
        for other in [&b""[..], &TAG_SIGNATURE[..42], b"signature: 8a477f597d28d172789f06886806bc55", b"\xff"] {
            assert!(!tagged(other), "{other:?}");
        }
        std::fs::rename(folder.path().join(TAG), folder.path().join("real")).unwrap();
        std::fs::write(folder.path().join("real"), TAG_SIGNATURE).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join(TAG)).unwrap();
        assert!(!is_tagged(Root::open(folder.path()).unwrap()));
        std::fs::remove_file(folder.path().join(TAG)).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        let at = folder.path().join(TAG);
        rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(!is_tagged(Root::open(folder.path()).unwrap()));
    }
}
