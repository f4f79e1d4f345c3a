//! `type = "tumbling"`: windows of event time that follow each other without a hole.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Calendar, EventTime, TimeState, WindowKind, WindowState};
use crate::base::units::show_duration;

/// `type = "tumbling"`: windows of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tumbling {
    /// How long a window is, in microseconds; whole days are days of `zone`.
    pub size: i64,
    /// Where a row's event time is.
    pub time: EventTime,
    /// Whose days and clocks.
    pub zone: TimeZone,
    /// A window starts when the clocks of `zone` show this.
    pub origin: DateTime,
    /// How far the watermark stays behind the largest event time, in microseconds.
    pub out_of_order: i64,
    /// How long a partition is quiet before its windows are closed; never, where there is none.
    pub idle: Option<Duration>,
    /// What becomes of rows whose window is closed.
    pub late: Late,
    /// How far an event time may be after the record's Kafka timestamp, in microseconds.
    pub max_ahead: i64,
}

impl Tumbling {
    /// Which window an instant is in.
    pub fn calendar(&self) -> Calendar {
        Calendar::new(self.size, self.origin, &self.zone)
    }
}

impl WindowKind for Tumbling {
    fn first_state(&self) -> WindowState {
        WindowState::Time(TimeState::default())
    }

    fn identity(&self) -> String {
        format!("tumbling {self}")
    }

    fn summary(&self) -> String {
        self.to_string()
    }

    fn event_time(&self) -> Option<&EventTime> {
        Some(&self.time)
    }

    fn max_ahead(&self) -> i64 {
        self.max_ahead
    }

    fn idle(&self) -> Option<Duration> {
        self.idle
    }

    fn calendar(&self) -> Option<Calendar> {
        Some(self.calendar())
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

/// What every row's window depends on, and so what a dataset keeps.
impl std::fmt::Display for Tumbling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = show_duration(Duration::from_micros(self.size.unsigned_abs()));
        let zone = self.zone.iana_name().map_or_else(
            || self.zone.to_fixed_offset().map_or_else(|_| "a zone".to_owned(), |offset| offset.to_string()),
            str::to_owned,
        );
        write!(f, "{size} of {}, {zone}, from {}", self.time.column(), self.origin)
    }
}

/// What becomes of rows whose window is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// They go to another file of their window, which counts as reopened.
    Accept,
    /// They go to `late/`.
    Side,
    /// They are counted.
    Drop,
}
