//! The one reader of a ledger, and of the files that it names, for commands and HTTP.

use std::io;
use std::path::{Path, PathBuf};

use super::completeness::{self, Completeness, PartitionFrontier};
use crate::ledger::protocol::dataset::Dataset;
use crate::ledger::protocol::entry::Entry;
use crate::ledger::protocol::error::LedgerError;
use crate::model::Side;
use crate::store::Parts;

/// A dataset whose ledger is read. Nothing is made or changed, and a running pipeline commits meanwhile.
#[derive(Debug)]
pub struct LedgerReader {
    dataset: Dataset,
}

impl LedgerReader {
    /// Of the dataset in a folder.
    ///
    /// # Errors
    /// [`LedgerError::NotADataset`] if it isn't there.
    pub fn of(folder: &Path) -> Result<LedgerReader, LedgerError> {
        Ok(LedgerReader { dataset: Dataset::existing(folder)? })
    }

    /// The entries of all partitions, the newest first, each read when it is asked for.
    ///
    /// # Errors
    /// When the chains can't be listed. An entry that can't be read is an error in its place, and the last of its chain.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<>, LedgerError> {
        self.dataset.newest()
    }

    /// Which windows of time are complete: the whole ledger is read.
    ///
    /// # Errors
    /// When an entry can't be read, or its windows are not of time.
    pub fn completeness(&self) -> Result<Completeness, LedgerError> {
        Completeness::read(&self.dataset)
    }

    /// The same, with no more than this many windows, the newest ones.
    ///
    /// # Errors
    /// When an entry can't be read, or its windows are not of time.
    pub fn newest_windows(&self, windows_max: usize) -> Result<Completeness, LedgerError> {
        Completeness::newest(&self.dataset, windows_max)
    }

    /// How far every partition is: only the newest entries are read.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn frontier(&self) -> Result<Vec<PartitionFrontier>, LedgerError> {
        completeness::frontier(&self.dataset)
    }

    /// Whether no row was ever written.
    ///
    /// # Errors
    /// When the store can't tell.
    pub fn has_no_data(&self) -> Result<bool, LedgerError> {
        Ok(self.dataset.store().is_empty(Side::Data.folder())?)
    }

    /// The names of a side's published files, in order.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn published(&self, side: Side) -> Result<Vec<String>, LedgerError> {
        let mut names: Vec<String> = self.dataset.store().all_below(side.folder())?.into_iter().collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a file that the ledger names is in its place. A store that can't tell has none.
    pub fn is_in_place(&self, name: &str) -> bool {
        self.dataset.store().size(name).is_ok()
    }

    /// A file's content, for Parquet's readers.
    ///
    /// # Errors
    /// Also where it is no file.
    pub fn open(&self, name: &str) -> io::Result<Parts> {
        self.dataset.store().open_parts(name)
    }

    /// Where a file is, for people.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dataset.place(name)
    }
}
