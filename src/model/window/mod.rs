//! Windows as all floors know them: their names, their state in the ledger, and the calendar that windows of time follow.

mod calendar;
mod state;

pub use calendar::Calendar;
pub use state::{ClosedBy, Tally, TimeState, WindowId, WindowState};

use super::pipeline::Window;

/// The state of a partition of which nothing was read yet: what entry 0 holds.
pub fn initial_state(window: &Window) -> WindowState {
    match window {
        Window::Count { .. } => WindowState::Count { window: 0, rows: 0 },
        Window::Tumbling(_) => WindowState::Time(TimeState::default()),
    }
}
