//! What a Parquet file says of itself, and whether a ledger agrees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use serde::Serialize;

use crate::base::codes::{Code, Coded};
use crate::ledger::protocol::columns::ColumnIdentity;
use crate::ledger::protocol::dataset::{DATASET_FILE, Dataset};
use crate::ledger::protocol::entry::{Entry, FileEntry};
use crate::ledger::protocol::error::LedgerError;
use crate::model::names;
use crate::store::{Local, Store as _, StoreError};

/// No chain has a higher number; what says so was not written by weir.
const SEQUENCE_MAX: u64 = 1 << 62;

/// How the keys of a receipt begin.
const PREFIX: &str = "weir.";

/// A file, and what its ledger says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// Row groups in it.
    pub row_groups: usize,
    /// What wrote it.
    pub written_by: Option<String>,
    /// What its footer says under keys that begin with `weir.`, by the rest of the key.
    pub receipt: BTreeMap<String, String>,
    /// Its columns, in order.
    pub columns: Vec<InspectedColumn>,
    /// What was compared; none where no ledger was found.
    pub ledger: Option<Compared>,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedColumn {
    /// Parquet's `field_id`.
    pub id: Option<i32>,
    /// Its name and type.
    #[serde(flatten)]
    pub column: ColumnIdentity,
}

/// What a ledger says of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The dataset's folder.
    pub folder: PathBuf,
    /// What differs.
    pub differences: Vec<String>,
}

/// Why a file can't be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It, or the ledger, can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It isn't Parquet.
    #[error("{} is not a Parquet file, or is cut: {reason}", .path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// What Parquet's reader says.
        reason: String,
    },
}

impl Coded for InspectError {
    fn code(&self) -> Code {
        match self {
            InspectError::Ledger(error) => error.code(),
            InspectError::NotParquet { .. } => Code::NotParquet,
        }
    }
}

impl From<StoreError> for InspectError {
    fn from(error: StoreError) -> InspectError {
        InspectError::Ledger(error.into())
    }
}

/// Reads a file's footer, hashes it, and compares it with the ledger of `dataset`; where none is
/// given, of the dataset that it is in by its own path. Nothing is changed.
///
/// # Errors
/// When the file or the ledger can't be read.
pub fn inspect(file: &Path, dataset: Option<&Path>) -> Result<Inspection, InspectError> {
    // By the path that it really has: it is compared with the one in the footer.
    let file = file.canonicalize().map_err(StoreError::io("read", file))?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let store = Local::new(folder)?;
    let (bytes, sha256) = (store.size(&name)?, store.sha256(&name)?);
    let parts = store.open_parts(&name).map_err(StoreError::io("read", &file))?;
    let read = ArrowReaderMetadata::load(&parts, ArrowReaderOptions::new());
    let read = read.map_err(|error| InspectError::NotParquet { path: file.clone(), reason: error.to_string() })?;
    let footer = read.metadata().file_metadata();
    let notes = footer.key_value_metadata().into_iter().flatten();
    let receipt: BTreeMap<String, String> =
        notes.filter_map(|note| Some((note.key.strip_prefix(PREFIX)?.to_owned(), note.value.clone()?))).collect();
    let ids = footer.schema_descr().root_schema().get_fields().iter().map(|field| {
        let info = field.get_basic_info();
        info.has_id().then(|| info.id())
    });
    let columns = ids.zip(ColumnIdentity::of(read.schema()));
    let columns = columns.map(|(id, column)| InspectedColumn { id, column });
    let mut inspection = Inspection {
        bytes,
        sha256,
        rows: footer.num_rows().unsigned_abs(),
        row_groups: read.metadata().num_row_groups(),
        written_by: footer.created_by().map(str::to_owned),
        columns: columns.collect(),
        receipt,
        ledger: None,
        file,
    };
    let is_dataset = |folder: &&Path| folder.join(DATASET_FILE).is_file();
    let around = || inspection.file.ancestors().skip(1).find(is_dataset).map(Path::to_owned);
    if let Some(folder) = dataset.map(Path::to_owned).or_else(around) {
        inspection.ledger = Some(inspection.compare(&Dataset::existing(&folder)?)?);
    }
    Ok(inspection)
}

impl Inspection {
    fn compare(&self, dataset: &Dataset) -> Result<Compared, LedgerError> {
        let mut differences = Vec::new();
        let folder = dataset.folder().to_owned();
        if let Some(other) = self.receipt.get("dataset").filter(|id| *id != dataset.id()) {
            differences
                .push(format!("the file is of the dataset with the id {other}, and this one's is {}", dataset.id()));
            return Ok(Compared { folder, differences });
        }
        let inside = folder.canonicalize().ok().and_then(|folder| self.file.strip_prefix(folder).ok());
        if let (Some(inside), Some(path)) = (inside, self.receipt.get("path"))
            && inside != Path::new(path)
        {
            differences.push(format!("the file should be at {path}, and is at {}", inside.display()));
        }
        match self.entry(dataset)? {
            Ok((entry, file)) => self.differences(&entry, &file, &mut differences),
            Err(missing) => differences.push(missing),
        }
        Ok(Compared { folder, differences })
    }

    /// The entry that names it, or why there is none.
    fn entry(&self, dataset: &Dataset) -> Result<Result<(Entry, FileEntry), String>, LedgerError> {
        let said = |key: &str| self.receipt.get(key);
        // Files from before receipts say it in their names only.
        let name = said("path").and_then(|path| names::published(path.rsplit('/').next()?));
        let sequence = said("sequence").and_then(|text| text.parse().ok()).filter(|number| *number <= SEQUENCE_MAX);
        let sequence = sequence.or(name.map(|(_, _, sequence)| sequence));
        let partition = said("partition").and_then(|text| text.parse().ok());
        let (Some(path), Some(topic), Some(partition), Some(sequence)) =
            (said("path"), said("topic"), partition, sequence)
        else {
            return Ok(Err("the footer doesn't say which entry names the file: weir did not write it".to_owned()));
        };
        let topics = dataset.topics()?;
        let known = topics.into_iter().find(|known| known.topic == *topic).map(|known| known.topic_id);
        let Some(topic_id) = said("topic_id").cloned().or(known) else {
            return Ok(Err(format!("the dataset has nothing of the topic {topic}")));
        };
        let chain = dataset.chain(topic, &topic_id, partition);
        let Some(entry) = chain.read(sequence)? else {
            return Ok(Err(format!("the ledger of {chain} has no entry {sequence}")));
        };
        match entry.files.iter().find(|file| file.path == *path).cloned() {
            Some(file) => Ok(Ok((entry, file))),
            None => Ok(Err(format!("entry {sequence} of {chain} doesn't name {path}"))),
        }
    }

    fn differences(&self, entry: &Entry, file: &FileEntry, found: &mut Vec<String>) {
        let mut compare = |what: &str, ledger: Option<String>, here: Option<String>| {
            // One of them may have been written before the field existed.
            if let (Some(ledger), Some(here)) = (ledger, here)
                && ledger != here
            {
                found.push(format!("{what}: the ledger says {ledger}, the file {here}"));
            }
        };
        let said = |key: &str| self.receipt.get(key).cloned();
        compare("previous", entry.previous.clone(), said("previous"));
        compare("definition", entry.definition.clone(), said("definition"));
        compare("first_offset", file.offsets.map(|(first, _)| first.to_string()), said("first_offset"));
        compare("last_offset", file.offsets.map(|(_, last)| last.to_string()), said("last_offset"));
        compare("rows", Some(file.rows.to_string()), Some(self.rows.to_string()));
        compare("bytes", Some(file.bytes.to_string()), Some(self.bytes.to_string()));
        compare("SHA-256", Some(file.sha256.clone()), Some(self.sha256.clone()));
    }
}
