//! Rows to windows: which window a row belongs to, and when a window is complete.
//!
//! [`Windows`] is pure: what it answers is a function of its state and of the records, never of the clock or of how the
//! stream was cut into batches. Its state after every part is in the part, so that a lane can commit at any of them.

mod actor;
mod count;
mod cut;
mod state;

pub use actor::Windower;
pub use count::CountWindower;
pub use state::{WindowId, WindowState};

use crate::pipeline::messages::{CheckedRecords, Range, WindowedPart};
use crate::settings::pipeline::Window;

/// What groups one partition's rows; a variant for each `[window] type`.
#[derive(Debug)]
pub enum Windows {
    /// `type = "count"`
    Count(CountWindower),
}

impl Windows {
    /// Goes on from `state`, or from the beginning where there is none.
    pub fn new(window: &Window, state: Option<WindowState>) -> Self {
        let state = state.unwrap_or_else(|| initial_state(window));
        match window {
            Window::Count { rows } => Windows::Count(CountWindower::new(*rows, state)),
        }
    }

    /// Cuts a checked batch into consecutive parts, each of one window; together their ranges are `range`.
    pub fn assign(&mut self, range: Range, records: CheckedRecords) -> Vec<WindowedPart> {
        match self {
            Windows::Count(windower) => windower.assign(range, records),
        }
    }
}

/// The state of a partition of which nothing was read yet: what entry 0 holds.
pub fn initial_state(window: &Window) -> WindowState {
    match window {
        Window::Count { .. } => WindowState::Count { window: 0, rows: 0 },
    }
}
