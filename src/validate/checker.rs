//! A batch of records to columns of good rows and rejected records: pure, total, and without memory of the batch before
//! (but for what it guesses of the next one's shape).

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::base::failpoint;
use crate::decode::{Decoder, Problem, Record, WithDecoder, with_decoder};
use crate::flow::messages::CheckedRecords;
use crate::model::Pipeline;
use crate::model::pipeline::{Column, UnknownFields};
use crate::model::schema::{data_schema, rejects_schema};
use crate::model::{Partition, RawRecords};
use crate::validate::ahead::Ahead;
use crate::validate::column::{Cells, CellsOf, Texts, cells};
use crate::validate::reject::{coordinates, reject_rows};
use crate::validate::row::{Fault, Row};

/// Checks the records of one lane, a batch at a time.
pub struct Checker(Box<dyn Check>);

impl Checker {
    /// A checker for a pipeline's columns and rules, and the records of its format.
    ///
    /// # Panics
    /// When a column's rule or default has a value of another type than the column: reading a definition refuses that.
    pub fn new(pipeline: &Pipeline) -> Checker {
        with_decoder(pipeline, Checks(pipeline))
    }

    /// Puts each record in its class. Good rows and rejects keep the records' order.
    ///
    /// Total: whatever bytes the records have, each becomes a row, a reject or a tombstone. The batch as a whole must be
    /// below 2 GiB, Arrow's limit on a column of text, which sources are far below.
    pub fn check(&mut self, partition: &Partition, records: &RawRecords) -> CheckedRecords {
        self.0.check(partition, records)
    }
}

/// Makes a checker for records that a decoder reads.
pub(crate) struct Checks<'p>(pub(crate) &'p Pipeline);

impl WithDecoder for Checks<'_> {
    type Made = Checker;

    fn with(self, decoder: impl Decoder + 'static) -> Checker {
        Checker(Box::new(CheckerOf::new(self.0, decoder)))
    }
}

/// [`Checker::check`], of whatever format. A batch is one call, so that code that knows the format
/// reads its records.
trait Check: Send {
    fn check(&mut self, partition: &Partition, records: &RawRecords) -> CheckedRecords;
}

/// The checker of the records that one decoder reads.
struct CheckerOf<D: Decoder> {
    columns: Vec<Column>,
    schema: SchemaRef,
    rejects_schema: SchemaRef,
    decoder: D,
    cells: Vec<Box<dyn CellsOf<D>>>,
    /// The column of unknown fields, where they are kept.
    extra: Option<Texts>,
    ahead: Option<Ahead>,
}

impl<D: Decoder> Check for CheckerOf<D> {
    fn check(&mut self, partition: &Partition, records: &RawRecords) -> CheckedRecords {
        self.reserve(records.len() - records.tombstones.len());
        let mut good = Vec::with_capacity(records.len());
        let mut rejects = Vec::new();
        let mut tombstones = records.tombstones.iter().copied().peekable();
        // Known of all at once, at a fraction of what it takes to ask it of each.
        let text = if D::TEXT { simdutf8::basic::from_utf8(&records.values).ok() } else { None };
        for index in 0..records.len() {
            if tombstones.next_if_eq(&index).is_some() {
                continue;
            }
            let text = text.and_then(|text| text.get(records.value_at(index)));
            let record = Record { bytes: records.value(index), text };
            match self.record(&record, records.timestamps[index], good.len()) {
                Ok(()) => good.push(index),
                Err(fault) => {
                    self.cut_back(good.len());
                    rejects.push((index, fault));
                }
            }
        }
        if failpoint::planted("reject.dropped") {
            rejects.pop();
        }
        CheckedRecords {
            rows: self.rows(partition, records, &good),
            rejects: reject_rows(&self.rejects_schema, &self.columns, partition, records, &rejects),
            filtered: Vec::new(),
            tombstones: records.tombstones.iter().map(|index| records.offsets[*index]).collect(),
        }
    }
}

impl<D: Decoder> CheckerOf<D> {
    fn new(pipeline: &Pipeline, decoder: D) -> Self {
        CheckerOf {
            columns: pipeline.columns.clone(),
            schema: data_schema(pipeline),
            rejects_schema: rejects_schema(),
            decoder,
            cells: pipeline
                .columns
                .iter()
                .map(|column| cells(column, pipeline.sink.partition_by.contains(&column.name)))
                .collect(),
            extra: (pipeline.validate.unknown_fields == UnknownFields::Keep).then(Texts::json),
            ahead: Ahead::new(&pipeline.window, &pipeline.columns),
        }
    }

    /// Reads one record into the columns, which are `row` long. After an `Err` they may be longer, and must be cut back.
    fn record(&mut self, record: &Record<'_>, kafka_ms: Option<i64>, row: usize) -> Result<(), Fault> {
        let mut values = Row::new(&mut self.cells, row);
        let whole = |problem: Problem| Fault { column: None, problem };
        self.decoder.decode(record, &mut values).map_err(whole)?;
        values.end()?;
        if let Some(ahead) = &self.ahead {
            ahead.check(|column| self.cells[column].instant(row), kafka_ms)?;
        }
        if let Some(extra) = &mut self.extra {
            extra.push(self.decoder.unread());
        }
        Ok(())
    }

    fn reserve(&mut self, rows: usize) {
        for cells in self.all_cells() {
            cells.reserve(rows);
        }
    }

    fn cut_back(&mut self, rows: usize) {
        for cells in self.all_cells() {
            cells.truncate(rows);
        }
    }

    fn all_cells(&mut self) -> impl Iterator<Item = &mut dyn Cells> {
        let cells = self.cells.iter_mut().map(|cells| &mut **cells as &mut dyn Cells);
        cells.chain(self.extra.iter_mut().map(|extra| extra as &mut dyn Cells))
    }

    /// The good rows as a batch.
    fn rows(&mut self, partition: &Partition, records: &RawRecords, good: &[usize]) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = self.all_cells().map(|cells| cells.finish()).collect();
        arrays.extend(coordinates(partition, records, good));
        RecordBatch::try_new(self.schema.clone(), arrays).expect("the columns are built after the schema, all as long")
    }
}
