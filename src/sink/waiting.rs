//! Rows that wait in memory until they are a row group: shared batches, and which of their rows each file has.
//!
//! Rows are numbered in the order in which they come, and a file keeps its rows' numbers. A batch of its own for each file and
//! write would cost some 500 bytes a column before its first value: with ten thousand hive keys many times what the rows
//! take. Here thousands of files with a few rows each are a matter of their rows.
//!
//! A batch is let go when all its rows were taken. Until then also those count that were taken from it ([`Waiting::bytes`]):
//! a lane that needs memory lets the others move, and a commit takes all.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Rows of one schema.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In the order of their rows' numbers.
    batches: Vec<Shared>,
    /// The number of the row that comes next.
    next: u64,
    /// Bytes of the batches.
    bytes: usize,
}

/// Numbers of rows that follow each other.
pub(super) type Run = Range<u64>;

#[derive(Debug)]
struct Shared {
    /// The number of the first row.
    first: u64,
    rows: RecordBatch,
    bytes: usize,
    /// How many of the rows still wait.
    left: usize,
}

/// Bytes of a column of a batch without its values, about.
const COLUMN_BYTES: usize = 512;

/// Smaller batches become one, for what a batch costs without its values: of so many bytes,
const JOINED_BYTES: usize = 256 << 10;

/// and where there are many columns, of so many a column.
const JOINED_COLUMN_BYTES: usize = 4 << 10;

impl Waiting {
    /// Bytes of memory that the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds rows, at least one.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<Run, ArrowError> {
        let run = self.next..self.next + rows.num_rows() as u64;
        self.next = run.end;
        let mut new = Shared::new(run.start, own(rows)?);
        self.bytes += new.bytes;
        // Each is at least twice as large as the next one, so that a row is copied a few times at the most.
        while let Some(last) = self.batches.pop_if(|last| last.joins(&new)) {
            self.bytes -= last.bytes + new.bytes;
            let left = last.left + new.left;
            let rows = concat_batches(&last.rows.schema(), [&last.rows, &new.rows])?;
            new = Shared { left, ..Shared::new(last.first, rows) };
            self.bytes += new.bytes;
        }
        self.batches.push(new);
        Ok(run)
    }

    /// The first rows of a run: as many as are in one batch.
    pub(super) fn piece(&self, run: &Run) -> Run {
        let (batch, from) = self.find(run);
        let rest = (self.batches[batch].rows.num_rows() - from) as u64;
        run.start..run.end.min(run.start + rest)
    }

    /// Takes rows out, each once, in the order of these [pieces](Self::piece), as one batch. Nothing is copied of a single one.
    pub(super) fn take(&mut self, pieces: &[Run]) -> Result<RecordBatch, ArrowError> {
        let places: Vec<(usize, usize)> = pieces.iter().map(|run| self.find(run)).collect();
        let taken = if let ([run], [(batch, from)]) = (pieces, &places[..]) {
            self.batches[*batch].rows.slice(*from, rows_of(run))
        } else {
            let batches: Vec<&RecordBatch> = self.batches.iter().map(|shared| &shared.rows).collect();
            let rows_of_run = |(run, (batch, from)): (&Run, &(usize, usize))| {
                let (batch, from) = (*batch, *from);
                (from..from + rows_of(run)).map(move |row| (batch, row))
            };
            let indices: Vec<(usize, usize)> = pieces.iter().zip(&places).flat_map(rows_of_run).collect();
            interleave_record_batch(&batches, &indices)?
        };
        for (run, (batch, _)) in pieces.iter().zip(&places) {
            self.batches[*batch].left -= rows_of(run);
        }
        let gone = self.batches.extract_if(.., |shared| shared.left == 0);
        for shared in gone {
            self.bytes -= shared.bytes;
        }
        Ok(taken)
    }

    /// The batch that a run begins in, and the index of its first row there.
    fn find(&self, run: &Run) -> (usize, usize) {
        let batch = self.batches.partition_point(|shared| shared.first <= run.start) - 1;
        let from = run.start - self.batches[batch].first;
        (batch, usize::try_from(from).expect("it is an index of a row in memory"))
    }
}

/// How many rows a run has.
pub(super) fn rows_of(run: &Run) -> usize {
    usize::try_from(run.end - run.start).expect("they are in memory")
}

impl Shared {
    fn new(first: u64, rows: RecordBatch) -> Shared {
        let bytes = rows.get_array_memory_size() + rows.num_columns() * COLUMN_BYTES;
        Shared { first, bytes, left: rows.num_rows(), rows }
    }

    /// Whether to make one batch of this and the next one.
    fn joins(&self, next: &Shared) -> bool {
        let rows = self.rows.num_rows();
        // One between them may be gone; the numbers of a batch's rows have no gap.
        self.first + rows as u64 == next.first
            && rows < 2 * next.rows.num_rows()
            && self.bytes + next.bytes <= JOINED_BYTES.max(self.rows.num_columns() * JOINED_COLUMN_BYTES)
    }
}

/// How large rows of a batch are, without looking at each.
pub(super) struct Sizes<'r> {
    /// Bytes that any row takes.
    fixed: usize,
    /// Where the values of columns of texts begin.
    offsets: Vec<&'r [i32]>,
}

impl<'r> Sizes<'r> {
    pub(super) fn new(rows: &'r RecordBatch) -> Self {
        let offsets = |column: &'r ArrayRef| {
            let texts = column.as_string_opt::<i32>().map(|texts| texts.value_offsets());
            texts.or_else(|| column.as_binary_opt::<i32>().map(|texts| texts.value_offsets()))
        };
        let width = |column: &ArrayRef| match column.data_type() {
            DataType::Boolean => 1,
            // A text has its offset.
            other => other.primitive_width().unwrap_or(size_of::<i32>()),
        };
        let fixed = rows.columns().iter().map(width);
        Sizes { fixed: fixed.sum(), offsets: rows.columns().iter().filter_map(offsets).collect() }
    }

    /// Bytes of these.
    pub(super) fn of(&self, rows: &Range<usize>) -> usize {
        let texts = self.offsets.iter().map(|offsets| (offsets[rows.end] - offsets[rows.start]) as usize);
        rows.len() * self.fixed + texts.sum::<usize>()
    }
}

/// Bytes of rows, whatever else is in their batch, about.
fn batch_bytes(rows: &RecordBatch) -> usize {
    let sliced = |column: &dyn Array| column.to_data().get_slice_memory_size().unwrap_or(0);
    rows.columns().iter().map(|column| sliced(column) + COLUMN_BYTES).sum()
}

/// A copy of rows that are a part of a larger batch, which they would keep in memory.
fn own(rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let needed = batch_bytes(&rows);
    if rows.get_array_memory_size() <= needed + needed / 2 {
        return Ok(rows);
    }
    let all = UInt32Array::from_iter_values(0..u32::try_from(rows.num_rows()).expect("a batch is far smaller"));
    take_record_batch(&rows, &all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;
    use crate::sink::testing::rows;

    fn offsets(rows: &RecordBatch) -> Vec<i64> {
        rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_of_many_columns_that_come_one_by_one_share_batches() {
        let (fields, columns): (Vec<_>, Vec<_>) = (0..300)
            .map(|at| (Field::new(format!("c{at}"), DataType::Int64, false), Arc::new(Int64Array::from(vec![at])) as _))
            .unzip();
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut waiting = Waiting::default();
        for at in 0..200 {
            assert_eq!(waiting.push(row.clone()).unwrap(), at..at + 1);
        }
        assert!(waiting.batches.len() < 10, "{} batches", waiting.batches.len());
        assert!(waiting.bytes() < 3 << 20, "{} bytes", waiting.bytes());
    }

    #[test]
    fn the_size_of_rows_is_that_of_their_values() {
        let batch = rows(0, &[Some("a"), Some("bcd"), None]);
        let sizes = Sizes::new(&batch);
        let of = |rows| sizes.of(&rows);
        assert_eq!(of(0..1) + of(1..2) + of(2..3), of(0..3));
        assert_eq!(of(1..2), of(0..1) + 2);
        assert_eq!(of(2..2), 0);
        // An offset and a letter, and two numbers.
        assert_eq!(of(0..1), 4 + 1 + 2 * 8);
    }

    #[test]
    fn rows_are_found_by_their_numbers() {
        let mut waiting = Waiting::default();
        let runs: Vec<Run> = (0..50).map(|at| waiting.push(rows(at * 10, &[Some("a"); 10])).unwrap()).collect();
        assert!(waiting.batches.len() < 8, "{} batches", waiting.batches.len());
        let part = |run: &Run, from, to| run.start + from..run.start + to;
        let taken = waiting.take(&[part(&runs[49], 9, 10), part(&runs[0], 2, 4), part(&runs[20], 0, 1)]).unwrap();
        assert_eq!(offsets(&taken), [499, 2, 3, 200]);
        assert_eq!(offsets(&waiting.take(&[part(&runs[7], 3, 6)]).unwrap()), [73, 74, 75]);
        // Numbers go on, whatever was taken.
        let run = waiting.push(rows(500, &[Some("a"); 10])).unwrap();
        assert_eq!(offsets(&waiting.take(&[run]).unwrap()), (500..510).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_is_taken_batch_by_batch() {
        let mut waiting = Waiting::default();
        let many = vec![Some("a"); 10_000];
        let runs: Vec<Run> = (0..3).map(|at| waiting.push(rows(at * 10_000, &many)).unwrap()).collect();
        let mut run = runs[0].start + 5..runs[2].end;
        let mut pieces = Vec::new();
        while !run.is_empty() {
            let piece = waiting.piece(&run);
            run.start = piece.end;
            pieces.push(offsets(&waiting.take(&[piece]).unwrap()));
        }
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [9_995, 10_000, 10_000]);
        assert_eq!(pieces.concat(), (5..30_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_goes_with_its_last_row() {
        let mut waiting = Waiting::default();
        let many = vec![Some("a"); 10_000];
        let runs = [waiting.push(rows(0, &many)).unwrap(), waiting.push(rows(10_000, &many)).unwrap()];
        let both = waiting.bytes();
        let last = runs[0].end - 1;
        let (most, rest) = (runs[0].start..last, last..runs[0].end);
        waiting.take(std::slice::from_ref(&most)).unwrap();
        assert_eq!(waiting.bytes(), both);
        waiting.take(std::slice::from_ref(&rest)).unwrap();
        assert!(waiting.bytes() <= both / 2);
        waiting.take(&runs[1..]).unwrap();
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn a_slice_does_not_keep_its_batch() {
        let mut waiting = Waiting::default();
        waiting.push(rows(0, &vec![Some("a"); 100_000]).slice(5, 10)).unwrap();
        assert!(waiting.bytes() < 8 << 10, "{} bytes", waiting.bytes());
    }
}
