//! How numbers are written, and what a finished dataset looks like from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::AsArray as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Longest piece of a payload that is shown.
const PAYLOAD_CHARS: usize = 60;

/// `1234567` as `1,234,567`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit that leaves a number above one.
pub(crate) fn bytes(value: u64) -> String {
    indicatif::BinaryBytes(value).to_string()
}

/// Seconds with a digit or two that matter.
pub(crate) fn duration(value: Duration) -> String {
    match value.as_secs_f64() {
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds => format!("{} min {:.0} s", seconds as u64 / 60, seconds % 60.0),
    }
}

/// Rejects by rule: how many, and the first one's reason and payload.
pub(crate) type Rejects = BTreeMap<String, (u64, String, String)>;

/// Reads a dataset's `rejects/`.
pub(crate) fn rejects(folder: &Path) -> anyhow::Result<Rejects> {
    let mut found = Rejects::new();
    let folder = folder.join("rejects");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for path in files {
        read_rejects(&path, &mut found).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(found)
}

fn read_rejects(path: &Path, found: &mut Rejects) -> anyhow::Result<()> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("it has no column {name}"));
        let (rules, reasons) = (column("rule")?.as_string::<i32>(), column("reason")?.as_string::<i32>());
        let payloads = column("payload")?.as_binary::<i32>();
        for row in 0..batch.num_rows() {
            let example = || (0, reasons.value(row).to_owned(), shorten(payloads.value(row), PAYLOAD_CHARS));
            found.entry(rules.value(row).to_owned()).or_insert_with(example).0 += 1;
        }
    }
    Ok(())
}

/// The beginning of a payload as text that is safe to print: control characters and bytes that are no text are escaped.
pub(crate) fn shorten(payload: &[u8], chars: usize) -> String {
    let mut shown = Vec::new();
    for chunk in payload.utf8_chunks() {
        let safe = |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() };
        shown.extend(chunk.valid().chars().map(safe));
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        if shown.len() > chars {
            shown.truncate(chars);
            shown.push("…".into());
            break;
        }
    }
    shown.concat()
}

/// The lines that open a dataset's rows in the usual libraries.
pub(crate) fn open_lines(folder: &Path) -> [(&'static str, String); 3] {
    let data = folder.join("data");
    let data = data.display();
    [
        ("pandas", format!("import pandas as pd; df = pd.read_parquet(\"{data}\")")),
        ("polars", format!("import polars as pl; df = pl.scan_parquet(\"{data}\").collect()")),
        ("DuckDB", format!("import duckdb; duckdb.sql(\"FROM read_parquet('{data}/**/*.parquet')\").show()")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn payloads_are_safe_to_print() {
        assert_eq!(shorten(b"{\"a\":\xff\x1b[31m}", 60), "{\"a\":\\xff\\u{1b}[31m}");
        assert_eq!(shorten("é".repeat(100).as_bytes(), 60).chars().last(), Some('…'));
    }
}
