//! Rows to files: routed by hive key, encoded as Parquet, ended where a commit can cut.
//!
//! Everything here is pure or blocking: no actor, no clock, no ledger. Files are written and closed in `staging/` but not
//! fsynced; making them durable and part of the dataset is the ledger's.

mod actor;
mod error;
pub mod hive;
mod layout;
mod parquet;
mod roll;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
mod work;
mod writer;

pub use actor::Sink;
pub use error::SinkError;
pub use layout::{KEYS_MAX, Layout, WINDOW};
pub use parquet::{Finished, ParquetFile, properties};
pub use roll::{Pending, Roller, Step};
pub use work::{ConfirmTopic, Work};
pub use writer::{LaneWriter, Names};
