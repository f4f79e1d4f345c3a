//! When a lane that failed is tried again.

use std::time::Duration;

/// How failed lanes start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// The pause after the first failure; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Failures in a row at the same position after which a lane parks.
    pub failures_until_parked: u32,
    /// Whether none parks for that, but is tried again after the longest pause, for ever: a service's way.
    pub for_ever: bool,
}
