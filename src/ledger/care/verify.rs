//! Is the dataset what its ledger says, and nothing else? Reads everything, changes nothing, needs no Kafka.
//!
//! Damage is a [`Finding`], never an error; an error is a disk that can't be read. One chain's entries are read at a time,
//! and files in pieces; only the names of all files are held in memory. The trees are listed *before* the ledger is read:
//! what a running pipeline publishes is named by the ledger first, so it never looks unknown.
//!
//! It doesn't read the rows themselves: that each offset is there once follows from the checksum of the file that the
//! writer counted.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use crate::base::words::plural;
use crate::ledger::protocol::chain::Chain;
use crate::ledger::protocol::columns::{ColumnIdentity, Columns};
use crate::ledger::protocol::dataset::{Dataset, refuse_all_strange};
use crate::ledger::protocol::entry::{End, Entry, FileEntry};
use crate::ledger::protocol::error::LedgerError;
use crate::ledger::protocol::publish;
use crate::model::names;
use crate::model::names::hive;
use crate::model::{Class, Counts, Side};
use crate::store::StoreError;

/// What a dataset holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The dataset's folder.
    pub folder: PathBuf,
    /// Partitions that have a chain.
    pub partitions: u64,
    /// Entries read.
    pub entries: u64,
    /// Files that they name.
    pub files: u64,
    /// Rows in those files.
    pub rows: u64,
    /// Bytes in those files.
    pub bytes: u64,
    /// Records by class.
    #[serde(serialize_with = "Counts::report")]
    pub counts: Counts,
    /// Files of a newest entry that the next start will publish: they are safe in `staging/`.
    pub unpublished: Vec<String>,
    /// Other files in `staging/`: attempts under way, or left by a crash until a later start sweeps them.
    pub staged: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One difference between the ledger and the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of difference.
    pub kind: Kind,
    /// The file, relative to the dataset's folder.
    pub path: String,
    /// The entry that speaks of it, relative to the dataset's folder.
    pub entry: Option<String>,
    /// What the ledger says.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An entry is missing between two others.
    MissingEntry,
    /// An entry is not readable, or not where it says that it is.
    UnreadableEntry,
    /// A version of the columns is not readable.
    UnreadableColumns,
    /// An entry doesn't start where the one before it ends.
    BrokenRange,
    /// An entry's `previous` is not the checksum of the entry before it.
    OtherHistory,
    /// An entry's counts contradict its range or its files.
    Counts,
    /// A file is missing.
    MissingFile,
    /// A file has a name that the dataset can't have.
    Path,
    /// A file has another size.
    Size,
    /// A file has another content.
    Checksum,
    /// A file isn't Parquet.
    Parquet,
    /// A file has another number of rows.
    Rows,
    /// A file has other columns.
    Schema,
    /// A file that the ledger doesn't name, or a second time.
    UnknownFile,
    /// A chain ends before the backup's does; only `weir repair` finds it.
    ShorterThanBackup,
}

impl std::fmt::Display for Kind {
    /// For people; programs get the variant's name in snake case.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::MissingEntry => "missing entry",
            Kind::UnreadableEntry => "unreadable entry",
            Kind::UnreadableColumns => "unreadable columns",
            Kind::BrokenRange => "broken range",
            Kind::OtherHistory => "another history",
            Kind::Counts => "wrong counts",
            Kind::MissingFile => "missing file",
            Kind::Path => "impossible name",
            Kind::Size => "another size",
            Kind::Checksum => "another content",
            Kind::Parquet => "not Parquet",
            Kind::Rows => "another number of rows",
            Kind::Schema => "other columns",
            Kind::UnknownFile => "unknown file",
            Kind::ShorterThanBackup => "shorter than the backup",
        })
    }
}

/// Verifies the dataset in a folder.
///
/// # Errors
/// If the folder holds no dataset, or a file that is there can't be read.
pub fn verify(folder: &Path) -> Result<Report, LedgerError> {
    verify_dataset(Dataset::existing(folder)?)
}

/// Verifies a dataset, wherever it is.
pub(in crate::ledger) fn verify_dataset(dataset: Dataset) -> Result<Report, LedgerError> {
    let store = dataset.store();
    refuse_all_strange(store)?;
    let mut unknown = HashSet::new();
    for side in [Side::Data, Side::Rejects, Side::Late] {
        unknown.extend(store.all_below(side.folder())?);
    }
    let staged = store.list(names::STAGING)?.len() as u64;
    let report = Report { folder: dataset.folder().to_owned(), staged, ..Report::default() };
    let mut verifier = Verifier { report, unknown, named: HashSet::new(), rejects: None, dataset };
    for chain in verifier.chains()? {
        verifier.chain(&chain)?;
    }
    Ok(verifier.finish())
}

struct Verifier {
    dataset: Dataset,
    report: Report,
    /// Files in the trees that no entry has named so far.
    unknown: HashSet<String>,
    /// Files that an entry has named.
    named: HashSet<String>,
    /// The columns of the first rejects file: the others must have the same.
    rejects: Option<Vec<ColumnIdentity>>,
}

impl Verifier {
    /// Every chain that has a folder, in order.
    fn chains(&mut self) -> Result<Vec<Chain>, LedgerError> {
        let (chains, strange) = self.dataset.chains()?;
        match self.dataset.topics() {
            Err(
                ref error @ (LedgerError::Unreadable { ref path, .. }
                | LedgerError::Store(StoreError::Strange { ref path, .. })),
            ) => {
                let path = self.relative(path);
                self.find(Kind::UnreadableEntry, path, None, "a readable topic.json", &error.to_string());
            }
            topics => drop(topics?),
        }
        for path in strange {
            self.find(Kind::UnknownFile, path, None, "a partition's number", "this name");
        }
        self.columns()?;
        Ok(chains)
    }

    /// Every version of the columns can be read.
    fn columns(&mut self) -> Result<(), LedgerError> {
        let dataset = self.dataset.clone();
        for name in Columns::names(dataset.store())? {
            let found = match Columns::read(dataset.store(), &name) {
                Ok(columns) if columns.version > 0 || columns.identity() == dataset.identity().columns => continue,
                Ok(_) => "other columns than those of dataset.json".to_owned(),
                Err(error @ (LedgerError::Unreadable { .. } | LedgerError::Store(StoreError::Strange { .. }))) => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            self.find(Kind::UnreadableColumns, name, None, "the columns of this version", &found);
        }
        Ok(())
    }

    fn chain(&mut self, chain: &Chain) -> Result<(), LedgerError> {
        let listing = chain.listing()?;
        for name in &listing.strange {
            let path = format!("{}/{name}", chain.entries_prefix());
            self.find(Kind::UnknownFile, path, None, "entries and checkpoints only", "this file");
        }
        let every = self.dataset.every();
        let Some(last) = listing.last() else {
            return Ok(());
        };
        self.report.partitions += 1;
        let (mut reader, mut end, mut sequence) = (chain.reader(), None, 0);
        while sequence <= last {
            let covered = chain.is_covered(sequence)?;
            let name = if covered { chain.checkpoint_name(sequence / every) } else { chain.entry_name(sequence) };
            end = match reader.at(sequence) {
                Ok(Some(entry)) => Some(self.entry(chain, &entry, &name, end.as_ref(), sequence == last)?),
                Ok(None) => {
                    // As many as are missing together, which may be those of a whole checkpoint.
                    let next = chain.first_from(&listing, sequence)?.unwrap_or(last + 1);
                    let found = format!("entry {next} comes next");
                    self.find(Kind::MissingEntry, name, None, "entries without a hole", &found);
                    sequence = next.max(sequence + 1) - 1;
                    None
                }
                Err(error @ (LedgerError::Unreadable { .. } | LedgerError::Store(StoreError::Strange { .. }))) => {
                    self.report.entries += 1;
                    self.find(Kind::UnreadableEntry, name, None, "a readable entry", &error.to_string());
                    if covered {
                        // What follows in the file can't be read either.
                        sequence += every - 1 - sequence % every;
                        reader = chain.reader();
                    }
                    None
                }
                Err(error) => return Err(error),
            };
            sequence += 1;
        }
        Ok(())
    }

    /// Checks an entry that should follow `before`, and says what the next one should.
    fn entry(
        &mut self,
        chain: &Chain,
        entry: &Entry,
        name: &str,
        before: Option<&End>,
        newest: bool,
    ) -> Result<End, LedgerError> {
        self.report.entries += 1;
        match chain.follows(&entry.begin(), before) {
            Err(LedgerError::Broken { expected, found, .. }) => {
                let (expected, found) = (format!("from {expected}"), format!("from {found}"));
                self.find(Kind::BrokenRange, name.to_owned(), None, &expected, &found);
            }
            Err(LedgerError::Forked { expected, found, .. }) => {
                let (expected, found) = (format!("written after {expected}"), format!("written after {found}"));
                self.find(Kind::OtherHistory, name.to_owned(), None, &expected, &found);
            }
            followed => followed?,
        }
        self.counts(entry, name);
        for file in &entry.files {
            self.file(entry, name, file, newest)?;
        }
        Ok(entry.end())
    }

    fn counts(&mut self, entry: &Entry, name: &str) {
        self.report.counts += entry.counts;
        for (side, counted) in entry.counts.by_side() {
            let files = entry.files.iter().filter(|file| file.side == side);
            let rows = files.fold(0, |rows: u64, file| rows.saturating_add(file.rows));
            if rows != counted {
                let (expected, found) = (
                    format!("{} counted", plural(counted, "record")),
                    format!("{} in its files of {}/", plural(rows, "row"), side.folder()),
                );
                self.find(Kind::Counts, name.to_owned(), None, &expected, &found);
            }
        }
        let (total, offsets) =
            (entry.counts.total().saturating_add(entry.counts[Class::Lost]), entry.to.abs_diff(entry.from));
        if total > offsets {
            let expected = format!("at most {} from {} to {}", plural(offsets, "record"), entry.from, entry.to);
            self.find(Kind::Counts, name.to_owned(), None, &expected, &format!("{total}"));
        }
    }

    fn file(&mut self, entry: &Entry, name: &str, file: &FileEntry, newest: bool) -> Result<(), LedgerError> {
        self.report.files += 1;
        self.report.rows = self.report.rows.saturating_add(file.rows);
        self.report.bytes = self.report.bytes.saturating_add(file.bytes);
        self.unknown.remove(&file.path);
        if !self.named.insert(file.path.clone()) {
            self.find(Kind::UnknownFile, file.path.clone(), Some(name), "each file named once", "named a second time");
        }
        if let Some(expected) = wrong_place(&self.dataset, file) {
            self.find(Kind::Path, file.path.clone(), Some(name), &expected, "this path");
            return Ok(());
        }
        let store = self.dataset.store();
        // Looked for once more at the end, because a running pipeline may publish it meanwhile.
        let mut at = None;
        for place in [&file.path, &file.staged, &file.path] {
            if at.is_none() && store.exists(place)? {
                at = Some(place);
            }
        }
        match at {
            Some(at) if *at == file.path => self.content(entry, name, file, at),
            Some(_) if newest => {
                self.report.unpublished.push(file.path.clone());
                self.report.staged = self.report.staged.saturating_sub(1);
                self.content(entry, name, file, &file.staged)
            }
            Some(_) => {
                self.find(
                    Kind::MissingFile,
                    file.path.clone(),
                    Some(name),
                    "published, because a newer entry is there",
                    "staged only",
                );
                Ok(())
            }
            None => {
                self.find(Kind::MissingFile, file.path.clone(), Some(name), &plural(file.rows, "row"), "no file");
                Ok(())
            }
        }
    }

    /// Size, content, rows, columns: the first that differs explains those after it.
    fn content(&mut self, entry: &Entry, name: &str, file: &FileEntry, at: &str) -> Result<(), LedgerError> {
        let dataset = self.dataset.clone();
        let store = dataset.store();
        let mut find =
            |kind, expected: &str, found: &str| self.find(kind, file.path.clone(), Some(name), expected, found);
        match publish::check_size(store, entry, file, at) {
            Err(LedgerError::FileDiffers { expected, found, .. }) => {
                find(Kind::Size, &expected, &found);
                return Ok(());
            }
            Err(LedgerError::Store(StoreError::Strange { found, .. })) => {
                find(Kind::Size, &format!("a file of {} bytes", file.bytes), found);
                return Ok(());
            }
            _ => {}
        }
        let found = store.sha256(at)?;
        if found != file.sha256 {
            find(Kind::Checksum, &file.sha256, &found);
            return Ok(());
        }
        let opened = store.open_parts(at).map_err(StoreError::io("open", store.place(at)))?;
        let parquet = match ParquetRecordBatchReaderBuilder::try_new(opened) {
            Ok(parquet) => parquet,
            Err(error) => {
                find(Kind::Parquet, "a Parquet file", &error.to_string());
                return Ok(());
            }
        };
        let rows = parquet.metadata().file_metadata().num_rows();
        if u64::try_from(rows) != Ok(file.rows) {
            find(Kind::Rows, &plural(file.rows, "row"), &plural(rows.unsigned_abs(), "row"));
        }
        self.schema(name, file, ColumnIdentity::of(parquet.schema()));
        Ok(())
    }

    fn schema(&mut self, name: &str, file: &FileEntry, found: Vec<ColumnIdentity>) {
        let fixed = self.dataset.columns(file.side);
        let expected = fixed.unwrap_or_else(|| self.rejects.get_or_insert_with(|| found.clone()).clone());
        if expected != found {
            self.find(Kind::Schema, file.path.clone(), Some(name), &describe(&expected), &describe(&found));
        }
    }

    fn finish(mut self) -> Report {
        let mut unknown: Vec<String> = self.unknown.drain().collect();
        unknown.sort();
        for path in unknown {
            self.find(Kind::UnknownFile, path, None, "files that the ledger names", "a file that no entry names");
        }
        self.report
    }

    fn find(&mut self, kind: Kind, path: String, entry: Option<&str>, expected: &str, found: &str) {
        let (entry, expected, found) = (entry.map(str::to_owned), expected.to_owned(), found.to_owned());
        self.report.findings.push(Finding { kind, path, entry, expected, found });
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.dataset.folder()).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// Where a file's path should be, if it isn't there: below its tree, under the dataset's hive keys.
pub(in crate::ledger) fn wrong_place(dataset: &Dataset, file: &FileEntry) -> Option<String> {
    let plain = |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let parts: Vec<&str> = file.path.split('/').collect();
    let [side, keys @ .., _] = parts.as_slice() else {
        return Some("a path in a tree".to_owned());
    };
    if *side != file.side.folder() || !plain(&file.path) || !plain(&file.staged) {
        return Some(format!("a path in {}/", file.side.folder()));
    }
    // What was refused has no value to be sorted by.
    let wanted: &[String] = if file.side == Side::Rejects { &[] } else { &dataset.identity().partition_by };
    let is_of = |(part, key): (&&str, &String)| hive::parse(part).is_some_and(|(name, _)| name == key);
    let same = keys.len() == wanted.len() && keys.iter().zip(wanted).all(is_of);
    (!same).then(|| format!("folders by {wanted:?}"))
}

fn describe(columns: &[ColumnIdentity]) -> String {
    columns.iter().map(|column| format!("{} {}", column.name, column.kind)).collect::<Vec<_>>().join(", ")
}
