//! Rows to windows: which window a row belongs to, and when a window is complete.
//!
//! [`Windows`] is pure: what it answers is a function of its state and of the records, never of the clock or of how the
//! stream was cut into batches. Its state after every part is in the part, so that a lane can commit at any of them.

mod actor;
mod count;
mod cut;
mod tumbling;

pub use actor::Windower;
pub use count::CountWindower;
pub use tumbling::TimeWindower;

use crate::flow::messages::{CheckedRecords, WindowedPart};
use crate::model::Range;
use crate::model::pipeline::Window;
use crate::model::window::{ClosedBy, WindowState, initial_state};

/// What groups one partition's rows; a variant for each `[window] type`.
#[derive(Debug)]
pub enum Windows {
    /// `type = "count"`
    Count(CountWindower),
    /// `type = "tumbling"`
    Time(Box<TimeWindower>),
}

impl Windows {
    /// Goes on from `state`, or from the beginning where there is none.
    ///
    /// # Panics
    /// When the state is of another type of windows: a dataset keeps the one it was made with.
    pub fn new(window: &Window, state: Option<WindowState>) -> Self {
        match (window, state.unwrap_or_else(|| initial_state(window))) {
            (Window::Count { rows }, WindowState::Count { window, rows: filled }) => {
                Windows::Count(CountWindower::new(*rows, window, filled))
            }
            (Window::Tumbling(tumbling), WindowState::Time(state)) => {
                Windows::Time(Box::new(TimeWindower::new(tumbling, state)))
            }
            (window, state) => panic!("the ledger has {state:?}, the definition {window:?}"),
        }
    }

    /// Cuts a checked batch into consecutive parts; together their ranges are `range`.
    pub fn assign(&mut self, range: Range, records: CheckedRecords) -> Vec<WindowedPart> {
        match self {
            Windows::Count(windower) => windower.assign(range, records),
            Windows::Time(windower) => vec![windower.assign(range, records)],
        }
    }

    /// Closes windows of time though no row says that they are over; see [`TimeWindower::close`].
    pub fn close(&mut self, position: i64, to: Option<i64>, by: ClosedBy) -> Option<WindowedPart> {
        match self {
            Windows::Count(_) => None,
            Windows::Time(windower) => windower.close(position, to, by),
        }
    }
}
