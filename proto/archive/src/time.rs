//! Times as records write them.

/// A point in time; the nanoseconds go forward from the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds since 1970, before which they are negative.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanos: u32,
}

/// Decimal seconds with the nanoseconds behind the point, as pax writes it.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.seconds, self.nanos) {
            (seconds, 0) => write!(f, "{seconds}"),
            (seconds @ 0.., nanos) => write!(f, "{seconds}.{nanos:09}"),
            // -1 s and 250,000,000 ns is -0.75.
            (seconds, nanos) => write!(f, "-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        }
    }
}

impl Time {
    /// Reads what [`Display`](std::fmt::Display) writes; digits past the ninth are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(part) {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanos: u32 = format!("{part:0<9}").get(..9)?.parse().ok()?;
        Some(match (negative, nanos) {
            (false, nanos) => Time { seconds, nanos },
            (true, 0) => Time { seconds: -seconds, nanos },
            (true, nanos) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (seconds, nanos, text) in [
            (0, 0, "0"),
            (12, 5, "12.000000005"),
            (-1, 250_000_000, "-0.750000000"),
            (-2, 0, "-2"),
            (-3, 999_999_999, "-2.000000001"),
            (i64::MAX, 1, "9223372036854775807.000000001"),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!(time.to_string(), text);
            assert_eq!(Time::parse(text), Some(time));
        }
        assert_eq!(Time::parse("1.12345678999"), Some(Time { seconds: 1, nanos: 123_456_789 }));
        for bad in ["", "-", ".5", "1.x", "+1", "--1", "1e3", "99999999999999999999"] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }
}
