//! What a finished dataset looks like from outside.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use crate::base::words::shorten;
use crate::ledger::LedgerReader;
use crate::model::Side;

/// Longest piece of a payload that is shown.
const PAYLOAD_CHARS: usize = 60;

/// Rejects by rule: how many, and the first one's reason and payload.
pub(crate) type Rejects = BTreeMap<String, (u64, String, String)>;

/// Reads a dataset's `rejects/`.
pub(crate) fn rejects(folder: &Path) -> anyhow::Result<Rejects> {
    let (mut found, ledger) = (Rejects::new(), LedgerReader::of(folder)?);
    for file in ledger.published(Side::Rejects)? {
        let read = ledger.open(&file).map_err(Into::into).and_then(|file| read_rejects(&file, &mut found));
        read.with_context(|| format!("cannot read {}", ledger.place(&file).display()))?;
    }
    Ok(found)
}

fn read_rejects(file: &(impl ChunkReader + Clone + 'static), found: &mut Rejects) -> anyhow::Result<()> {
    let open = |columns: &[&str]| -> anyhow::Result<_> {
        let file = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
        let columns = ProjectionMask::columns(file.parquet_schema(), columns.iter().copied());
        Ok(file.with_projection(columns))
    };
    let mut first_row = 0;
    for batch in open(&["rule", "reason"])?.build()? {
        let batch = batch?;
        let (rules, reasons) =
            (column(&batch, "rule")?.as_string::<i32>(), column(&batch, "reason")?.as_string::<i32>());
        for row in 0..batch.num_rows() {
            if !found.contains_key(rules.value(row)) {
                // Payloads may be large: only the one that is shown is read.
                let mut one = open(&["payload"])?.with_offset(first_row + row).with_limit(1).build()?;
                let payload = one.next().context("it has fewer payloads than rules")??;
                let payload = shorten(column(&payload, "payload")?.as_binary::<i32>().value(0), PAYLOAD_CHARS);
                found.insert(rules.value(row).to_owned(), (0, reasons.value(row).to_owned(), payload));
            }
            found.entry(rules.value(row).to_owned()).or_default().0 += 1;
        }
        first_row += batch.num_rows();
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> anyhow::Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("it has no column {name}"))
}

/// What to know of a dataset that has no row.
pub(crate) const EMPTY: &str =
    "data/ has no file yet: polars and DuckDB fail on an empty folder, pandas gives an empty frame";

/// The lines that open a dataset's rows in the usual libraries.
pub(crate) fn open_lines(folder: &Path) -> [(&'static str, String); 3] {
    let data = folder.join("data");
    let data = data.display();
    [
        ("pandas", format!("import pandas as pd; df = pd.read_parquet(\"{data}\", dtype_backend=\"pyarrow\")")),
        ("polars", format!("import polars as pl; df = pl.scan_parquet(\"{data}\").collect()")),
        ("DuckDB", format!("import duckdb; duckdb.sql(\"FROM read_parquet('{data}/**/*.parquet')\").show()")),
    ]
}
