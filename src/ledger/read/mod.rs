//! What commands and HTTP read of a ledger. Nothing here makes or changes anything.

mod completeness;

pub use completeness::{Completeness, Lost, Others, PartitionFrontier, State, Window, frontier};
