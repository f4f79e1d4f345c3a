//! `[window]`: how rows are grouped, and what every kind of windows is asked.
//!
//! Each kind answers in its own file. Only code in `model/window`, `window` and `settings/window.rs` asks which kind it is.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Calendar, Count, EventTime, Tumbling, WindowState};

/// `[window]`: how rows are grouped. Always per partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// `type = "count"`
    Count(Count),
    /// `type = "tumbling"`
    Tumbling(Tumbling),
}

impl Window {
    /// Returns the kind's definition, which answers every question about these windows.
    pub fn kind(&self) -> &dyn WindowKind {
        match self {
            Window::Count(count) => count,
            Window::Tumbling(tumbling) => tumbling,
        }
    }
}

/// What a kind of windows answers about its definition. A default is the answer of windows that are not of time.
pub trait WindowKind {
    /// The state of a partition of which nothing was read yet: what entry 0 holds.
    fn first_state(&self) -> WindowState;

    /// What `dataset.json` says of them: another text is another dataset.
    fn identity(&self) -> String;

    /// What `weir check` says of them.
    fn summary(&self) -> String;

    /// Where a row's event time is, for windows of time. A row without one is rejected.
    fn event_time(&self) -> Option<&EventTime> {
        None
    }

    /// How far an event time may be after the record's Kafka timestamp, in microseconds.
    fn max_ahead(&self) -> i64 {
        i64::MAX
    }

    /// How long a partition is quiet before its windows are closed. None: never.
    fn idle(&self) -> Option<Duration> {
        None
    }

    /// How time is divided into windows. With a calendar, each window has its own files and its own name.
    fn calendar(&self) -> Option<Calendar> {
        None
    }

    /// The zone of times that a person writes without one.
    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }

    /// Whether rows are grouped by their event time. Such windows become complete, and a person can close them.
    fn is_of_time(&self) -> bool {
        self.event_time().is_some()
    }
}
