//! The example that both runtimes are shown: a real Vite and React front end with
//! its ten thousand files, from the npm registry.

use std::{fs, path::Path, process::Command, time::Instant};

use remora_tests::tree::{Tree, record};

/// Copies the example to `source` and installs what it depends on; what is there then.
pub(crate) fn install(source: &Path) -> Tree {
    copy_example(source);
    let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(source).output().unwrap();
    assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
    let brought = record(source).unwrap();
    assert!(brought.len() > 9_000, "a real project has about ten thousand entries, this has {}", brought.len());
    brought
}

/// Vite writes into its own cache each time it starts, before and after the
/// sleep alike; that and the time of the folder that holds it are not the snapshot's.
pub(crate) fn without_caches(tree: Tree) -> Tree {
    let is_cache = |path: &Path| {
        path == Path::new("node_modules")
            || path.starts_with("node_modules/.vite")
            || path.starts_with("node_modules/.vite-temp")
            || path.as_os_str().is_empty()
    };
    tree.into_iter().filter(|(path, _)| !is_cache(path)).collect()
}

fn copy_example(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/vite-react");
    let tracked = Command::new("git").args(["ls-files", "-z"]).current_dir(&from).output().unwrap();
    for name in String::from_utf8(tracked.stdout).unwrap().split_terminator('\0') {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
}

/// Prints what was done and how long it took.
pub(crate) struct Steps(Instant);

impl Default for Steps {
    fn default() -> Self {
        Steps(Instant::now())
    }
}

impl Steps {
    #[expect(clippy::print_stdout, reason = "the times are what a reader of the run wants to see")]
    pub(crate) fn done(&mut self, what: &str) {
        println!("{:>8.2} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}
