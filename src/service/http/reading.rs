//! What answers read from datasets and definitions. All of it blocks.
//!
//! Windows are summed over the whole ledger. The rest reads no more than it shows: only the columns
//! and the rows that it needs, one row at a time, so that of several large values one is in memory.

use std::path::PathBuf;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::answer::TEXT_BYTES_MAX;
use super::view::{EntryView, FileView, RejectView, WindowView, time};
use crate::base::codes::{Code, Coded};
use crate::base::words::{beginning, cut};
use crate::ledger::{LedgerError, LedgerReader, State};
use crate::model::Pipeline;
use crate::model::Side;
use crate::settings::is_secret;

/// The beginning of a payload that is shown, in characters.
const PAYLOAD_CHARS: usize = 1024;

/// Entries that are looked at, the newest first: not every one has files, or rejects.
const ENTRIES_MAX: usize = 1_000;

/// Partitions that are named where they keep a window open.
const HELD_BACK_BY_MAX: usize = 20;

/// The columns of `rejects/` that are shown. Its keys and headers may be as large as payloads.
const REJECT_COLUMNS: [&str; 8] =
    ["_kafka_topic", "_kafka_partition", "_kafka_offset", "stage", "column", "rule", "reason", "payload"];

/// Why something can't be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot read {}: {reason}", path.display())]
    Rejects { path: PathBuf, reason: String },
    #[error("its windows are of rows; only windows of time are complete one day")]
    NoWindows,
}

impl Coded for ReadError {
    fn code(&self) -> Code {
        match self {
            ReadError::Ledger(error) => error.code(),
            ReadError::Rejects { .. } => Code::RejectsUnreadable,
            ReadError::NoWindows => Code::NoWindows,
        }
    }
}

pub(super) fn entries(pipeline: &Pipeline, limit: usize) -> Result<Vec<EntryView>, ReadError> {
    let newest = LedgerReader::of(&pipeline.folder())?.entries()?.take(limit);
    newest.map(|entry| Ok(EntryView::from(&entry?))).collect()
}

pub(super) fn files(pipeline: &Pipeline, limit: usize) -> Result<Vec<FileView>, ReadError> {
    let mut found = Vec::new();
    for entry in LedgerReader::of(&pipeline.folder())?.entries()?.take(ENTRIES_MAX) {
        found.extend(FileView::of(&entry?).take(limit - found.len()));
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// The newest rejects, those of the newest files first.
pub(super) fn rejects(pipeline: &Pipeline, limit: usize) -> Result<Vec<RejectView>, ReadError> {
    let ledger = LedgerReader::of(&pipeline.folder())?;
    let mut found = Vec::new();
    for entry in ledger.entries()?.take(ENTRIES_MAX) {
        for file in entry?.files.iter().filter(|file| file.side == Side::Rejects) {
            let skip = usize::try_from(file.rows).unwrap_or(usize::MAX).saturating_sub(limit - found.len());
            let unreadable =
                |error: ParquetError| ReadError::Rejects { path: ledger.place(&file.path), reason: error.to_string() };
            let opened = ledger.open(&file.path).map_err(|error| unreadable(error.into()))?;
            let mut newest = read_rejects(opened, skip).map_err(unreadable)?;
            newest.reverse();
            found.append(&mut newest);
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn read_rejects(file: impl ChunkReader + 'static, skip: usize) -> Result<Vec<RejectView>, ParquetError> {
    let rows = ParquetRecordBatchReaderBuilder::try_new(file)?.with_offset(skip);
    let shown = ProjectionMask::columns(rows.parquet_schema(), REJECT_COLUMNS);
    let mut found = Vec::new();
    // A large payload has a page of its own: with one row a batch, its page and its row are in
    // memory.
    for batch in rows.with_projection(shown).with_batch_size(1).build()? {
        let batch: RecordBatch = batch?;
        let missing = |name| ParquetError::General(format!("it has no column {name}"));
        let column = |name: &'static str| batch.column_by_name(name).ok_or_else(|| missing(name));
        let text = |name| Ok::<_, ParquetError>(column(name)?.as_string::<i32>());
        let (topics, stages, columns) = (text("_kafka_topic")?, text("stage")?, text("column")?);
        let (rules, reasons) = (text("rule")?, text("reason")?);
        let partitions = column("_kafka_partition")?.as_primitive::<Int32Type>();
        let offsets = column("_kafka_offset")?.as_primitive::<Int64Type>();
        let payloads = column("payload")?.as_binary::<i32>();
        let view = |row: usize| {
            let (payload, truncated) = beginning(payloads.value(row), PAYLOAD_CHARS);
            RejectView {
                topic: topics.value(row).to_owned(),
                partition: partitions.value(row),
                offset: offsets.value(row),
                stage: stages.value(row).to_owned(),
                column: columns.is_valid(row).then(|| columns.value(row).to_owned()),
                rule: rules.value(row).to_owned(),
                reason: cut(reasons.value(row), TEXT_BYTES_MAX).into_owned(),
                payload,
                payload_bytes: payloads.value(row).len(),
                truncated,
            }
        };
        found.extend((0..batch.num_rows()).map(view));
    }
    Ok(found)
}

/// The newest windows of time, the newest first.
pub(super) fn windows(pipeline: &Pipeline, limit: usize) -> Result<Vec<WindowView>, ReadError> {
    if !pipeline.window.kind().is_of_time() {
        return Err(ReadError::NoWindows);
    }
    let completeness = LedgerReader::of(&pipeline.folder())?.newest_windows(limit)?;
    let view = |window: crate::ledger::Window| WindowView {
        start: time(window.start_us),
        end: time(window.end_us),
        state: match window.state {
            State::Open => "open",
            State::Complete => "complete",
            State::Reopened => "reopened",
        },
        rows: window.rows,
        late: window.late,
        rejected: window.rejected,
        files: window.files.len(),
        held_back_by_partitions: window.held_back_by.len(),
        held_back_by: window.held_back_by.into_iter().take(HELD_BACK_BY_MAX).collect(),
    };
    Ok(completeness.windows.into_iter().rev().map(view).collect())
}

/// A definition as it was written, with what could be a secret masked.
pub(super) fn definition(pipeline: &Pipeline) -> serde_json::Value {
    let Ok(mut written) = pipeline.text.parse::<toml::Table>() else { return pipeline.text.clone().into() };
    if let Some(toml::Value::Table(client)) = written.get_mut("source").and_then(|source| source.get_mut("client")) {
        mask("", client);
    }
    serde_json::to_value(written).expect("TOML has no map with keys other than text")
}

/// A property may be written `"a.b" = …` or `a.b = …`.
fn mask(prefix: &str, properties: &mut toml::Table) {
    for (key, value) in properties.iter_mut() {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => mask(&format!("{name}."), inner),
            _ if is_secret(&name) => *value = "***".into(),
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_definition_are_masked() {
        let text = include_str!("../../../pipelines/air_quality.toml").to_owned()
            + r#"
[source.client]
"sasl.username" = "ana"
"sasl.password" = "planted-1"
ssl.keystore.password = "planted-2"
ssl.key.password = "planted-3"
"#;
        let pipeline = Pipeline::parse("a.toml", &text, &|_| None);
        let pipeline = pipeline.unwrap_or_else(|broken| panic!("{}", broken.plain_report()));
        let shown = definition(&pipeline).to_string();
        assert!(!shown.contains("planted"), "{shown}");
        assert!(shown.contains(r#""sasl.username":"ana""#) && shown.contains(r#""sasl.password":"***""#), "{shown}");
    }
}
