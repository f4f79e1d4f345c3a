//! The protocol: chains of entries, how they are committed, folded and recovered, and the dataset that they are in.

pub(super) mod chain;
pub(super) mod checkpoint;
pub(super) mod commit;
mod committer;
pub(super) mod dataset;
pub(super) mod entry;
pub(super) mod error;
pub(super) mod publish;
mod recovery;

pub use chain::{Chain, NextEntry, Tip};
pub use committer::{Committer, Reply};
pub use dataset::{ColumnIdentity, Dataset, Definition, Identity, Topic};
pub use entry::{Entry, FORMAT, FileEntry};
pub use error::LedgerError;
