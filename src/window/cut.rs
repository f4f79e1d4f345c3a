//! Cutting checked records at a position, without copying a row.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::pipeline::messages::{CheckedRecords, Range};

/// The column that holds each row's and each reject's offset.
const OFFSET: &str = "_kafka_offset";

impl CheckedRecords {
    /// The records before `position`, and those at or after it.
    pub fn cut(mut self, position: i64) -> (CheckedRecords, CheckedRecords) {
        let (rows, rows_after) = cut_batch(&self.rows, position);
        let (rejects, rejects_after) = cut_batch(&self.rejects, position);
        let tombstones_after = self.tombstones.split_off(self.tombstones.partition_point(|&offset| offset < position));
        (
            CheckedRecords { rows, rejects, tombstones: self.tombstones },
            CheckedRecords { rows: rows_after, rejects: rejects_after, tombstones: tombstones_after },
        )
    }

    /// The offsets of the rows, ascending.
    pub fn row_offsets(&self) -> &[i64] {
        offsets(&self.rows).values()
    }

    /// The offsets of the rejects, ascending.
    pub fn reject_offsets(&self) -> &[i64] {
        offsets(&self.rejects).values()
    }

    /// **Invariant:** a batch's range holds the offset of each of its records.
    pub(super) fn assert_within(&self, range: Range) {
        for batch in [self.row_offsets(), self.reject_offsets(), self.tombstones.as_slice()] {
            let within = batch.first().is_none_or(|&first| first >= range.from)
                && batch.last().is_none_or(|&last| last < range.to);
            assert!(within, "records {:?} to {:?} are not within {range:?}", batch.first(), batch.last());
        }
    }
}

fn cut_batch(batch: &RecordBatch, position: i64) -> (RecordBatch, RecordBatch) {
    let at = offsets(batch).values().partition_point(|&offset| offset < position);
    (batch.slice(0, at), batch.slice(at, batch.num_rows() - at))
}

fn offsets(batch: &RecordBatch) -> &Int64Array {
    let column = batch.column_by_name(OFFSET).expect("the validator gives every row and every reject its offset");
    column.as_primitive::<Int64Type>()
}
