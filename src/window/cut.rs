//! Cutting checked records at positions, without copying a row.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::flow::messages::CheckedRecords;
use crate::flow::rows::Rows;
use crate::model::Range;

/// The column that holds each row's and each reject's offset.
const OFFSET: &str = "_kafka_offset";

/// What is left of checked records while they are cut, and a piece that was cut off.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Rows,
    pub(super) rejects: Rows,
    pub(super) filtered: Vec<i64>,
    pub(super) tombstones: Vec<i64>,
}

impl Piece {
    /// Cuts off what is before `position`.
    pub(super) fn cut(&mut self, position: i64) -> Piece {
        let before = |offsets: &[i64]| offsets.partition_point(|&offset| offset < position);
        let split = |offsets: &mut Vec<i64>| {
            let after = offsets.split_off(before(offsets));
            std::mem::replace(offsets, after)
        };
        Piece {
            rows: self.rows.split_front(before(offsets_of(&self.rows))),
            rejects: self.rejects.split_front(before(offsets_of(&self.rejects))),
            filtered: split(&mut self.filtered),
            tombstones: split(&mut self.tombstones),
        }
    }

    /// The offsets of the rows, ascending.
    pub(super) fn row_offsets(&self) -> &[i64] {
        offsets_of(&self.rows)
    }
}

impl CheckedRecords {
    /// As something to be cut.
    pub(super) fn whole(self) -> Piece {
        let CheckedRecords { rows, rejects, filtered, tombstones } = self;
        Piece { rows: rows.into(), rejects: rejects.into(), filtered, tombstones }
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
        for batch in [self.row_offsets(), self.reject_offsets(), &self.filtered, &self.tombstones] {
            let within = batch.first().is_none_or(|&first| first >= range.from)
                && batch.last().is_none_or(|&last| last < range.to);
            assert!(within, "records {:?} to {:?} are not within {range:?}", batch.first(), batch.last());
        }
    }
}

fn offsets_of(rows: &Rows) -> &[i64] {
    let column = rows.column(OFFSET).expect("the validator gives every row and every reject its offset");
    &column.as_primitive::<Int64Type>().values()[rows.range()]
}

fn offsets(batch: &RecordBatch) -> &Int64Array {
    let column = batch.column_by_name(OFFSET).expect("the validator gives every row and every reject its offset");
    column.as_primitive::<Int64Type>()
}
