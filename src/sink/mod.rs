//! Rows to files: routed by window and hive key, encoded as Parquet, ended where a commit can cut.
//!
//! `route.rs` says which file a row goes to, with `layout.rs` for its folder, `roll.rs` when files end by windows and rows, and
//! `writer.rs` when row groups do. Rows wait in `waiting.rs` until they are one; an `open_file.rs` is a file that has rows, which
//! `parquet.rs` encodes column by column. `work.rs` adds the clock and the ledger, `under_way.rs` is a commit on its way,
//! `actor.rs` the lane. Files are written and closed in `staging/` but not fsynced; making them durable and part of the dataset
//! is the ledger's. Until they are handed over as an entry they are the lane's alone, and go with it: a lane that fails for
//! want of space would else keep the disk full.

mod actor;
mod encoders;
mod error;
mod layout;
mod open_file;
mod parquet;
mod roll;
mod route;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
mod under_way;
mod waiting;
mod work;
mod writer;

pub use actor::Sink;
pub use error::SinkError;
pub use layout::{Folder, Layout, Split};
pub use open_file::{Create, Discard, Names};
pub use parquet::{Finished, ParquetFile, Recipe, properties};
pub use roll::{Pending, Roller, Step};
pub use under_way::{ConfirmTopic, TellSource};
pub use work::{Begin, Work};
pub use writer::LaneWriter;
