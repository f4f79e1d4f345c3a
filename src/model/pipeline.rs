//! A pipeline definition, typed: what the TOML file says after parsing, defaults and checks.
//!
//! Everything here is plain data that every stage may read, and every default stands in this file,
//! once. Reading a file into it, with the position of each mistake and advice, is `parse.rs`'s
//! work; [`Pipeline::load`] starts there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::{DateTime, datetime};
use jiff::tz::TimeZone;
use regex::Regex;

use crate::model::window::{Late, Window};

/// One pipeline: where records come from, what columns they become, how they are grouped, and where
/// they go.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Letters, digits, `-` and `_`; names the dataset's folder and, by default, the consumer
    /// group.
    pub name: String,
    /// Where records come from.
    pub source: Source,
    /// The schema of every file, in the file's order.
    pub columns: Vec<Column>,
    /// How records are checked beyond their columns' own rules.
    pub validate: Validate,
    /// How rows are grouped.
    pub window: Window,
    /// Where rows go.
    pub sink: Sink,
    /// SHA-256 (hex) of `text`: of nothing secret, so that no secret can be guessed from it.
    pub hash: String,
    /// SHA-256 (hex) over the definition and every value that was filled in: another one means that
    /// a password was changed, though the file is the same. Only fingerprints of one process can be
    /// compared.
    pub fingerprint: String,
    /// The definition as written: variables are not filled in, and secrets that stand in it are
    /// stars. This is what `ledger/pipelines/` keeps.
    pub text: String,
    /// SHA-256 (hex) of `resolved`.
    pub resolved_hash: String,
    /// The definition as it was understood, its variables filled in: a pipeline file that judges
    /// any record as this one does. The connection, and with it secrets, are left out.
    /// `ledger/pipelines/` keeps it, too.
    pub resolved: String,
    /// The file that it was read from, as it was named: for commands that messages name.
    pub file: PathBuf,
}

impl Pipeline {
    /// The dataset's folder.
    pub fn folder(&self) -> PathBuf {
        self.sink.path.join(&self.name)
    }

    /// Why this pipeline and another one can't run together: they would write one dataset, or one
    /// inside the other, or they are in one group.
    pub fn clash(&self, other: &Pipeline) -> Option<String> {
        let absolute = |pipeline: &Pipeline| {
            let folder = pipeline.folder();
            std::path::absolute(&folder).unwrap_or(folder)
        };
        let (ours, theirs) = (absolute(self), absolute(other));
        let (name, other_name) = (&self.name, &other.name);
        if ours.starts_with(&theirs) || theirs.starts_with(&ours) {
            let (ours, theirs) = (ours.display(), theirs.display());
            return Some(format!(
                "{name:?} and {other_name:?} would write one dataset, or one inside the other ({ours} and {theirs}); change sink.path \
                 or the name of one"
            ));
        }
        let group = &self.source.group;
        (*group == other.source.group).then(|| {
            format!("{name:?} and {other_name:?} use the same consumer group {group:?}; give one another source.group")
        })
    }
}

/// `[source]`: a Kafka consumer.
#[derive(Clone)]
pub struct Source {
    /// `bootstrap.servers`: host:port, several separated by commas.
    pub brokers: String,
    /// Topics to read, each name spelled out.
    pub topics: Vec<String>,
    /// How a record's value is encoded.
    pub format: Format,
    /// Where a partition starts when its ledger is empty.
    pub start: Start,
    /// Consumer group; `weir-<name>` unless given.
    pub group: String,
    /// How many consumers of the group run in this process; none for as many as suit its cores.
    pub consumers: Option<usize>,
    /// librdkafka properties from `[source.client]`, already checked against the ones that weir
    /// owns.
    pub client: BTreeMap<String, String>,
}

/// The client's properties hold passwords: only their names are shown.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("format", &self.format)
            .field("start", &self.start)
            .field("group", &self.group)
            .field("consumers", &self.consumers)
            .field("client", &self.client.keys())
            .finish()
    }
}

/// How a record's value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a record.
    Json,
}

/// Where a partition starts when its ledger is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first record that the broker still has.
    Earliest,
    /// The end of the partition when the pipeline first starts.
    Latest,
    /// The first record whose Kafka timestamp is at or after this, in milliseconds since 1970.
    Timestamp(i64),
    /// The group's committed offset: takes an existing consumer group over.
    Committed,
}

/// One column of the dataset, and how its value is found and checked in a record.
#[derive(Debug, Clone)]
pub struct Column {
    /// The column's name in the Parquet files.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Where in the record the value stands: a top-level field's name, or the steps of a JSON
    /// pointer.
    pub from: Vec<String>,
    /// Whether a record without a value (absent, null or `missing`) is rejected.
    pub required: bool,
    /// The value where a record has none (absent, null or `missing`); of the column's type.
    pub default: Option<Value>,
    /// Values that mean "no value"; compared after decoding.
    pub missing: Vec<Value>,
    /// Smallest value allowed.
    pub min: Option<Value>,
    /// Largest value allowed.
    pub max: Option<Value>,
    /// The only values allowed, when not empty.
    pub one_of: Vec<Value>,
    /// A pattern that strings must match (anywhere, unless it is anchored).
    pub pattern: Option<Regex>,
    /// Longest string allowed, in characters.
    pub max_length: Option<usize>,
    /// Whether text may become a number, and a number whose fraction is zero an integer.
    pub coerce: bool,
}

/// A column's type, with what is needed to read it.
#[derive(Debug, Clone)]
pub enum ColumnType {
    /// UTF-8 text, Arrow `Utf8`.
    String,
    /// `true` or `false`.
    Bool,
    /// Signed integers of 8, 16, 32 or 64 bits.
    Int(u8),
    /// Unsigned integers of 8, 16, 32 or 64 bits.
    Uint(u8),
    /// Floating point of 32 or 64 bits.
    Float(u8),
    /// An instant, Arrow `Timestamp(Microsecond, "UTC")`.
    Timestamp(TimestampFormat),
    /// Days since 1970, read from `YYYY-MM-DD` unless a format is given; Arrow `Date32`.
    Date(Option<String>),
    /// Any JSON value kept as its text, Arrow `Utf8`.
    Json,
}

/// How an instant is written in a record.
#[derive(Debug, Clone)]
pub struct TimestampFormat {
    /// Text or number.
    pub encoding: TimeEncoding,
    /// The zone of text that names none.
    pub zone: Option<Zone>,
    /// What happens to a local time that a daylight-saving change skips.
    pub gap: LocalTimePolicy,
    /// What happens to a local time that a daylight-saving change repeats.
    pub fold: LocalTimePolicy,
}

/// How an instant is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeEncoding {
    /// RFC 3339 text; the offset may be missing only when the column has a zone.
    Rfc3339,
    /// Text in a strptime format.
    Strptime(String),
    /// A number of seconds since 1970 (a fraction is allowed).
    UnixSeconds,
    /// A whole number of milliseconds since 1970.
    UnixMillis,
    /// A whole number of microseconds since 1970.
    UnixMicros,
    /// A whole number of nanoseconds since 1970, cut to microseconds.
    UnixNanos,
}

/// A zone for text that has none.
#[derive(Debug, Clone)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A name of the IANA time zone database.
    Named(jiff::tz::TimeZone),
}

/// What happens to a local time that doesn't exist, or that exists twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalTimePolicy {
    /// The record is rejected: nothing is guessed.
    Reject,
    /// The earlier instant of the two candidates.
    Earlier,
    /// The later instant of the two candidates.
    Later,
}

/// A value of a column's type, as a definition writes it in `default`, `missing`, `min`, `max` and
/// `one_of`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For `string` and `json`.
    Text(String),
    /// For `bool`.
    Bool(bool),
    /// For integers; wide enough for both signed and unsigned.
    Int(i128),
    /// For floating point.
    Float(f64),
    /// For timestamps, microseconds since 1970 UTC.
    Micros(i64),
    /// For dates, days since 1970.
    Days(i32),
}

/// `[validate]`: checks beyond the columns' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validate {
    /// What happens to fields that no column reads.
    pub unknown_fields: UnknownFields,
}

/// What happens to fields of a record that no column reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are left out.
    Ignore,
    /// The record is rejected, if it has one at the top level.
    Reject,
    /// They are kept as one JSON object's text in the column `_extra`, nested as they were.
    Keep,
}

/// `[sink]`: the Parquet dataset.
#[derive(Debug, Clone)]
pub struct Sink {
    /// The folder that holds the dataset's folder; relative to where weir is started.
    pub path: PathBuf,
    /// Columns that become `key=value` folders instead of columns of the files.
    pub partition_by: Vec<String>,
    /// Files of a lane that have a row group on disk while more rows come for them; those whose
    /// rows all wait in memory don't count.
    pub max_keys: usize,
    /// Codec of the column chunks.
    pub compression: parquet::basic::Compression,
    /// Rows a row group at the most.
    pub row_group_rows: usize,
    /// When a file ends.
    pub roll: Roll,
}

/// When a file ends: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// Windows a file.
    pub windows: u64,
    /// Rows a file, when given.
    pub rows: Option<u64>,
    /// Bytes a file, as written so far.
    pub bytes: u64,
    /// Wall-clock age of the oldest uncommitted record.
    pub age: Duration,
}

/// Defaults of everything that may be left out.
pub mod defaults {
    use super::*;
    /// `source.start`
    pub const START: Start = Start::Earliest;
    /// `source.group` of a pipeline of this name
    pub fn group(name: &str) -> String {
        format!("weir-{name}")
    }
    /// `validate.unknown_fields`
    pub const UNKNOWN_FIELDS: UnknownFields = UnknownFields::Ignore;
    /// `window.time_zone` of windows of time: UTC
    pub fn window_zone() -> TimeZone {
        TimeZone::UTC
    }
    /// `window.origin`: a Thursday
    pub const ORIGIN: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);
    /// `window.out_of_order`, in microseconds
    pub const OUT_OF_ORDER: i64 = 0;
    /// `window.late`
    pub const LATE: Late = Late::Side;
    /// `window.max_ahead`, in microseconds
    pub const MAX_AHEAD: i64 = 3_600_000_000;
    /// A timestamp column's `nonexistent` and `ambiguous`
    pub const LOCAL_TIME_POLICY: LocalTimePolicy = LocalTimePolicy::Reject;
    /// `sink.max_keys`
    pub const MAX_KEYS: usize = 1000;
    /// `sink.row_group_rows`
    pub const ROW_GROUP_ROWS: usize = 131_072;
    /// `sink.compression`: the text that is parsed
    pub const COMPRESSION: &str = "zstd";
    /// The level of `zstd` alone.
    pub const ZSTD_LEVEL: u8 = 3;
    /// The level of `gzip` alone.
    pub const GZIP_LEVEL: u8 = 6;
    /// `sink.roll`
    pub const ROLL: Roll = Roll { windows: 100, rows: None, bytes: 128 << 20, age: Duration::from_secs(60) };
    /// `sink.path`
    pub const SINK_PATH: &str = "processed_data";
}
