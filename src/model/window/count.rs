//! `type = "count"`: windows of a fixed number of rows.

use super::{WindowKind, WindowState};

/// `type = "count"`: every so many rows of a partition, in offset order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Rows a window.
    pub rows: u64,
}

impl WindowKind for Count {
    fn first_state(&self) -> WindowState {
        WindowState::Count { window: 0, rows: 0 }
    }

    /// The number of rows may change, so it is no part of this.
    fn identity(&self) -> String {
        "count".to_owned()
    }

    fn summary(&self) -> String {
        match self.rows {
            1 => "every row of a partition".to_owned(),
            rows => format!("every {rows} rows of a partition"),
        }
    }
}
