//! A dataset as a reader finds it: every Parquet file by walking the folders, the ledger not asked.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{
    Array, AsArray, BinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::pipeline::Cell;

/// Which of the dataset's trees a row is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Data,
    Rejects,
    Late,
}

/// All rows of a dataset, by topic, partition and offset.
#[derive(Default)]
pub struct Dataset {
    batches: Vec<Batch>,
    /// Sorted by offset.
    rows: HashMap<(String, i32), Vec<Row>>,
}

struct Batch {
    records: RecordBatch,
    /// The columns that are folders.
    keys: Vec<(String, String)>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub offset: i64,
    pub side: Side,
    batch: usize,
    row: usize,
}

impl Dataset {
    /// Reads all of `data/`, `rejects/` and `late/`; a file that isn't Parquet panics.
    pub fn read(folder: &Path) -> Dataset {
        assert!(folder.is_dir(), "there is no dataset in {}", folder.display());
        let mut dataset = Dataset::default();
        for (name, side) in [("data", Side::Data), ("rejects", Side::Rejects), ("late", Side::Late)] {
            for path in files(&folder.join(name)) {
                let keys = hive_keys(path.strip_prefix(folder).unwrap());
                let file = File::open(&path).unwrap();
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                    .unwrap_or_else(|error| panic!("{} is not Parquet: {error}", path.display()));
                for records in reader.with_batch_size(8_192).build().unwrap() {
                    dataset.add(side, records.unwrap(), keys.clone());
                }
            }
        }
        dataset.rows.values_mut().for_each(|rows| rows.sort_by_key(|row| row.offset));
        dataset
    }

    /// How many rows a side has.
    pub fn count(&self, side: Side) -> u64 {
        self.rows.values().flatten().filter(|row| row.side == side).count() as u64
    }

    /// The rows of each partition, by offset.
    pub fn partitions(&self) -> &HashMap<(String, i32), Vec<Row>> {
        &self.rows
    }

    /// The value of a column in a row; none if the dataset has no such column.
    pub fn cell(&self, row: Row, column: &str) -> Option<Cell> {
        let batch = &self.batches[row.batch];
        if let Some((_, value)) = batch.keys.iter().find(|(key, _)| key == column) {
            return Some(Cell::Text(value.clone()));
        }
        batch.records.column_by_name(column).map(|array| cell(array, row.row))
    }

    /// The bytes of a binary column in a row; none where it is null.
    pub fn bytes(&self, row: Row, column: &str) -> Option<&[u8]> {
        let array: &BinaryArray = self.batches[row.batch].records.column_by_name(column)?.as_binary();
        array.is_valid(row.row).then(|| array.value(row.row))
    }

    fn add(&mut self, side: Side, records: RecordBatch, keys: Vec<(String, String)>) {
        let column = |name| records.column_by_name(name).unwrap_or_else(|| panic!("a file has no column {name}"));
        let topics: &StringArray = column("_kafka_topic").as_string();
        let partitions: &Int32Array = column("_kafka_partition").as_primitive();
        let offsets: &Int64Array = column("_kafka_offset").as_primitive();
        for row in 0..records.num_rows() {
            let partition = (topics.value(row).to_owned(), partitions.value(row));
            let located = Row { offset: offsets.value(row), side, batch: self.batches.len(), row };
            self.rows.entry(partition).or_default().push(located);
        }
        self.batches.push(Batch { records, keys });
    }
}

/// Every file under a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `station_id=IT-01` and the like among a path's folders.
fn hive_keys(path: &Path) -> Vec<(String, String)> {
    let folders = path.parent().unwrap().iter().map(|folder| folder.to_str().unwrap());
    folders.filter_map(|folder| folder.split_once('=')).map(|(key, value)| (decoded(key), decoded(value))).collect()
}

/// Percent-encoding undone.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            byte => byte,
        };
        decoded.push(byte);
    }
    String::from_utf8(decoded).unwrap()
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    let any = array.as_any();
    match array.data_type() {
        DataType::Utf8 => Cell::Text(any.downcast_ref::<StringArray>().unwrap().value(row).to_owned()),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Float64 => Cell::Float(any.downcast_ref::<Float64Array>().unwrap().value(row)),
        DataType::Float32 => Cell::Float(f64::from(any.downcast_ref::<Float32Array>().unwrap().value(row))),
        DataType::Int64 => Cell::Int(i128::from(any.downcast_ref::<Int64Array>().unwrap().value(row))),
        DataType::Int32 => Cell::Int(i128::from(any.downcast_ref::<Int32Array>().unwrap().value(row))),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => {
            Cell::Micros(any.downcast_ref::<TimestampMicrosecondArray>().unwrap().value(row))
        }
        other => panic!("no test expects a column of type {other}"),
    }
}
