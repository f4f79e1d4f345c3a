//! The protocol: chains of entries, how they are committed, folded and recovered, and the dataset
//! that they are in.

pub(super) mod chain;
pub(super) mod checkpoint;
pub(super) mod columns;
pub(super) mod commit;
mod committer;
pub(super) mod dataset;
pub(super) mod entry;
pub(super) mod error;
pub(super) mod format;
mod identity;
pub(super) mod publish;
mod recovery;

pub use chain::{Chain, NextEntry, Receipt, Tip};
pub use columns::ColumnIdentity;
pub use committer::{Committer, Reply};
pub use dataset::{Dataset, Definition, Text, Topic};
pub use entry::{Entry, EntryKind, FileEntry};
pub use error::LedgerError;
pub use format::FORMAT;
pub use identity::Identity;
