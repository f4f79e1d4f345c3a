//! What commands and HTTP read of a ledger. Nothing here makes or changes anything.

mod completeness;
mod entries;
mod inspect;
mod reader;

#[cfg(test)]
pub(super) use completeness::frontier;
pub use completeness::{Completeness, Lost, Others, PartitionFrontier, State, Window};
pub use inspect::{Compared, InspectError, InspectedColumn, Inspection, inspect};
pub use reader::LedgerReader;
