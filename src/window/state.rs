//! What a windower knows between two records: part of every ledger entry, so that a restart goes on as if nothing had been.

use serde::{Deserialize, Serialize};

/// A window of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowId {
    /// The so-manieth count window of the partition, from 0.
    Count(u64),
}

/// The state of a partition's windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WindowState {
    /// Count windows.
    Count {
        /// The open window's number.
        window: u64,
        /// Rows it has so far.
        rows: u64,
    },
}
