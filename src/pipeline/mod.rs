//! How the stages are wired and kept alive.

pub mod credits;
pub mod lane;
pub mod messages;
pub mod meters;
pub mod progress;
pub mod rows;
pub mod supervisor;
pub mod topology;
