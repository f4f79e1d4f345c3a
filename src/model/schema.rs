//! The schemas of `data/`, `late/` and `rejects/`: what every file of a dataset has, decided by the
//! definition alone.
//!
//! Rows: the definition's columns in its order, then `_extra` where unknown fields are kept, then
//! the record's coordinates. A column is nullable unless it is required or has a default. Hive keys
//! are in it: the sink takes them out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::model::Pipeline;
use crate::model::pipeline::{Column, ColumnType, UnknownFields};

/// Levels of objects and arrays that a payload may have.
pub const DEPTH_MAX: usize = 128;

/// The column of unknown fields, where they are kept: one JSON object's text.
pub const EXTRA: &str = "_extra";

/// The column of a record's offset, by which the rows of every file are sorted.
pub const OFFSET: &str = "_kafka_offset";

/// Columns that are weir's own, in any dataset, with their ids, which are below [`FIRST_ID`]. An id
/// is never given to another column.
const RESERVED: [(&str, i32); 13] = [
    ("_kafka_topic", 1),
    ("_kafka_partition", 2),
    (OFFSET, 3),
    ("_kafka_timestamp", 4),
    ("_kafka_key", 5),
    ("_kafka_headers", 6),
    (EXTRA, 7),
    (LATE_BY, 8),
    ("payload", 9),
    ("stage", 10),
    ("column", 11),
    ("rule", 12),
    ("reason", 13),
];

/// The id of a dataset's first column that is not weir's own.
pub const FIRST_ID: i32 = 1000;

/// The id of a column that is weir's own: in `rejects/` all are, elsewhere those whose names begin
/// with `_`.
pub fn reserved_id(name: &str) -> Option<i32> {
    RESERVED.iter().find(|(own, _)| *own == name).map(|(_, id)| *id)
}

/// The type of every instant.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The schema of good rows.
pub fn data_schema(pipeline: &Pipeline) -> SchemaRef {
    let mut fields: Vec<Field> = pipeline.columns.iter().map(field).collect();
    if pipeline.validate.unknown_fields == UnknownFields::Keep {
        fields.push(Field::new(EXTRA, DataType::Utf8, true));
    }
    fields.extend(coordinates());
    Arc::new(Schema::new(fields))
}

/// The schema of rejected records.
///
/// `_kafka_headers` is null where the record has none, and otherwise the text of a JSON array with
/// one object a header, in order: `{"key": …, "value": "text"}`, `{"key": …, "value": null}`, or
/// `{"key": …, "base64": "…"}` where the value is not UTF-8. `column` is null where the record as a
/// whole is at fault. The names in `stage` and `rule` are the `stage` and the `name` of
/// `decode::Rule`.
pub fn rejects_schema() -> SchemaRef {
    let mut fields = coordinates();
    fields.extend([
        Field::new("_kafka_key", DataType::Binary, true),
        Field::new("payload", DataType::Binary, false),
        Field::new("_kafka_headers", DataType::Utf8, true),
        Field::new("stage", DataType::Utf8, false),
        Field::new("column", DataType::Utf8, true),
        Field::new("rule", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
    ]);
    Arc::new(Schema::new(fields))
}

/// How far the partition's watermark was past the end of a late row's window, in microseconds: so
/// much more `out_of_order`, and a bit, and the row had not been late.
pub const LATE_BY: &str = "_late_by_us";

/// The schema of late rows: that of the good rows, and [`LATE_BY`].
pub fn late_schema(rows: &SchemaRef) -> SchemaRef {
    let late_by = Arc::new(Field::new(LATE_BY, DataType::Int64, false));
    let fields: Vec<_> = rows.fields().iter().cloned().chain([late_by]).collect();
    Arc::new(Schema::new(fields))
}

/// Where a record stands in Kafka.
fn coordinates() -> Vec<Field> {
    vec![
        Field::new("_kafka_topic", DataType::Utf8, false),
        Field::new("_kafka_partition", DataType::Int32, false),
        Field::new(OFFSET, DataType::Int64, false),
        Field::new("_kafka_timestamp", timestamp(), true),
    ]
}

fn field(column: &Column) -> Field {
    let nullable = !column.required && column.default.is_none();
    Field::new(&column.name, data_type(&column.kind), nullable)
}

fn data_type(kind: &ColumnType) -> DataType {
    match kind {
        ColumnType::String | ColumnType::Json => DataType::Utf8,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Int(8) => DataType::Int8,
        ColumnType::Int(16) => DataType::Int16,
        ColumnType::Int(32) => DataType::Int32,
        ColumnType::Int(_) => DataType::Int64,
        ColumnType::Uint(8) => DataType::UInt8,
        ColumnType::Uint(16) => DataType::UInt16,
        ColumnType::Uint(32) => DataType::UInt32,
        ColumnType::Uint(_) => DataType::UInt64,
        ColumnType::Float(32) => DataType::Float32,
        ColumnType::Float(_) => DataType::Float64,
        ColumnType::Timestamp(_) => timestamp(),
        ColumnType::Date(_) => DataType::Date32,
    }
}
