//! What a windower knows between two records: part of every ledger entry, so that a restart goes on as if nothing had been.

use serde::{Deserialize, Serialize};

/// A window of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowId {
    /// The so-manieth count window of the partition, from 0.
    Count(u64),
    /// A window of time, in microseconds since 1970.
    Time {
        /// The first instant in it.
        start: i64,
        /// The first instant after it.
        end: i64,
    },
}

impl WindowId {
    /// Its start and end, if it is a window of time.
    pub fn time(self) -> Option<(i64, i64)> {
        match self {
            WindowId::Time { start, end } => Some((start, end)),
            WindowId::Count(_) => None,
        }
    }
}

/// The state of a partition's windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// Count windows.
    Count {
        /// The open window's number.
        window: u64,
        /// Rows it has so far.
        rows: u64,
    },
    /// Windows of time.
    Time(TimeState),
}

impl WindowState {
    /// The state, if it is of windows of time.
    pub fn time(&self) -> Option<TimeState> {
        match self {
            WindowState::Time(state) => Some(*state),
            WindowState::Count { .. } => None,
        }
    }

    /// The largest count of rows or windows in it. One above `i64::MAX` means that the state is damaged.
    pub fn largest_count(&self) -> u64 {
        match self {
            WindowState::Count { window, rows } => *window.max(rows),
            WindowState::Time(_) => 0,
        }
    }
}

/// The state of a partition's windows of time: which are closed is a function of it, so they need no list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeState {
    /// The largest event time of a row so far, in microseconds since 1970.
    pub largest: Option<i64>,
    /// Windows that end at or before this are closed. It never goes back.
    pub watermark: Option<i64>,
    /// Why its windows don't wait for its rows: the partition is quiet, or a person closed them. None once a row came.
    pub closed_by: Option<ClosedBy>,
}

/// What closed windows that the rows alone would have left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The partition was quiet for `window.idle`.
    Idle,
    /// A person, by `--close`.
    Hand,
}

impl TimeState {
    /// Whether a window that ends at `end` is closed.
    pub fn is_closed(&self, end: i64) -> bool {
        self.watermark.is_some_and(|watermark| end <= watermark)
    }

    /// Moves the watermark on; never back.
    pub fn advance(&mut self, watermark: i64) {
        self.watermark = Some(self.watermark.map_or(watermark, |before| before.max(watermark)));
    }
}

/// What came for one window between two commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The window.
    pub window: WindowId,
    /// Rows in `data/`.
    pub rows: u64,
    /// Of these, how many came after the window had closed.
    pub reopened: u64,
    /// Late rows that are not in `data/`.
    pub late: u64,
    /// Records that were rejected while this was the partition's newest window.
    pub rejected: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(window: WindowId) -> Self {
        Tally { window, rows: 0, reopened: 0, late: 0, rejected: 0 }
    }

    /// Adds what came for the same window later.
    pub fn add(&mut self, later: &Tally) {
        self.rows += later.rows;
        self.reopened += later.reopened;
        self.late += later.late;
        self.rejected += later.rejected;
    }
}
