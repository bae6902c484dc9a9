//! How the suite runs in a cluster.

use std::{fs, path::Path};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn its_job_fails_fast_stays_an_hour_and_is_never_restarted() {
    let script = read("tests/cluster/suite.sh");
    let job = script.split("\nkind: Job\n").nth(1).expect("the suite is a Job");
    let job = job.split("\nYAML\n").next().expect("the objects end");
    for wanted in ["  backoffLimit: 0", "  ttlSecondsAfterFinished: 3600", "      restartPolicy: Never"] {
        assert!(job.lines().any(|line| line == wanted), "no line `{wanted}` in the Job of tests/cluster/suite.sh");
    }
}

/// Whatever takes its time is waited for by looking at it again, and up to a deadline.
#[test]
fn it_sleeps_between_two_looks_alone() {
    let mut looks = 0;
    for path in super::sources::tracked() {
        if !path.starts_with("tests/integration/src/") {
            continue;
        }
        for line in read(&path).lines() {
            let calls = line.match_indices("sleep(").filter(|(at, _)| {
                !line[..*at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_')
            });
            for (at, _) in calls {
                let argument = &line[at + "sleep(".len()..];
                assert!(
                    ["LOOK)", "crate::patience::LOOK)"].iter().any(|look| argument.starts_with(look)),
                    "{path} waits for time and not for a condition: `{}`",
                    line.trim()
                );
                looks += 1;
            }
        }
    }
    assert!(looks > 0, "nothing is waited for");
}
