//! What answers read from datasets and definitions. All of it blocks, and reads no more than it shows.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::view::{EntryView, FileView, RejectView, WindowView, time};
use crate::cli::shorten;
use crate::ledger::{Completeness, Dataset, Side, State};
use crate::settings::Pipeline;
use crate::settings::pipeline::Window;

/// The beginning of a payload that is shown, in characters.
const PAYLOAD_CHARS: usize = 1024;

/// Words in the names of properties whose values are secrets.
const SECRET_WORDS: [&str; 6] = ["password", "secret", "token", "pem", "passphrase", "oauthbearer.config"];

pub(super) fn entries(pipeline: &Pipeline, limit: usize) -> anyhow::Result<Vec<EntryView>> {
    let entries = Dataset::existing(&pipeline.folder())?.newest(limit)?;
    Ok(entries.iter().map(EntryView::from).collect())
}

pub(super) fn files(pipeline: &Pipeline, limit: usize) -> anyhow::Result<Vec<FileView>> {
    let entries = Dataset::existing(&pipeline.folder())?.newest(limit)?;
    Ok(entries.iter().flat_map(FileView::of).take(limit).collect())
}

/// The newest rejects, those of the newest files first.
pub(super) fn rejects(pipeline: &Pipeline, limit: usize) -> anyhow::Result<Vec<RejectView>> {
    let dataset = Dataset::existing(&pipeline.folder())?;
    let mut found = Vec::new();
    // Not every commit has rejects: some more of them are looked at than rejects are wanted.
    for entry in dataset.newest(limit.saturating_mul(4))? {
        for file in entry.files.iter().filter(|file| file.side == Side::Rejects) {
            let path = dataset.folder().join(&file.path);
            read_rejects(&path, limit - found.len(), &mut found)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn read_rejects(path: &Path, limit: usize, found: &mut Vec<RejectView>) -> anyhow::Result<()> {
    let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.with_limit(limit).build()?;
    for batch in rows {
        let batch: RecordBatch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("it has no column {name}"));
        let text = |name| Ok::<_, anyhow::Error>(column(name)?.as_string::<i32>());
        let (topics, stages, columns) = (text("_kafka_topic")?, text("stage")?, text("column")?);
        let (rules, reasons) = (text("rule")?, text("reason")?);
        let partitions = column("_kafka_partition")?.as_primitive::<Int32Type>();
        let offsets = column("_kafka_offset")?.as_primitive::<Int64Type>();
        let payloads = column("payload")?.as_binary::<i32>();
        found.extend((0..batch.num_rows()).map(|row| RejectView {
            topic: topics.value(row).to_owned(),
            partition: partitions.value(row),
            offset: offsets.value(row),
            stage: stages.value(row).to_owned(),
            column: columns.is_valid(row).then(|| columns.value(row).to_owned()),
            rule: rules.value(row).to_owned(),
            reason: reasons.value(row).to_owned(),
            payload: shorten(payloads.value(row), PAYLOAD_CHARS),
            payload_bytes: payloads.value(row).len(),
        }));
    }
    Ok(())
}

/// The newest windows of time, the newest first.
pub(super) fn windows(pipeline: &Pipeline, limit: usize) -> anyhow::Result<Vec<WindowView>> {
    if matches!(pipeline.window, Window::Count { .. }) {
        bail!("its windows are of rows; only windows of time are complete one day");
    }
    let completeness = Completeness::read(&Dataset::existing(&pipeline.folder())?)?;
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
        held_back_by: window.held_back_by,
    };
    Ok(completeness.windows.into_iter().rev().take(limit).map(view).collect())
}

/// A definition as it was written, with what could be a secret masked.
pub(super) fn definition(pipeline: &Pipeline) -> serde_json::Value {
    let mut written: toml::Table = pipeline.text.parse().expect("it was parsed before");
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
            _ if SECRET_WORDS.iter().any(|word| name.contains(word)) => *value = "***".into(),
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
