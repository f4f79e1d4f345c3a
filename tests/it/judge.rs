//! The judge's own proof: it takes a right dataset, and names what is wrong with each kind of wrong one.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use weir::cli::readings;

use crate::harness::oracle::{Record, Verdict, judge_records};
use crate::harness::pipeline::{Cell, Kind, Pipeline, air_quality};
use crate::harness::setup;

const READINGS: usize = 200;

/// Writes a dataset of `written` and has it judged by the truth; returns the verdict, or the judge's words.
fn check(written: &[Record]) -> Result<Verdict, String> {
    let folder = setup::folder("judge");
    let pipeline = pipeline();
    write(folder.path(), written, &pipeline);
    catch_unwind(AssertUnwindSafe(|| judge_records(folder.path(), &truth(), &pipeline)))
        .map_err(|panic| *panic.downcast::<String>().unwrap())
}

#[test]
fn a_right_dataset_is_taken() {
    let verdict = Verdict { rows: READINGS as u64, rejects: 10, late: 0, tombstones: 1 };
    assert_eq!(check(&truth()), Ok(verdict));
}

#[test]
fn every_kind_of_wrong_dataset_is_named() {
    type Damage = fn(&mut Vec<Record>);
    let damages: [(Damage, &str); 7] = [
        (|records| drop(records.remove(17)), "t:0 offset 17 is committed but not in the dataset"),
        (|records| records.push(records[17].clone()), "t:0 offset 17 is in Data twice"),
        (
            |records| records.push(Record { offset: 999, ..records[17].clone() }),
            "t:0 offset 999 is in Data twice, or never",
        ),
        (|records| records[17].value = records[18].value.clone(), "t:0 offset 17 has Some(Micros("),
        (|records| records[17].timestamp += 1, "_kafka_timestamp"),
        (|records| records[READINGS].value = Some(b"{".into()), "its payload or key is not"),
        (|records| records.last_mut().unwrap().value = Some(b"{".into()), "offset 210 is a tombstone but in Rejects"),
    ];
    for (damage, words) in damages {
        let mut written = truth();
        damage(&mut written);
        let message = check(&written).unwrap_err();
        assert!(message.contains(words), "expected {words:?} in: {message}");
    }
}

/// Good readings, then the broken ones, then a tombstone.
pub(crate) fn truth() -> Vec<Record> {
    let good = readings::readings().into_iter().take(READINGS).map(|reading| Some(reading.to_json(readings::STATION)));
    let broken = readings::broken().into_iter().map(|broken| Some(broken.payload));
    records(good.chain(broken).chain([None]))
}

/// Values as the records of one partition.
pub(crate) fn records(values: impl Iterator<Item = Option<Vec<u8>>>) -> Vec<Record> {
    let record = |(offset, value)| Record {
        topic: "t".into(),
        partition: 0,
        offset,
        timestamp: 1_700_000_000_000 + offset,
        key: None,
        headers: Vec::new(),
        value,
    };
    (0..).zip(values).map(record).collect()
}

pub(crate) fn pipeline() -> Pipeline {
    Pipeline {
        name: "t".into(),
        brokers: String::new(),
        topic: "t".into(),
        columns: air_quality(),
        start: "earliest",
        rows_per_window: 100,
        window: None,
        partition_by: &["station_id"],
        roll: String::new(),
        source: String::new(),
        sink: String::new(),
    }
}

/// A dataset as weir would write it: one file of rows, one of rejects, one ledger entry.
pub(crate) fn write(folder: &Path, records: &[Record], pipeline: &Pipeline) {
    let row = |record: &Record| record.value.as_ref().and_then(|value| pipeline.row(value));
    let with_value = || records.iter().filter(|record| record.value.is_some());
    let rows: Vec<&Record> = with_value().filter(|record| row(record).is_some()).collect();
    let cells: Vec<Vec<Cell>> = rows.iter().filter_map(|record| row(record)).collect();
    // The first column is the folder's name.
    let columns = pipeline.columns.iter().enumerate().skip(1);
    let data = columns.map(|(at, column)| (column.name, array(column.kind, cells.iter().map(|row| &row[at]))));
    write_file(&folder.join("data/station_id=IT-01"), &rows, data.collect());

    let rejects: Vec<&Record> = with_value().filter(|record| row(record).is_none()).collect();
    let payloads = BinaryArray::from_iter(rejects.iter().map(|record| record.value.as_deref()));
    let keys = BinaryArray::from_iter(rejects.iter().map(|record| record.key.as_deref()));
    let columns: Vec<(&str, ArrayRef)> = vec![("_kafka_key", Arc::new(keys)), ("payload", Arc::new(payloads))];
    write_file(&folder.join("rejects"), &rejects, columns);

    let ledger = folder.join("ledger/t/id/0");
    fs::create_dir_all(&ledger).unwrap();
    let tombstones = records.len() - with_value().count();
    let entry = serde_json::json!({ "topic": "t", "partition": 0, "counts": { "tombstone": tombstones } });
    fs::write(ledger.join(format!("{:020}.json", 0)), entry.to_string()).unwrap();
}

fn array<'a>(kind: Kind, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    match kind {
        Kind::Float => Arc::new(Float64Array::from_iter(cells.map(|cell| match cell {
            Cell::Float(value) => Some(*value),
            _ => None,
        }))),
        Kind::LocalTime(_) => {
            let micros = cells.map(|cell| match cell {
                Cell::Micros(value) => Some(*value),
                _ => None,
            });
            Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
        }
        other => panic!("this test has no column of type {other:?}"),
    }
}

fn write_file(folder: &Path, records: &[&Record], mut columns: Vec<(&str, ArrayRef)>) {
    let topics = StringArray::from_iter_values(records.iter().map(|record| &record.topic));
    let partitions = Int32Array::from_iter_values(records.iter().map(|record| record.partition));
    let offsets = Int64Array::from_iter_values(records.iter().map(|record| record.offset));
    let micros = TimestampMicrosecondArray::from_iter_values(records.iter().map(|record| record.timestamp * 1_000));
    columns.push(("_kafka_topic", Arc::new(topics)));
    columns.push(("_kafka_partition", Arc::new(partitions)));
    columns.push(("_kafka_offset", Arc::new(offsets)));
    columns.push(("_kafka_timestamp", Arc::new(micros.with_timezone("UTC"))));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(folder.join("a.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
