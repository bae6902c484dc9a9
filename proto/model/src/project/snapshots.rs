//! When snapshots are made by themselves, and which are kept.

use serde::{Deserialize, Serialize};

use crate::Fault;

/// Most patterns of what snapshots leave out.
pub const MAX_EXCLUDES: usize = 64;
/// Longest such pattern, in bytes.
pub const MAX_EXCLUDE_BYTES: usize = 256;

/// When snapshots are made by themselves and which are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SnapshotPolicy {
    /// Seconds between two snapshots of a running project that changed, 10 to 86,400.
    pub interval_seconds: u32,
    /// How many of the newest are kept, 1 to 1,000.
    pub keep_last: u32,
    /// Of how many hours the newest is kept.
    pub keep_hourly: u32,
    /// Of how many days the newest is kept.
    pub keep_daily: u32,
    /// What is left out, as in `.remoraignore`.
    pub exclude: Vec<String>,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { interval_seconds: 60, keep_last: 10, keep_hourly: 0, keep_daily: 0, exclude: Vec::new() }
    }
}

impl SnapshotPolicy {
    /// Checks the bounds. The error names the field.
    pub fn validate(&self) -> Result<(), Fault> {
        if !(10..=86_400).contains(&self.interval_seconds) {
            return Err(Fault::invalid(
                "snapshots.intervalSeconds",
                format!("is {}; from 10 to 86400", self.interval_seconds),
            ));
        }
        if !(1..=1_000).contains(&self.keep_last) {
            return Err(Fault::invalid("snapshots.keepLast", format!("is {}; from 1 to 1000", self.keep_last)));
        }
        for (field, value) in [("snapshots.keepHourly", self.keep_hourly), ("snapshots.keepDaily", self.keep_daily)] {
            if value > 1_000 {
                return Err(Fault::invalid(field, format!("is {value}; at most 1000")));
            }
        }
        if self.exclude.len() > MAX_EXCLUDES {
            return Err(Fault::invalid(
                "snapshots.exclude",
                format!("{} given; at most {MAX_EXCLUDES}", self.exclude.len()),
            ));
        }
        for pattern in &self.exclude {
            if pattern.is_empty() || pattern.len() > MAX_EXCLUDE_BYTES || pattern.chars().any(char::is_control) {
                let shown: String = pattern.chars().take(80).collect();
                return Err(Fault::invalid(
                    "snapshots.exclude",
                    format!("{shown:?} must have 1 to {MAX_EXCLUDE_BYTES} bytes, none of them a control"),
                ));
            }
        }
        Ok(())
    }
}
