//! A project of one case.

use std::path::Path;

use serde_json::Value;

use crate::{
    cli::{Cli, Ran},
    cluster,
    patience::{eventually, seen},
    target::Target,
};

/// See the module.
pub(crate) struct Project {
    pub(crate) target: Target,
    pub(crate) cli: Cli,
    pub(crate) name: String,
}

impl Project {
    /// None yet, with a name that no other has.
    pub(crate) fn named(target: &Target, word: &str) -> Project {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let cli = Cli::new(&target.server, &target.key);
        Project { target: target.clone(), cli, name: format!("it-{word}-{}", &id[..8]) }
    }

    /// One with an empty workspace that runs `command`.
    pub(crate) async fn empty(target: &Target, word: &str, command: &str) -> Project {
        let project = Project::named(target, word);
        project.up(None, command, &[]).await.ok();
        project
    }

    /// Brings it up from the folder `source`, or empty.
    pub(crate) async fn up(&self, source: Option<&Path>, command: &str, more: &[&str]) -> Ran {
        let mut args = vec!["up", "--name", &self.name, "--cmd", command];
        match source {
            Some(folder) => args.push(folder.to_str().expect("the case's folders are text")),
            None => args.push("--empty"),
        }
        if let Some(image) = &self.target.image
            && !more.contains(&"--image")
        {
            args.extend(["--image", image]);
        }
        args.extend(more);
        self.cli.run(&args).await
    }

    /// Runs `remora VERB NAME ARGS`.
    pub(crate) async fn verb(&self, verb: &str, args: &[&str]) -> Ran {
        self.cli.run(&[&[verb, &self.name], args].concat()).await
    }

    /// What a line of shell prints in its container.
    pub(crate) async fn shell(&self, line: &str) -> String {
        self.verb("exec", &["--", "sh", "-c", line]).await.ok()
    }

    /// Waits until a line of shell prints `wanted`.
    pub(crate) async fn prints(&self, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let wanted = &wanted;
        eventually(|| async move {
            let printed = self.shell(line).await;
            if wanted(&printed) { Ok(printed) } else { Err(format!("`{line}` prints {printed:?}")) }
        })
        .await
    }

    /// What the server says of it.
    pub(crate) async fn status(&self) -> Value {
        let told = self.verb("status", &["-o", "json"]).await.ok();
        serde_json::from_str(&told).expect("the status is JSON")
    }

    pub(crate) async fn generation(&self) -> u64 {
        self.status().await["status"]["generation"].as_u64().expect("a generation is a number")
    }

    /// Its namespace on a cluster, by the id that nobody chooses.
    pub(crate) async fn namespace(&self) -> String {
        let status = self.status().await;
        format!("proj-{}", status["id"].as_str().expect("a project has an id"))
    }

    /// Its namespace as the server says it, which others may share, and its id.
    pub(crate) async fn place(&self) -> (String, String) {
        let status = self.status().await;
        let text = |value: &Value| value.as_str().expect("a project that runs has it").to_owned();
        (text(&status["status"]["namespace"]), text(&status["id"]))
    }

    /// Waits until the status is as `wanted`; says what it was where it does not become so.
    pub(crate) async fn becomes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = &wanted;
        eventually(|| async move {
            let status = self.status().await;
            if wanted(&status) { Ok(status) } else { Err(format!("{what} did not come: {status:#}")) }
        })
        .await
    }

    /// The whole tree: types, modes, sizes, times to the nanosecond, links and contents.
    pub(crate) async fn tree(&self) -> String {
        let names = "find . -printf '%P %y %#m %s %T@ %l\\n' | LC_ALL=C sort";
        let contents = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum";
        self.shell(&format!("{names} && {contents}")).await
    }

    /// Removes one whose pod has never run, and waits until it is gone by itself: the
    /// command line's own wait ends with the pod's trouble.
    pub(crate) async fn give_up(self) {
        let namespace = self.namespace().await;
        self.verb("rm", &["--yes", "--no-wait"]).await.ok();
        self.is_gone(&namespace).await;
    }

    /// Waits until neither it nor its namespace is there.
    pub(crate) async fn is_gone(&self, namespace: &str) {
        eventually(|| async {
            let there = cluster::has_namespace(namespace).await || self.verb("status", &[]).await.code == 0;
            seen(!there, || format!("{} is still there", self.name))
        })
        .await;
    }

    /// Removes it; nothing of it is left.
    pub(crate) async fn remove(self) {
        let namespace = match self.target.image {
            Some(_) => Some(self.namespace().await),
            None => None,
        };
        let removed = self.verb("rm", &["--yes"]).await.ok();
        assert!(removed.contains("deleted"), "{removed}");
        // A list of another replica follows a moment later.
        eventually(|| async {
            let listed = self.cli.run(&["ls", "-o", "name"]).await.ok();
            seen(!listed.lines().any(|line| line == self.name), || format!("it is listed still: {listed}"))
        })
        .await;
        if let Some(namespace) = namespace {
            let namespace = namespace.as_str();
            eventually(|| async move {
                seen(!cluster::has_namespace(namespace).await, || format!("namespace {namespace} is still there"))
            })
            .await;
        }
    }
}

/// Whether a condition of that type stands.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = status["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == true)
}

/// Whether any condition but Ready speaks of one of `words`.
pub(crate) fn told(status: &Value, words: &[&str]) -> bool {
    let conditions = status["status"]["conditions"].as_array().into_iter().flatten();
    let mut texts = conditions.map(|condition| format!("{} {}", condition["reason"], condition["message"]));
    texts.any(|text| words.iter().any(|word| text.contains(word)))
}

/// Whether it is in that phase.
pub(crate) fn phase(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["status"]["phase"] == wanted
}
