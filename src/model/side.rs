//! The trees of a dataset.

use serde::{Deserialize, Serialize};

/// Which of the dataset's trees a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// `data/`: good rows.
    Data,
    /// `rejects/`: the quarantine.
    Rejects,
    /// `late/`: rows that came after their window had closed.
    Late,
}

impl Side {
    /// The folder's name.
    pub fn folder(self) -> &'static str {
        match self {
            Side::Data => "data",
            Side::Rejects => "rejects",
            Side::Late => "late",
        }
    }
}
