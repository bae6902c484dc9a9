//! Runs cases beside one another, each within its time, and tells how they ended.

use std::{
    any::Any,
    collections::HashMap,
    io::Write as _,
    panic,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use futures_util::stream::{self, StreamExt as _};
use tokio::{task, time::timeout};

use crate::{junit, patience::CASE_PATIENCE, target::Target};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thing that a server must do.
#[derive(Clone)]
pub struct Case {
    /// Its subject and what it says, as `subject::sentence`.
    pub name: &'static str,
    /// Whether only a cluster can be asked.
    pub cluster_only: bool,
    /// Whether it breaks what others need, and so runs when they are done.
    pub alone: bool,
    /// Whether it stops daemons of the cluster's host, which the suite cannot do by itself.
    pub needs_host: bool,
    /// Whether its projects have databases, whose image the cluster must be able to pull.
    pub needs_databases: bool,
    /// Whether it brings up the shop of examples/, which must be there with what it depends on.
    pub needs_shop: bool,
    /// Whether it comes in through the cluster's ingress controller, to which the server routes ports.
    pub needs_ingress: bool,
    /// Whether it asks what only the rig's full profile has.
    pub needs_full_profile: bool,
    run: Arc<dyn Fn(Target) -> Running + Send + Sync>,
}

impl Case {
    /// A case for every server.
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        run: impl Fn(Target) -> F + Send + Sync + 'static,
    ) -> Case {
        let run = Arc::new(move |target| -> Running { Box::pin(run(target)) });
        Case {
            name,
            cluster_only: false,
            alone: false,
            needs_host: false,
            needs_databases: false,
            needs_shop: false,
            needs_ingress: false,
            needs_full_profile: false,
            run,
        }
    }

    /// The same case, for servers on a cluster alone.
    #[must_use]
    pub fn on_cluster(self) -> Case {
        Case { cluster_only: true, ..self }
    }

    /// The same case, beside no other one.
    #[must_use]
    pub fn alone(self) -> Case {
        Case { alone: true, ..self }
    }

    /// The same case, on a cluster whose host stops and starts its daemons when asked to.
    #[must_use]
    pub fn on_host(self) -> Case {
        Case { needs_host: true, ..self.on_cluster().alone() }
    }

    /// The same case, on a cluster that can pull an image with databases.
    #[must_use]
    pub fn with_databases(self) -> Case {
        Case { needs_databases: true, ..self.on_cluster() }
    }

    /// The same case, where the shop of examples/ and its databases can be brought up.
    #[must_use]
    pub fn with_shop(self) -> Case {
        Case { needs_shop: true, ..self.with_databases() }
    }

    /// The same case, on a cluster where ports are reached through an ingress controller.
    #[must_use]
    pub fn through_ingress(self) -> Case {
        Case { needs_ingress: true, ..self.on_cluster() }
    }

    /// The same case, on a cluster as the rig's full profile is one (docs/rig.md).
    #[must_use]
    pub fn on_full_profile(self) -> Case {
        Case { needs_full_profile: true, ..self.on_cluster() }
    }

    /// Whether it runs on the rig's full profile and not on the minimal one, which has no ingress controller.
    pub fn is_of_full_profile(&self) -> bool {
        self.needs_full_profile || self.needs_ingress
    }

    /// Why it does not run on `target`, though it concerns it.
    fn skipped(&self, target: &Target) -> Option<&'static str> {
        if self.needs_host && !target.host_faults {
            return Some("nobody here stops daemons of the cluster's host (REMORA_HOST_FAULTS is not yes)");
        }
        if self.needs_shop && target.shop.is_none() {
            return Some("nobody says where the shop of examples/ is (REMORA_TEST_SHOP)");
        }
        if self.needs_ingress && target.ingress.is_none() {
            return Some("ports are not reached through an ingress controller here (REMORA_TEST_INGRESS)");
        }
        if self.needs_full_profile && !target.full_profile {
            return Some("the cluster is not as the rig's full profile (REMORA_FULL_PROFILE is not yes)");
        }
        (self.needs_databases && target.databases.is_none())
            .then_some("no image with databases is given (REMORA_TEST_DATABASES)")
    }
}

/// How a case ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<String>,
    /// Why it did not run.
    pub skipped: Option<&'static str>,
}

/// The cases that concern `target` and whose names have one of `words` in them. Where there
/// is no word, all of them; on a cluster as the full profile is one those that are of it, for
/// the others run on the minimal one.
pub fn selected(cases: Vec<Case>, target: &Target, words: &[String]) -> Vec<Case> {
    let wanted = |case: &Case| {
        let named = words.iter().any(|word| case.name.contains(word.as_str()));
        named || words.is_empty() && (case.is_of_full_profile() || !target.full_profile)
    };
    cases.into_iter().filter(|case| !case.cluster_only || target.image.is_some()).filter(wanted).collect()
}

/// Runs them, `jobs` at a time, and those that need it alone last; each is told as it ends.
pub async fn run(cases: Vec<Case>, target: &Target, jobs: usize) -> Vec<Outcome> {
    note_places();
    let (alone, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.alone);
    let mut outcomes = Vec::new();
    for (cases, jobs) in [(others, jobs.max(1)), (alone, 1)] {
        let running = stream::iter(cases).map(|case| one(case, target.clone())).buffered(jobs);
        outcomes.extend(running.collect::<Vec<_>>().await);
    }
    outcomes
}

async fn one(case: Case, target: Target) -> Outcome {
    let began = Instant::now();
    if let Some(why) = case.skipped(&target) {
        let outcome = Outcome { name: case.name, took: Duration::ZERO, failure: None, skipped: Some(why) };
        tell(&outcome);
        return outcome;
    }
    let running = task::spawn(timeout(CASE_PATIENCE, (case.run)(target)));
    let id = running.id();
    let failure = match running.await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(format!("it did not end within {} s", CASE_PATIENCE.as_secs())),
        Err(error) => {
            let place = places().lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
            Some(format!("{}{place}", error.try_into_panic().map(said).unwrap_or_else(|error| error.to_string())))
        }
    };
    let outcome = Outcome { name: case.name, took: began.elapsed(), failure, skipped: None };
    tell(&outcome);
    outcome
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            other.downcast::<&'static str>().map_or_else(|_| "it panicked".to_owned(), |text| (*text).to_owned())
        }
    }
}

/// Where each task panicked.
fn places() -> &'static Mutex<HashMap<task::Id, String>> {
    static PLACES: OnceLock<Mutex<HashMap<task::Id, String>>> = OnceLock::new();
    PLACES.get_or_init(Mutex::default)
}

/// From now on a panic of a task leaves its place; others are told as ever.
fn note_places() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match (task::try_id(), panic.location()) {
            (Some(id), Some(place)) => {
                let place = format!("\nat {}:{}", place.file(), place.line());
                places().lock().unwrap_or_else(PoisonError::into_inner).insert(id, place);
            }
            _ => others(panic),
        }));
    });
}

fn tell(outcome: &Outcome) {
    let seconds = outcome.took.as_secs_f64();
    let line = match (&outcome.failure, outcome.skipped) {
        (None, None) => format!("ok      {seconds:>7.2} s  {}\n", outcome.name),
        (None, Some(why)) => format!("skipped            {}\n{}\n", outcome.name, indented(why)),
        (Some(why), _) => format!("FAILED  {seconds:>7.2} s  {}\n{}\n", outcome.name, indented(why)),
    };
    // Nobody reads it where it cannot be written.
    _ = std::io::stderr().write_all(line.as_bytes());
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}

/// Writes the outcomes as JUnit.
pub fn report(outcomes: &[Outcome], to: &Path) -> std::io::Result<()> {
    std::fs::write(to, junit::document(outcomes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(image: Option<&str>) -> Target {
        Target {
            server: String::new(),
            key: String::new(),
            image: image.map(str::to_owned),
            databases: None,
            shop: None,
            ingress: None,
            namespace: String::new(),
            host_faults: false,
            full_profile: false,
        }
    }

    fn cases() -> Vec<Case> {
        vec![
            Case::new("life::ends_well", |_| async {}),
            Case::new("life::fails", |target: Target| async move { assert_eq!(target.server, "there", "no server") }),
            Case::new("cluster::only", |_| async {}).on_cluster(),
        ]
    }

    #[tokio::test]
    async fn a_failure_is_one_outcome_with_its_words_and_its_place() {
        let outcomes = run(cases(), &target(None), 2).await;
        assert_eq!(
            outcomes.iter().map(|one| one.name).collect::<Vec<_>>(),
            ["life::ends_well", "life::fails", "cluster::only"]
        );
        assert!(outcomes[0].failure.is_none() && outcomes[2].failure.is_none());
        let why = outcomes[1].failure.clone().unwrap();
        assert!(why.contains("no server") && why.contains("harness.rs:"), "{why}");
    }

    #[tokio::test]
    async fn what_the_host_does_not_do_is_skipped_with_its_reason() {
        let case = || vec![Case::new("host::fault", |_| async { panic!("it ran") }).on_host()];
        let outcomes = run(case(), &target(Some("i")), 1).await;
        assert!(outcomes[0].failure.is_none(), "{outcomes:?}");
        assert!(outcomes[0].skipped.is_some_and(|why| why.contains("REMORA_HOST_FAULTS")), "{outcomes:?}");
        let outcomes = run(case(), &Target { host_faults: true, ..target(Some("i")) }, 1).await;
        assert!(outcomes[0].skipped.is_none() && outcomes[0].failure.is_some(), "{outcomes:?}");
    }

    #[tokio::test]
    async fn what_only_the_full_profile_has_is_skipped_elsewhere() {
        let case = || vec![Case::new("isolation::packets", |_| async {}).on_full_profile()];
        let outcomes = run(case(), &target(Some("i")), 1).await;
        assert!(outcomes[0].skipped.is_some_and(|why| why.contains("REMORA_FULL_PROFILE")), "{outcomes:?}");
        let full = Target { full_profile: true, ..target(Some("i")) };
        let outcomes = run(case(), &full, 1).await;
        assert!(outcomes[0].skipped.is_none() && outcomes[0].failure.is_none(), "{outcomes:?}");
        let through = Case::new("routes::requests", |_| async {}).through_ingress();
        let both = || [cases(), case(), vec![through.clone()]].concat();
        let names =
            |words: &[String]| -> Vec<&str> { selected(both(), &full, words).iter().map(|case| case.name).collect() };
        assert_eq!(names(&[]), ["isolation::packets", "routes::requests"], "the others run elsewhere");
        assert_eq!(names(&["ends_well".to_owned()]), ["life::ends_well"]);
    }

    #[test]
    fn what_only_a_cluster_has_is_not_asked_of_others() {
        let names = |image, words: &[&str]| -> Vec<&str> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            selected(cases(), &target(image), &words).iter().map(|case| case.name).collect()
        };
        assert_eq!(names(None, &[]), ["life::ends_well", "life::fails"]);
        assert_eq!(names(Some("i"), &[]).len(), 3);
        assert_eq!(names(Some("i"), &["only", "well"]), ["life::ends_well", "cluster::only"]);
    }
}
