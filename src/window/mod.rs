//! Rows to windows: which window a row belongs to, and when a window is complete.
//!
//! [`Windows`] are pure: what they answer is a function of their state and of the records, never of the clock or of how the
//! stream was cut into batches. Their state after every part is in the part, so that a lane can commit at any of them.

mod actor;
mod count;
mod cut;
mod tumbling;

pub use actor::Windower;

use std::fmt::Debug;

use crate::flow::messages::{CheckedRecords, WindowedPart};
use crate::model::Range;
use crate::model::window::{ClosedBy, Window, WindowState};
use crate::window::count::CountWindower;
use crate::window::tumbling::TimeWindower;

/// What groups one partition's rows. Each `[window] type` has an implementation; it is called once a batch.
pub trait Windows: Debug + Send {
    /// Cuts a checked batch into consecutive parts; together their ranges are `range`.
    fn assign(&mut self, range: Range, records: CheckedRecords) -> Vec<WindowedPart>;

    /// Where the newest window of time ends that has a row or is closed, in microseconds since 1970.
    fn newest_end(&mut self) -> Option<i64> {
        None
    }

    /// Closes every window of time that has rows, and all that end at or before `to`: nothing says that more is to come. The
    /// part stands for no position; there is none where this changes nothing.
    fn close(&mut self, _position: i64, _to: Option<i64>, _by: ClosedBy) -> Option<WindowedPart> {
        None
    }
}

/// Makes the windows of a partition, which go on from `state`, or from the beginning where there is none.
///
/// # Panics
/// When the state is of another type of windows: a dataset keeps the one it was made with.
pub fn resume(window: &Window, state: Option<WindowState>) -> Box<dyn Windows> {
    match (window, state.unwrap_or_else(|| window.kind().first_state())) {
        (Window::Count(count), WindowState::Count { window, rows }) => {
            Box::new(CountWindower::new(count.rows, window, rows))
        }
        (Window::Tumbling(tumbling), WindowState::Time(state)) => Box::new(TimeWindower::new(tumbling, state)),
        (window, state) => panic!("the ledger has {state:?}, the definition {window:?}"),
    }
}
