//! The ledger: what is in the dataset, and up to where each partition was read. Blocking code, on the local filesystem.
//!
//! A partition has a chain of entries, `ledger/<topic>/<topic id>/<partition>/<sequence>.json`, each made by linking a
//! finished file to a name that must be free; so of two writers one wins, and the other is fenced. An entry holds the range
//! of positions it covers, the windows' state at its end, and the files whose rows it adds. Linking it is the commit. Its
//! files are linked from `staging/` into the dataset only after it, and the next entry is made only after that, so that at
//! most the newest entry of a chain has files that are still to be published: recovery does it. Old entries fold, a thousand
//! at a time, into checkpoints beside them.
//!
//! ```text
//! Dataset ── chain ──► Chain ── recover, or start where there is nothing ──► Tip
//!   Tip ── Chain::name, write staged files, Chain::entry ──► Entry ── Committer::commit ──► Tip ── …
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `entry.rs` | the entry, as it is written |
//! | `dataset.rs` | the dataset's folder, and what must agree before anything is written |
//! | `chain.rs` | one partition's chain: its start, names, next entry |
//! | `checkpoint.rs` | how old entries fold, and how entries are read wherever they are |
//! | `recovery.rs` | how a lane starts: read, publish, sweep |
//! | `commit.rs`, `committer.rs` | the commit of many lanes, and the thread it runs on |
//! | `publish.rs` | staged files to their names; commit and recovery share it |
//! | `repair.rs` | what can be mended without a doubt |
//! | `skip.rs` | offsets that a person gives up |
//! | `backup.rs` | a copy of a dataset that may be written to meanwhile |
//! | `verify.rs` | is everything there, and nothing else? |
//! | `completeness.rs` | which windows of time are complete, for readers and for quiet partitions |
//! | `disk.rs` | fsync, links and folders; names are made and read in [`crate::model::names`] |
//! | `file_system.rs` | what is asked of the file system, so that tests can put another one in its place |
//!
//! The protocol was model-checked: `tests/model/ledger_model.rs` has its steps under the names used here, the rules that
//! are easy to leave out, and for each of them the trace that loses or doubles a record without it. A change here starts
//! there. That the code does what the model says is the simulation's to show: `src/testing/simulation`.
//!
//! Not there yet: other stores than the local filesystem.

mod backup;
mod chain;
mod checkpoint;
mod commit;
mod committer;
mod completeness;
mod dataset;
mod disk;
mod entry;
mod error;
mod file_system;
mod publish;
mod recovery;
mod repair;
mod skip;
#[cfg(test)]
mod tests;
mod verify;

pub use backup::{Backup, BackupError, backup};
pub use chain::{Chain, NextEntry, Tip};
pub use committer::{Committer, Reply};
pub use completeness::{Completeness, Lost, Others, PartitionFrontier, State, Window, frontier};
pub use dataset::{ColumnIdentity, Dataset, Definition, Identity, Topic};
pub use entry::{Entry, FORMAT, FileEntry};
pub use error::LedgerError;
pub use file_system::open_file;
#[cfg(test)]
pub(crate) use file_system::{FailedSyncs, FileSystem, SyncFailed};
pub use repair::{Action, ActionKind, Left, Repair, RepairError, repair};
pub use verify::{Finding, Kind, Report, verify};
