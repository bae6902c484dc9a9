//! Waiting for a condition that announces itself nowhere.

use std::time::{Duration, Instant};

use crate::agent::PATIENCE;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until there is something; a deadline ends the test.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    eventually_told(async || look()).await
}

/// The same where a look is a call. One that takes too long ends the test too.
pub async fn eventually_told<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = tokio::time::timeout(PATIENCE, look()).await;
        if let Some(found) = told.expect("a look comes to an end") {
            return found;
        }
        assert!(Instant::now() < deadline, "what was waited for did not come");
        tokio::time::sleep(LOOK).await;
    }
}
