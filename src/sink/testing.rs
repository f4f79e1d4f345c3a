//! What the sink's tests share: small batches and definitions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::basic::{Compression, ZstdLevel};

use crate::flow::messages::{CheckedRecords, WindowedPart};
use crate::model::Pipeline;
use crate::model::pipeline::{Format, Sink, Source, Start, UnknownFields, Validate, defaults};
use crate::model::window::{Count, Window};
use crate::model::{Partition, Range};
use crate::window::{Windows, resume};

/// Rows with the hive key `k`, a value and an offset.
pub(super) fn rows(first: i64, keys: &[Option<&str>]) -> RecordBatch {
    let offsets: Vec<_> = (first..).take(keys.len()).collect();
    let k: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    let value: ArrayRef = Arc::new(Float64Array::from_iter_values(offsets.iter().map(|offset| *offset as f64 / 2.0)));
    let offset: ArrayRef = Arc::new(Int64Array::from(offsets));
    RecordBatch::try_from_iter_with_nullable([("k", k, true), ("value", value, true), ("_kafka_offset", offset, false)])
        .unwrap()
}

/// Rejects with a payload and these offsets.
pub(super) fn rejects(offsets: Vec<i64>) -> RecordBatch {
    let payload: ArrayRef =
        Arc::new(StringArray::from_iter_values(offsets.iter().map(|offset| format!("bad {offset}"))));
    let offset: ArrayRef = Arc::new(Int64Array::from(offsets));
    RecordBatch::try_from_iter([("_kafka_offset", offset), ("payload", payload)]).unwrap()
}

/// A batch of `keys.len()` rows and then `rejects` rejects from `first` on, cut by `windower`.
pub(super) fn parts(windower: &mut Box<dyn Windows>, first: i64, keys: &[Option<&str>], bad: i64) -> Vec<WindowedPart> {
    let good = first + keys.len() as i64;
    let records = CheckedRecords {
        rows: rows(first, keys),
        rejects: rejects((good..good + bad).collect()),
        filtered: vec![],
        tombstones: vec![],
    };
    windower.assign(Range { from: first, to: good + bad }, records)
}

/// Count windows of `rows` rows, from the first.
pub(super) fn windower(rows: u64) -> Box<dyn Windows> {
    resume(&Window::Count(Count { rows }), None)
}

pub(super) fn partition() -> Partition {
    Partition { topic: "readings".into(), partition: 3 }
}

/// A definition with these hive keys.
pub(super) fn pipeline(partition_by: &[&str]) -> Pipeline {
    Pipeline {
        name: "air".to_owned(),
        source: Source {
            brokers: String::new(),
            topics: vec!["readings".to_owned()],
            format: Format::Json,
            start: Start::Earliest,
            group: "weir-air".to_owned(),
            consumers: None,
            client: Default::default(),
        },
        columns: Vec::new(),
        validate: Validate { unknown_fields: UnknownFields::Ignore },
        window: Window::Count(Count { rows: 2 }),
        sink: Sink {
            path: "unused".into(),
            partition_by: partition_by.iter().map(|name| (*name).to_owned()).collect(),
            max_keys: 1000,
            compression: Compression::ZSTD(ZstdLevel::try_new(3).unwrap()),
            row_group_rows: defaults::ROW_GROUP_ROWS,
            roll: defaults::ROLL,
        },
        hash: "abc".to_owned(),
        resolved_hash: "def".to_owned(),
        resolved: String::new(),
        fingerprint: String::new(),
        text: String::new(),
        file: "air.toml".into(),
    }
}
