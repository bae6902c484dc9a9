//! Numbers as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, macros::format_description};

/// Now, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long before `now` something was, in one unit; `-` where it never was.
pub(crate) fn age(then_ms: u64, now_ms: u64) -> String {
    if then_ms == 0 {
        return "-".to_owned();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes in the largest binary unit that leaves a whole part, as `ls -h`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    // Ten binary digits a unit; the tenths are of the unit below.
    let unit = ((63 - count.leading_zeros()) / 10).min(6);
    let size = 1_u64 << (10 * unit);
    let tenths = u128::from(count % size) * 10 / u128::from(size);
    format!("{}.{tenths} {}", count / size, UNITS[unit as usize - 1])
}

/// A point in time, in UTC; `-` where there is none.
pub(crate) fn timestamp(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).ok().filter(|_| ms > 0);
    let Some(when) = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()) else {
        return "-".to_owned();
    };
    when.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z"))
        .unwrap_or_else(|_| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = 1_000_000_000_000;
        let ago = |seconds: u64| age(now - seconds * 1_000, now);
        assert_eq!([ago(0), ago(119), ago(120), ago(7_200), ago(172_800)], ["0s", "119s", "2m", "2h", "2d"]);
        assert_eq!((age(0, now), age(now + 5_000, now)), ("-".to_owned(), "0s".to_owned()));
    }

    #[test]
    fn sizes_are_rounded_down() {
        let shown = [0, 1_023, 1_024, 1_536, 1_048_576, 5_368_709_120, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "15.9 EiB"]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(timestamp(1_700_000_000_123), "2023-11-14 22:13:20Z");
        assert_eq!((timestamp(0), timestamp(u64::MAX)), ("-".to_owned(), "-".to_owned()));
    }
}
