//! Kafka to batches.
//!
//! A [`Source`] owns one consumer of the pipeline's group. Its poll thread polls always, but for a second at the most while
//! memory is used up: what it reads it hands on as one batch a partition, and what it is told (start here, stop there) it does
//! between two polls. The actor makes a lane for each partition that it is given, starts it from its ledger, and ends it when
//! the partition goes. What becomes of a partition is decided in `lanes.rs`, which is pure.
//!
//! **Promise:** records reach a lane in offset order, each range starting where the one before it ended; only what
//! read_committed shows is in them. A lane is handed records only once the brokers were found to have the last one that its
//! ledger knows, where they can be asked for it.

mod actor;
mod batch;
mod confirm;
mod control;
mod ending;
mod group;
mod lanes;
mod place;
mod poll_thread;
mod quiet;
mod start;
mod starting;
mod statistics;
mod trouble;
mod untold;

pub use actor::{Finished, Launch, Source};
pub use confirm::Confirm;
pub use control::{Flush, PauseReading, ResumeReading};
pub use ending::Stop;
pub use start::StartError;
#[cfg(test)]
pub(crate) use start::give_up_a_batch;
