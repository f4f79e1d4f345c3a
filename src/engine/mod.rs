//! How the stages become a pipeline that runs.

pub mod skip;
pub mod topology;
