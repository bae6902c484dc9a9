//! Failpoints: where the process ends as kill -9 would end it. For tests alone;
//! without the variable there are none.
//!
//! REMORA_FAILPOINT is a list of points, `STEP:before` or `STEP:after`, each of any
//! project or, as `PROJECT=STEP:WHEN`, of the one with that name. Whoever reaches
//! one of them stays there, and with the last of them the process ends: so one
//! death cuts as many sagas as there are points, each in its own place.

use std::{
    env, fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use remora_control_plane_project::Step;
use remora_proto_model::ProjectName;
use tracing::warn;

/// The variable.
const VARIABLE: &str = "REMORA_FAILPOINT";

/// The exit code that a shell and a kubelet give to a process that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Before => "before",
            When::After => "after",
        })
    }
}

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    /// Any, where none is named.
    project: Option<String>,
    step: String,
    when: When,
}

/// Points by themselves, and whether each was reached.
#[derive(Debug, Default)]
struct Points(Vec<(Point, bool)>);

impl Points {
    fn parse(text: &str) -> Result<Points, String> {
        let point = |text: &str| {
            let (project, place) = match text.split_once('=') {
                Some((project, place)) => (Some(project.to_owned()), place),
                None => (None, text),
            };
            let (step, when) = match place.split_once(':') {
                Some((step, "before")) => (step, When::Before),
                Some((step, "after")) => (step, When::After),
                _ => {
                    return Err(format!(
                        "{text:?} is no failpoint; write [PROJECT=]STEP:before or [PROJECT=]STEP:after"
                    ));
                }
            };
            Ok((Point { project, step: step.to_owned(), when }, false))
        };
        text.split(',').map(point).collect::<Result<_, _>>().map(Points)
    }

    /// Notes that `project` is there; `None` where there is no such point, else how many are left.
    fn reach(&mut self, project: &str, step: &str, when: When) -> Option<usize> {
        let here = |point: &Point| {
            point.project.as_deref().is_none_or(|named| named == project) && point.step == step && point.when == when
        };
        let (_, reached) = self.0.iter_mut().find(|(point, _)| here(point))?;
        *reached = true;
        Some(self.0.iter().filter(|(_, reached)| !reached).count())
    }
}

/// Stays here for ever, or ends the process, where a point says so.
pub(super) async fn failpoint(project: &ProjectName, step: Step, when: When) {
    static POINTS: OnceLock<Option<Mutex<Points>>> = OnceLock::new();
    let points = POINTS.get_or_init(|| {
        let text = env::var(VARIABLE).ok()?;
        match Points::parse(&text) {
            Ok(points) => Some(Mutex::new(points)),
            Err(problem) => {
                warn!(VARIABLE, problem, "there are no failpoints");
                None
            }
        }
    });
    let Some(points) = points else { return };
    let name = format!("{step:?}");
    let name = name.split('(').next().unwrap_or_default();
    let left = points.lock().unwrap_or_else(PoisonError::into_inner).reach(project.as_str(), name, when);
    let Some(left) = left else { return };
    // Past the log, whose thread dies with the process.
    eprintln!("failpoint {project}={name}:{when} is reached, {left} left");
    if left == 0 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The first process of a container is spared by signals of its own.
        std::process::exit(KILLED);
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_project_stays_at_its_own_point_and_the_last_one_is_told() {
        let mut points = Points::parse("a=Save:before,b=Condemn:after").unwrap();
        assert_eq!(points.reach("a", "Save", When::After), None);
        assert_eq!(points.reach("b", "Save", When::Before), None);
        assert_eq!(points.reach("a", "Save", When::Before), Some(1));
        assert_eq!(points.reach("a", "Save", When::Before), Some(1), "the same one again is not another one");
        assert_eq!(points.reach("b", "Condemn", When::After), Some(0));
        let mut any = Points::parse("Stop:after").unwrap();
        assert_eq!(any.reach("whatever", "Stop", When::After), Some(0));
    }

    #[test]
    fn what_is_no_point_is_said() {
        for bad in ["", "Save", "Save:during", "a=Save", "Save:before,"] {
            let problem = Points::parse(bad).unwrap_err();
            assert!(problem.contains("is no failpoint"), "{problem}");
        }
    }
}
