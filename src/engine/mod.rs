//! How the stages become a pipeline that runs.

mod close;
mod consumers;
pub mod identity;
mod limits;
mod open;
pub mod skip;
pub mod topology;

pub use close::close_windows;
pub use identity::fits_its_dataset;
pub use limits::{Limits, RunOptions, share};
pub use open::RunError;
