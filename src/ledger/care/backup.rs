//! A copy of a dataset, taken while it may be written to.
//!
//! Entries are never changed, and neither are the files that they name; so a chain up to some entry, and its files, are a
//! dataset as a start would find it. The copy has each chain up to the entry that was its newest when it was read: partitions
//! don't wait for each other, so they need not be of one moment. What the newest entry has still in `staging/` is published
//! in the copy.
//!
//! `ledger/dataset.json` comes last, after everything else is durable: without it the folder is no dataset, so that a
//! backup that was interrupted is never taken for one.
//!
//! On the same filesystem a data file is linked, which costs no space: that keeps it from being deleted with the dataset, not
//! from a broken disk. The ledger is always copied.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::verify::wrong_place;
use crate::base::codes::{Code, Coded};
use crate::ledger::protocol::chain::Chain;
use crate::ledger::protocol::columns::Columns;
use crate::ledger::protocol::dataset::{DATASET_FILE, Dataset, PIPELINES, PREFIXES, refuse_all_strange, topic_name};
use crate::ledger::protocol::entry::{Entry, FileEntry};
use crate::ledger::protocol::error::LedgerError;
use crate::ledger::protocol::publish;
use crate::model::names;
use crate::store::{Local, New, Readers, Store, StoreError};

/// What a backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Its folder.
    pub folder: PathBuf,
    /// Partitions.
    pub partitions: u64,
    /// Entries.
    pub entries: u64,
    /// Files of rows.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that are links: they have no bytes of their own.
    pub linked: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The dataset can't be read, or the copy can't be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something is there already.
    #[error(
        "{} is not empty. A backup begins with nothing, so that it holds nothing else: name a new folder for each one",
        .folder.display()
    )]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// One would hold the other.
    #[error("{} and {} are one inside the other; name a folder outside the dataset", .dataset.display(), .folder.display())]
    Inside {
        /// The dataset's folder.
        dataset: PathBuf,
        /// The backup's folder.
        folder: PathBuf,
    },
    /// The dataset isn't whole.
    #[error(
        "{} is not what entry {sequence} of {chain} names: expected {expected}, found {found}. A copy of a damaged dataset is \
         no backup: `weir verify FILE` lists all that is wrong, and `weir repair FILE` mends what can be mended. {} has no \
         dataset.json and can be deleted",
        .path.display(), .folder.display()
    )]
    Damaged {
        /// `topic:partition`.
        chain: String,
        /// The entry's number.
        sequence: u64,
        /// The file.
        path: PathBuf,
        /// What the ledger says.
        expected: String,
        /// What is there.
        found: String,
        /// The unfinished backup.
        folder: PathBuf,
    },
}

impl Coded for BackupError {
    fn code(&self) -> Code {
        match self {
            BackupError::Ledger(error) => error.code(),
            BackupError::NotEmpty { .. } => Code::BackupNotEmpty,
            BackupError::Inside { .. } => Code::BackupInside,
            BackupError::Damaged { .. } => Code::BackupDamaged,
        }
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Ledger(error.into())
    }
}

/// Copies the dataset of a folder to another one, which must be empty or not there. Files are linked where that is possible,
/// unless `copies` are wanted. Blocks.
///
/// # Errors
/// When the dataset isn't whole or a disk fails. What is in the folder then is no dataset.
pub fn backup(dataset: &Path, folder: &Path, copies: bool) -> Result<Backup, BackupError> {
    let from = Dataset::existing(dataset)?;
    refuse_all_strange(from.store())?;
    let to = Local::new(folder)?;
    let folder = to.place("");
    if !to.is_apart_from(&Local::new(dataset)?) {
        return Err(BackupError::Inside { dataset: from.folder().to_owned(), folder });
    }
    if !to.list("")?.is_empty() {
        return Err(BackupError::NotEmpty { folder });
    }
    to.make_ready(&PREFIXES)?;
    let report = Backup { folder, ..Backup::default() };
    let mut copy = Copy { from, to: Box::new(to), links: !copies, report, unsettled: BTreeSet::new() };
    let mut tips = Vec::new();
    for chain in copy.from.chains()?.0 {
        if let Some(sequence) = copy.files(&chain)? {
            tips.push((chain, sequence));
        }
    }
    copy.settle()?;
    for (chain, sequence) in &tips {
        copy.entries(chain, *sequence)?;
    }
    copy.definitions()?;
    copy.settle()?;
    copy.finish()?;
    Ok(copy.report)
}

/// A backup on its way.
struct Copy {
    from: Dataset,
    to: Box<dyn Store>,
    /// Whether files are linked; no more once that was not possible.
    links: bool,
    report: Backup,
    /// Files that are not durable yet; neither are their names.
    unsettled: BTreeSet<String>,
}

impl Copy {
    /// The files of a chain, and the number of its newest entry when it was read; none if it has no entry.
    fn files(&mut self, chain: &Chain) -> Result<Option<u64>, BackupError> {
        let mut newest = None;
        for entry in chain.all()? {
            let entry = entry?;
            // Before anything is made: a path that was edited must not lead out of the backup.
            if let Some((file, expected)) =
                entry.files.iter().find_map(|file| Some((file, wrong_place(&self.from, file)?)))
            {
                return Err(self.damaged(&entry, file, expected, format!("the path {}", file.path)));
            }
            self.to.make_room(publish::published(&entry).collect()).of_all(publish::published(&entry))?;
            for file in &entry.files {
                self.file(&entry, file)?;
            }
            newest = Some(entry.sequence);
        }
        self.report.partitions += u64::from(newest.is_some());
        Ok(newest)
    }

    fn file(&mut self, entry: &Entry, file: &FileEntry) -> Result<(), BackupError> {
        let to = &file.path;
        // Looked for once more at the end, because a running pipeline may publish it meanwhile.
        let mut linked = None;
        for source in [&file.path, &file.staged, &file.path] {
            linked = self.share_or_copy(source, to)?;
            if linked.is_some() {
                break;
            }
        }
        let Some(linked) = linked else {
            return Err(self.damaged(entry, file, format!("{} bytes", file.bytes), "no file".to_owned()));
        };
        match publish::check_whole(&*self.to, entry, file, to) {
            Err(LedgerError::FileDiffers { expected, found, .. }) => {
                return Err(self.damaged(entry, file, expected, found));
            }
            checked => checked?,
        }
        self.unsettled.insert(to.clone());
        self.report.files += 1;
        self.report.rows += file.rows;
        self.report.bytes += file.bytes;
        self.report.linked += u64::from(linked);
        Ok(())
    }

    fn damaged(&self, entry: &Entry, file: &FileEntry, expected: String, found: String) -> BackupError {
        BackupError::Damaged {
            chain: format!("{}:{}", entry.topic, entry.partition),
            sequence: entry.sequence,
            path: self.from.place(&file.path),
            expected,
            found,
            folder: self.report.folder.clone(),
        }
    }

    /// A chain's entries up to this number; those that have folded, in their checkpoints.
    fn entries(&mut self, chain: &Chain, newest: u64) -> Result<(), BackupError> {
        self.to.make_room_for(&chain.entry_name(0))?;
        let every = self.from.every();
        let (mut reader, mut sequence, mut folded) = (chain.reader(), 0, true);
        while sequence <= newest {
            // One after entries that are in none would leave a hole.
            folded &= sequence + every <= newest + 1 && chain.is_covered(sequence)?;
            if folded {
                let name = chain.checkpoint_name(sequence / every);
                self.to.copy_from(self.from.store(), &name, &name)?;
                self.unsettled.insert(name);
                sequence += every;
            } else {
                let hole = || chain.hole(&chain.entry_name(sequence), newest);
                let line = reader.stored(sequence)?.ok_or_else(hole)?.line();
                self.write(chain.entry_name(sequence), &line, Readers::All)?;
                sequence += 1;
            }
        }
        self.report.entries += newest + 1;
        Ok(())
    }

    /// Topics, pipeline files and columns.
    fn definitions(&mut self) -> Result<(), BackupError> {
        for topic in self.from.topics()? {
            let name = topic_name(&topic.topic, &topic.topic_id);
            self.to.make_room_for(&name)?;
            let content = self.from.store().read(&name)?;
            self.write(name, &content, Readers::All)?;
        }
        for name in Columns::names(self.from.store())? {
            let content = self.from.store().read(&name)?;
            self.write(name, &content, Readers::All)?;
        }
        for name in self.from.store().list(PIPELINES)? {
            let name = format!("{PIPELINES}/{name}");
            let content = self.from.store().read(&name)?;
            self.write(name, &content, Readers::Owner)?;
        }
        Ok(())
    }

    /// From here on it is a dataset.
    fn finish(&self) -> Result<(), BackupError> {
        let content = self.from.store().read(DATASET_FILE)?;
        let temporary = &format!("{}/dataset.tmp", names::STAGING);
        let new = New { name: DATASET_FILE, temporary, content: &|| content.clone(), readers: Readers::All };
        Ok(self.to.create_if_absent(&new)?)
    }

    fn write(&mut self, name: String, content: &[u8], readers: Readers) -> Result<(), LedgerError> {
        self.to.write(&name, content, readers)?;
        self.unsettled.insert(name);
        Ok(())
    }

    /// Makes what was written so far durable, and its names.
    fn settle(&mut self) -> Result<(), LedgerError> {
        let files = std::mem::take(&mut self.unsettled);
        self.to.make_durable(files.clone(), BTreeSet::new()).of_all(files.clone())?;
        Ok(self.to.settle(files.clone()).of_all(files)?)
    }

    /// Whether its bytes are shared; none if there is no such file.
    fn share_or_copy(&mut self, from: &str, to: &str) -> Result<Option<bool>, LedgerError> {
        if self.links {
            match self.to.share(self.from.store(), from, to) {
                Ok(()) => return Ok(Some(true)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::io("link", self.to.place(to))(error).into());
                }
                // Another filesystem or store, or one without links, or one that has no more of them for this file.
                Err(_) => self.links = false,
            }
        }
        match self.to.copy_from(self.from.store(), from, to) {
            Err(error) if error.is_not_found() => Ok(None),
            copied => Ok(copied.map(|()| Some(false))?),
        }
    }
}
