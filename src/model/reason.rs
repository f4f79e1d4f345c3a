//! Why a lane commits.

use serde::Serialize;

/// Why an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Entry 0: fixes where the chain starts.
    Start,
    /// A file had all its windows.
    Windows,
    /// A file had all its rows.
    Rows,
    /// A file had all its bytes.
    Bytes,
    /// The oldest uncommitted record was old enough.
    Age,
    /// The partition had nothing more to read for so long that its windows were closed.
    Idle,
    /// A person closed the windows.
    Close,
    /// The lane was asked to end.
    Drain,
    /// A person asked for everything to be written.
    Flush,
    /// Memory ran short and this lane held the most.
    Memory,
    /// A person gave up what can't be read any more.
    Skip,
}

impl std::fmt::Display for Reason {
    /// As in an entry.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}
