//! What can go wrong with a ledger. Every message says what, where, which value, and what to do
//! next.

use std::path::PathBuf;

use thiserror::Error;

use crate::base::codes::{Code, Coded};
use crate::store::{StoreError, WHOLE_MAX};

/// Why a ledger can't be read, written or trusted. It ends the lane; [`LedgerError::Fenced`] is the
/// one from which a lane goes on by itself, from the ledger.
#[derive(Debug, Clone, Error)]
#[allow(missing_docs)] // The messages say what each field is.
pub enum LedgerError {
    #[error(transparent)]
    Store(StoreError),

    #[error(
        "another writer ({winner}) has already written {}, entry {sequence} of {chain}: this one is fenced and goes on \
         from the ledger. If it happens again and again, two weir processes with different consumer groups write the \
         same dataset",
        path.display()
    )]
    Fenced { chain: String, sequence: u64, winner: String, path: PathBuf },

    #[error(
        "the ledger of {chain} has a hole: {} is missing, but entry {last} is there. weir removes no entry that is not in a \
         checkpoint. `weir repair FILE --from BACKUP` puts it back from a backup",
        path.display()
    )]
    Hole { chain: String, path: PathBuf, last: u64 },

    #[error(
        "the ledger of {chain} is broken: {} starts at position {found}, but the entry before it ends at {expected}. \
         weir does not go on, because records would be lost or doubled. `weir verify FILE` lists all that is wrong; restore \
         the dataset from a backup",
        path.display()
    )]
    Broken { chain: String, path: PathBuf, expected: i64, found: i64 },

    #[error(
        "the ledger of {chain} has two histories: {} names {found} as the entry before it, but that entry's SHA-256 is {expected}. \
         One of the two was changed, or comes from another copy of this dataset. weir does not go on, because records would be lost \
         or doubled. `weir verify FILE` lists all that is wrong; restore the dataset from a backup",
        path.display()
    )]
    Forked { chain: String, path: PathBuf, expected: String, found: String },

    #[error(
        "{} is not readable as a part of the ledger: {reason}. Put it back from a backup; if it is an entry, \
         `weir repair FILE --from BACKUP` does that",
        path.display()
    )]
    Unreadable { path: PathBuf, reason: String },

    #[error(
        "{} has ledger format {found}, this weir knows {known}: it was written by a newer weir. Use that one; this one changed nothing in this chain",
        path.display()
    )]
    Format { path: PathBuf, found: u32, known: u32 },

    #[error(
        "{} was written by a newer weir: it has {what}, which this weir doesn't know. Use that one; this one changed nothing in \
         this chain",
        path.display()
    )]
    Requires { path: PathBuf, what: String },

    #[error(
        "{} is named by entry {sequence} of {chain}, but neither it nor its staged file {} is there; weir does not go on \
         without it, because its rows would be lost. `weir repair FILE --from BACKUP` puts it back from a backup; without one, \
         write a new dataset (another `name`) from what Kafka still has",
        path.display(), staged.display()
    )]
    FileLost { chain: String, sequence: u64, path: PathBuf, staged: PathBuf },

    #[error(
        "{} is not the file that entry {sequence} of {chain} names: expected {expected}, found {found}. weir never \
         overwrites a file. `weir repair FILE --from BACKUP` moves it aside and puts the right one in its place",
        path.display()
    )]
    FileDiffers { chain: String, sequence: u64, path: PathBuf, expected: String, found: String },

    #[error(
        "the dataset {} was made differently: {}. Give the pipeline another name (a new dataset), or move the old \
         dataset's folder away, or put the old definition back (ledger/pipelines/ holds every one that wrote here)",
        folder.display(), differences.join("; ")
    )]
    OtherDataset { folder: PathBuf, differences: Vec<String> },

    #[error(
        "the topic {topic} was deleted and made again: its id is {found}, but the dataset {} holds records of {expected}. \
         Offsets started again at 0, so the two can't be one chain. Give the pipeline another name (a new dataset), or \
         move the old dataset's folder away",
        folder.display()
    )]
    OtherTopic { topic: String, expected: String, found: String, folder: PathBuf },

    #[error(
        "{} is not a dataset: it has no ledger/dataset.json. It should be the folder <sink.path>/<pipeline's name>",
        folder.display()
    )]
    NotADataset { folder: PathBuf },
}

impl Coded for LedgerError {
    fn code(&self) -> Code {
        match self {
            LedgerError::Store(error) => error.code(),
            LedgerError::Fenced { .. } => Code::LedgerFenced,
            LedgerError::Hole { .. } => Code::LedgerHole,
            LedgerError::Broken { .. } => Code::LedgerBroken,
            LedgerError::Unreadable { .. } => Code::LedgerUnreadable,
            LedgerError::Format { .. } | LedgerError::Requires { .. } => Code::LedgerFormat,
            LedgerError::Forked { .. } => Code::LedgerForked,
            LedgerError::FileLost { .. } => Code::FileLost,
            LedgerError::FileDiffers { .. } => Code::FileDiffers,
            LedgerError::OtherDataset { .. } => Code::OtherDataset,
            LedgerError::OtherTopic { .. } => Code::OtherTopic,
            LedgerError::NotADataset { .. } => Code::NotADataset,
        }
    }
}

impl LedgerError {
    /// No weir writes so much in one piece.
    pub(in crate::ledger) fn too_large(path: PathBuf) -> LedgerError {
        LedgerError::Unreadable { path, reason: format!("it has more than {WHOLE_MAX} bytes in one piece") }
    }

    /// Whether it may be over when a lane reads its ledger again.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, LedgerError::Store(StoreError::Io { .. }) | LedgerError::Fenced { .. })
    }

    /// Whether a lane that met it while it committed has no need to read its ledger again: it would
    /// commit into the same folder, whose fsync is not to be believed any more, or which is another
    /// one.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(self, LedgerError::Store(StoreError::NotDurable { .. } | StoreError::Strange { .. }))
    }

    /// Whether the cause is that something isn't there.
    pub(in crate::ledger) fn is_not_found(&self) -> bool {
        matches!(self, LedgerError::Store(error) if error.is_not_found())
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> LedgerError {
        match error {
            // No weir writes such a file, so it is damage, not a fault of the disk.
            StoreError::TooLarge { path } => LedgerError::too_large(path),
            error => LedgerError::Store(error),
        }
    }
}
