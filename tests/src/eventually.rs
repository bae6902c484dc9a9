//! Waiting for a condition that announces itself nowhere.

use std::time::{Duration, Instant};

use crate::agent::PATIENCE;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until there is something; a deadline ends the test.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "what was waited for did not come");
        tokio::time::sleep(LOOK).await;
    }
}
