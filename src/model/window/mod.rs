//! Windows as all floors know them: their definition, their names, their state in the ledger, and the calendar that windows
//! of time follow.
//!
//! A new kind of windows has a file here with its part of the definition, and one in `crate::window` that groups rows.

mod calendar;
mod count;
mod definition;
mod event_time;
mod state;
mod tumbling;

pub use calendar::Calendar;
pub use count::Count;
pub use definition::{Window, WindowKind};
pub use event_time::EventTime;
pub use state::{ClosedBy, Tally, TimeState, WindowId, WindowState};
pub use tumbling::{Late, Tumbling};
