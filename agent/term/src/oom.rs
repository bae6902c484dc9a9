//! Whether the kernel killed for want of memory: the counter of the memory group
//! that this process, and so all of its children, is in. See cgroups(7),
//! memory.events of version 2 and memory.oom_control of version 1.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a counted kill explains a death: the kernel counts it when it sends
/// SIGKILL, and a large process takes seconds to be gone.
const FRESH: Duration = Duration::from_secs(5);

/// Where the counter is, and which kills it counted that no death here explains yet.
#[derive(Debug)]
pub(crate) struct OutOfMemory {
    file: Option<PathBuf>,
    evidence: Evidence,
}

impl OutOfMemory {
    /// Looks for the counter; where there is none no death is ever said to be for want of memory.
    pub(crate) fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let found = candidates(&groups).into_iter().find_map(|file| count(&file).map(|count| (file, count)));
        let (file, count) = found.map_or((None, 0), |(file, count)| (Some(file), count));
        OutOfMemory { file, evidence: Evidence { seen: count, unexplained: 0, rose: None } }
    }

    /// Reads the counter.
    pub(crate) fn look(&mut self) {
        if let Some(count) = self.file.as_deref().and_then(count) {
            self.evidence.counted(count, Instant::now());
        }
    }

    /// Whether a death by SIGKILL that is collected now was one of the kernel's kills.
    pub(crate) fn explains(&mut self) -> bool {
        self.evidence.explains(Instant::now())
    }
}

/// What the counter says about deaths: each kill explains one, and only for a
/// while, since most kills hit processes that are not ours to collect.
#[derive(Debug)]
struct Evidence {
    seen: u64,
    unexplained: u64,
    rose: Option<Instant>,
}

impl Evidence {
    fn counted(&mut self, count: u64, now: Instant) {
        self.expire(now);
        if count > self.seen {
            self.unexplained += count - self.seen;
            self.rose = Some(now);
        }
        self.seen = count;
    }

    fn explains(&mut self, now: Instant) -> bool {
        self.expire(now);
        let explains = self.unexplained > 0;
        self.unexplained = self.unexplained.saturating_sub(1);
        explains
    }

    fn expire(&mut self, now: Instant) {
        if self.rose.is_some_and(|rose| now.duration_since(rose) > FRESH) {
            self.unexplained = 0;
            self.rose = None;
        }
    }
}

/// Where the counter may be: version 1 has the second name, version 2 the first.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let names = |folder: PathBuf| [folder.join("memory.events"), folder.join("memory.oom_control")];
    folders(groups).into_iter().flat_map(names).collect()
}

/// The folders of the memory groups in `groups`, the text of /proc/self/cgroup. Inside
/// a container the group's own folder is mostly mounted at the top.
pub(crate) fn folders(groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mount = match controllers {
            "" => "/sys/fs/cgroup",
            _ if controllers.split(',').any(|one| one == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        folders.extend([path.trim_start_matches('/'), ""].map(|folder| PathBuf::from(mount).join(folder)));
    }
    folders
}

fn count(file: &Path) -> Option<u64> {
    parse(&fs::read_to_string(file).ok()?)
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a057_each_counted_kill_explains_one_death_for_a_while() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut evidence = Evidence { seen: 7, unexplained: 0, rose: None };
        evidence.counted(7, start);
        assert!(!evidence.explains(start), "what was counted before we looked explains nothing");
        evidence.counted(9, after(1));
        evidence.counted(9, after(2));
        assert!(evidence.explains(after(3)) && evidence.explains(after(3)), "two kills, two deaths");
        assert!(!evidence.explains(after(3)), "the third was somebody else's SIGKILL");
        evidence.counted(10, after(4));
        assert!(!evidence.explains(after(10)), "that kill hit a process that is not ours");
        evidence.counted(11, after(11));
        evidence.counted(3, after(12));
        assert!(evidence.explains(after(12)), "a counter that fell (another group) takes nothing back");
        assert!(!evidence.explains(after(12)));
    }

    #[test]
    fn both_versions_of_the_counter_are_read() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None, "before Linux 4.13");
        let text = "4:cpu,memory:/a/b\n1:name=systemd:/x\n0::/c\n";
        let top = Path::new("/sys/fs/cgroup");
        assert_eq!(folders(text), ["memory/a/b", "memory/", "c", ""].map(|folder| top.join(folder)));
        let files = candidates(text);
        assert!(
            files.contains(&top.join("memory/a/b/memory.oom_control")) && files.contains(&top.join("c/memory.events"))
        );
    }
}
