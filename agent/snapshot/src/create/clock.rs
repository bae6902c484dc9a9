//! What the clocks say when a scan begins, and what that proves to the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    format::{ClockReading, Timestamp},
    limits::RACY_WINDOW,
};

/// How far the clock may run apart from the time since boot before it counts as set.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What the clocks say now, and from when on times prove nothing.
pub(super) fn now() -> ClockReading {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(RACY_WINDOW);
    ClockReading {
        boot_id: boot_id().unwrap_or_default(),
        offset_ns: uptime().map_or(0, |uptime| (now.as_nanos() as i64).saturating_sub(uptime.as_nanos() as i64)),
        racy_since: Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
    }
}

fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_ascii_whitespace().next()?.parse().ok()?).ok()
}

fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(*uuid::Uuid::parse_str(text.trim()).ok()?.as_bytes())
}

/// Whether somebody set the clock between two readings.
pub(super) fn was_set(before: &ClockReading, now: &ClockReading) -> bool {
    before.boot_id == now.boot_id && before.offset_ns.abs_diff(now.offset_ns) > CLOCK_SLACK.as_nanos() as u64
}
