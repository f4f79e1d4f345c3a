//! How the stages become a pipeline that runs.

mod close;
pub mod memory;
pub mod skip;
pub mod topology;

pub use close::close_windows;
pub use memory::Limits;
