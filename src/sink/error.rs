//! What can go wrong while rows become files: always the environment, never a record.

use std::io;
use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::base::codes::{Code, Coded};
use crate::flow::lane::LaneError;

/// Why a lane's files can't be written. It ends the lane, and what that had open is removed with it.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The staged file can't be made.
    #[error("cannot create {}: is the dataset's folder there, and writable?", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The staged file can't be written.
    #[error("cannot write {}: is the disk full?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        #[source]
        source: ParquetError,
    },
    /// Rows can't be divided among their hive keys.
    #[error("cannot divide rows by their hive keys")]
    Split {
        /// What the kernel said.
        #[from]
        source: ArrowError,
    },
    /// `partition_by` names a column that the rows don't have.
    #[error("sink.partition_by names `{name}`, which is no column")]
    NoSuchKey {
        /// The key.
        name: String,
    },
    /// A hive key's type has no one text.
    #[error("sink.partition_by names `{name}`, a {kind}: a key is a string, an integer, a bool or a date")]
    KeyType {
        /// The key.
        name: String,
        /// Its column's type.
        kind: DataType,
    },
    /// A hive key's name can't be a folder's.
    #[error(
        "sink.partition_by names `{name}`, which some readers could not see: a key's name has letters, digits, `-`, `_` \
         and `.`, begins with a letter or digit, and has {max} bytes at the most; give the column another name, and `from`"
    )]
    KeyName {
        /// The key.
        name: String,
        /// The limit.
        max: usize,
    },
    /// A hive key has a value that its folder's name can't have.
    #[error(
        "a folder of the hive key `{name}` can't be named {value:?}; this is a bug in weir, which should have rejected the record"
    )]
    KeyValue {
        /// The key.
        name: String,
        /// How its value begins.
        value: String,
    },
    /// More hive keys than a path has room for.
    #[error("sink.partition_by names {count} columns: {max} at the most")]
    TooManyKeys {
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
    },
}

impl Coded for SinkError {
    fn code(&self) -> Code {
        match self {
            SinkError::Create { .. } => Code::FileNotCreated,
            SinkError::Write { .. } => Code::FileNotWritten,
            SinkError::Split { .. } => Code::RowsNotDivided,
            SinkError::NoSuchKey { .. } => Code::KeyNoColumn,
            SinkError::KeyType { .. } => Code::KeyType,
            SinkError::KeyName { .. } => Code::KeyName,
            SinkError::KeyValue { .. } => Code::KeyValue,
            SinkError::TooManyKeys { .. } => Code::TooManyKeys,
        }
    }
}

impl From<SinkError> for LaneError {
    fn from(error: SinkError) -> Self {
        LaneError::Files(Box::new(error))
    }
}
