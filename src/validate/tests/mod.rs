//! The whole path from bytes to columns.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;

use crate::decode::Rule;
use crate::flow::messages::CheckedRecords;
use crate::model::Pipeline;
use crate::model::pipeline::{
    Column, ColumnType, Format, LocalTimePolicy, Roll, Sink, Source, Start, TimeEncoding, TimestampFormat,
    UnknownFields, Validate, Value, Zone,
};
use crate::model::schema::{data_schema, rejects_schema};
use crate::model::window::{Count, Window};
use crate::model::{Partition, RawRecords};
use crate::validate::Checker;

mod ahead;
mod formats;
mod hostile;
mod oracle;
mod records;
mod tables;

fn column(name: &str, kind: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        from: vec![name.to_owned()],
        required: false,
        default: None,
        missing: vec![],
        min: None,
        max: None,
        one_of: vec![],
        pattern: None,
        max_length: None,
        coerce: false,
    }
}

fn pipeline(columns: Vec<Column>, unknown_fields: UnknownFields) -> Pipeline {
    Pipeline {
        name: "test".to_owned(),
        source: Source {
            brokers: String::new(),
            topics: vec!["t".to_owned()],
            format: Format::Json,
            start: Start::Earliest,
            group: String::new(),
            consumers: None,
            client: BTreeMap::new(),
        },
        columns,
        validate: Validate { unknown_fields },
        window: Window::Count(Count { rows: 100 }),
        sink: Sink {
            path: "unused".into(),
            partition_by: vec![],
            max_keys: 1,
            compression: parquet::basic::Compression::UNCOMPRESSED,
            row_group_rows: 1,
            roll: Roll { windows: 1, rows: None, bytes: 1, age: Duration::ZERO },
        },
        hash: String::new(),
        resolved_hash: String::new(),
        resolved: String::new(),
        fingerprint: String::new(),
        text: String::new(),
        file: "test.toml".into(),
    }
}

fn partition() -> Partition {
    Partition { topic: "t".into(), partition: 3 }
}

/// Records with these values at the offsets 10, 11, …
fn records<'p>(payloads: impl IntoIterator<Item = Option<&'p [u8]>>) -> RawRecords {
    let mut records = RawRecords::default();
    for (offset, payload) in (10..).zip(payloads) {
        records.push(offset, Some(offset * 1000), None, payload);
    }
    records
}

fn run(columns: &[Column], payloads: &[&str]) -> CheckedRecords {
    run_with(UnknownFields::Ignore, columns, payloads)
}

fn run_with(unknown_fields: UnknownFields, columns: &[Column], payloads: &[&str]) -> CheckedRecords {
    let mut checker = Checker::new(&pipeline(columns.to_vec(), unknown_fields));
    checker.check(&partition(), &records(payloads.iter().map(|payload| Some(payload.as_bytes()))))
}

/// A cell as text; "null" for null.
fn cell(batch: &RecordBatch, name: &str, row: usize) -> String {
    let array = batch.column_by_name(name).unwrap();
    match array.data_type() {
        _ if array.is_null(row) => "null".to_owned(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        _ => array_value_to_string(array, row).unwrap(),
    }
}

fn cells(batch: &RecordBatch, name: &str) -> Vec<String> {
    (0..batch.num_rows()).map(|row| cell(batch, name, row)).collect()
}

/// What becomes of a value in a column: its text in the output, or the rule that it breaks.
fn value_of(column: &Column, json: &str) -> String {
    let checked = run(std::slice::from_ref(column), &[&format!("{{\"{}\":{json}}}", column.name)]);
    match checked.rows.num_rows() {
        1 => cell(&checked.rows, &column.name, 0),
        _ => format!("!{}", cell(&checked.rejects, "rule", 0)),
    }
}

/// Each line of a table is a value and what becomes of it; a broken rule stands after `!`, and odd characters are escaped.
fn table(column: Column, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (json, expected) = line.split_once(" => ").unwrap();
        let found = value_of(&column, json).escape_debug().to_string();
        assert_eq!(found, expected.replace("(empty)", ""), "{json} in a column {:?}", column.kind);
    }
}

fn coercing(kind: ColumnType) -> Column {
    Column { coerce: true, ..column("v", kind) }
}

fn instant(encoding: TimeEncoding, zone: Option<Zone>) -> ColumnType {
    let (gap, fold) = (LocalTimePolicy::Reject, LocalTimePolicy::Reject);
    ColumnType::Timestamp(TimestampFormat { encoding, zone, gap, fold })
}

/// A text, a number, a path and JSON, in an order that payloads don't have.
fn mixed() -> Vec<Column> {
    vec![
        Column { pattern: regex::Regex::new("^[^!]*$").ok(), ..column("s", ColumnType::String) },
        column("f", ColumnType::Float(64)),
        Column { from: vec!["m".into(), "0".into(), "i".into()], ..column("i", ColumnType::Int(64)) },
        column("j", ColumnType::Json),
    ]
}
