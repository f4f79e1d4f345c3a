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
//! | `protocol/format.rs` | which formats there are, and which of a file's fields a reader must know |
//! | `protocol/entry.rs` | the entry, as it is written |
//! | `protocol/columns.rs` | the columns' versions and ids |
//! | `protocol/dataset.rs`, `protocol/identity.rs` | the dataset's folder, and what must agree before anything is written |
//! | `protocol/chain.rs` | one partition's chain: its start, names, next entry |
//! | `protocol/checkpoint.rs` | how old entries fold, and how entries are read wherever they are |
//! | `protocol/recovery.rs` | how a lane starts: read, publish, sweep |
//! | `protocol/commit.rs`, `protocol/committer.rs` | the commit of many lanes, and the thread it runs on |
//! | `protocol/publish.rs` | staged files to their names; commit and recovery share it |
//! | `care/repair.rs` | what can be mended without a doubt |
//! | `care/skip.rs` | offsets that a person gives up |
//! | `care/backup.rs` | a copy of a dataset that may be written to meanwhile |
//! | `care/verify.rs` | is everything there, and nothing else? |
//! | `read/completeness.rs` | which windows of time are complete, for readers and for quiet partitions |
//!
//! How files get and keep their names is [`crate::store`]'s; names are made and read in [`crate::model::names`].
//!
//! The protocol was model-checked: `tests/model/ledger_model.rs` has its steps under the names used here, the rules that
//! are easy to leave out, and for each of them the trace that loses or doubles a record without it. A change here starts
//! there. That the code does what the model says is the simulation's to show: `src/testing/simulation`.
//!
//! Not there yet: other stores than the local filesystem.

mod care;
mod protocol;
mod read;
#[cfg(test)]
mod tests;

pub use care::{
    Action, ActionKind, Backup, BackupError, Finding, Kind, Left, Repair, RepairError, Report, backup, repair, verify,
};
pub use protocol::{
    Chain, ColumnIdentity, Committer, Dataset, Definition, Entry, EntryKind, FORMAT, FileEntry, Identity, LedgerError,
    NextEntry, Receipt, Reply, Text, Tip, Topic,
};
pub use read::{
    Compared, Completeness, InspectError, InspectedColumn, Inspection, LedgerReader, Lost, Others, PartitionFrontier,
    State, Window, inspect,
};
