//! Rows of a batch that is shared: a batch is cut into windows without touching its columns, and put together again the same way.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};

/// Consecutive rows of a batch, of which others may have rows, too. Nothing is copied.
#[derive(Debug, Clone)]
pub struct Rows {
    batch: Arc<RecordBatch>,
    range: Range<usize>,
}

impl From<RecordBatch> for Rows {
    /// All rows of a batch.
    fn from(batch: RecordBatch) -> Rows {
        let range = 0..batch.num_rows();
        Rows { batch: Arc::new(batch), range }
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Takes the first `count` rows out.
    pub fn split_front(&mut self, count: usize) -> Rows {
        assert!(count <= self.len(), "{count} of {} rows", self.len());
        let middle = self.range.start + count;
        let front = Rows { batch: self.batch.clone(), range: self.range.start..middle };
        self.range.start = middle;
        front
    }

    /// Takes `next` in, where it comes right after these rows in the same batch; answers whether it does.
    pub fn join(&mut self, next: &Rows) -> bool {
        let follows = Arc::ptr_eq(&self.batch, &next.batch) && self.range.end == next.range.start;
        if follows {
            self.range.end = next.range.end;
        }
        follows
    }

    /// As a batch.
    pub fn to_batch(&self) -> RecordBatch {
        self.batch.slice(self.range.start, self.range.len())
    }

    /// A column of the whole batch, in which these rows are at [`range`](Self::range).
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.batch.column_by_name(name)
    }

    /// Where these rows are in the batch.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// As few batches as hold all these rows, in order.
pub fn joined<'a>(all: impl IntoIterator<Item = &'a Rows>) -> Vec<RecordBatch> {
    let mut joined: Vec<Rows> = Vec::new();
    for rows in all {
        if !joined.last_mut().is_some_and(|last| last.join(rows)) {
            joined.push(rows.clone());
        }
    }
    joined.iter().map(Rows::to_batch).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{AsArray as _, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(values: Range<i64>) -> Rows {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("n", column)]).unwrap().into()
    }

    fn values(batch: &RecordBatch) -> Vec<i64> {
        batch["n"].as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn what_was_cut_is_put_together_without_a_copy() {
        let mut rest = rows(0..10);
        let before = rest.to_batch()["n"].to_data().buffers()[0].as_ptr();
        let parts = [rest.split_front(3), rest.split_front(0), rest.split_front(4), rest];
        assert_eq!(parts.each_ref().map(Rows::len), [3, 0, 4, 3]);
        assert_eq!(values(&parts[2].to_batch()), [3, 4, 5, 6]);
        let [one] = &joined(&parts)[..] else { panic!("it is one batch") };
        assert_eq!(values(one), (0..10).collect::<Vec<_>>());
        assert_eq!(one["n"].to_data().buffers()[0].as_ptr(), before);
    }

    #[test]
    fn what_does_not_follow_stays_apart() {
        let (mut one, other) = (rows(0..4), rows(4..6));
        let first = one.split_front(1);
        one.split_front(1);
        let batches = joined([&first, &one, &other]);
        assert_eq!(batches.iter().map(values).collect::<Vec<_>>(), [vec![0], vec![2, 3], vec![4, 5]]);
    }
}
