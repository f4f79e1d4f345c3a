//! A batch of records to columns of good rows and rejected records: pure, total, and without memory of the batch before
//! (but for what it guesses of the next one's shape).

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::base::failpoint;
use crate::decode::{Problem, Reader, Token, TokenKind};
use crate::flow::messages::CheckedRecords;
use crate::model::Pipeline;
use crate::model::pipeline::{Column, UnknownFields};
use crate::model::schema::{data_schema, rejects_schema};
use crate::model::{Partition, RawRecords};
use crate::validate::ahead::Ahead;
use crate::validate::column::{Cells, Nothing, cells, plain_text};
use crate::validate::kept::Kept;
use crate::validate::reject::{coordinates, reject_rows};
use crate::validate::row::{Fault, Row};

/// Checks the records of one lane, a batch at a time.
pub struct Checker {
    columns: Vec<Column>,
    unknown_fields: UnknownFields,
    schema: SchemaRef,
    rejects_schema: SchemaRef,
    reader: Reader,
    cells: Vec<Box<dyn Cells>>,
    extra: Option<Extra>,
    ahead: Option<Ahead>,
    /// One record's unknown fields.
    kept: Kept,
}

/// The column of unknown fields.
struct Extra {
    cells: Box<dyn Cells>,
    object: String,
}

impl Checker {
    /// A checker for a pipeline's columns and rules.
    ///
    /// # Panics
    /// When a column's rule or default has a value of another type than the column: reading a definition refuses that.
    pub fn new(pipeline: &Pipeline) -> Checker {
        let keep = pipeline.validate.unknown_fields == UnknownFields::Keep;
        let reader = Reader::new(pipeline.columns.iter().map(|column| column.from.as_slice()));
        Checker {
            columns: pipeline.columns.clone(),
            unknown_fields: pipeline.validate.unknown_fields,
            schema: data_schema(pipeline),
            rejects_schema: rejects_schema(),
            reader: if keep { reader.keeping() } else { reader },
            cells: pipeline
                .columns
                .iter()
                .map(|column| cells(column, pipeline.sink.partition_by.contains(&column.name)))
                .collect(),
            extra: keep.then(|| Extra { cells: plain_text(), object: String::new() }),
            ahead: Ahead::new(&pipeline.window, &pipeline.columns),
            kept: Kept::default(),
        }
    }

    /// Puts each record in its class. Good rows and rejects keep the records' order.
    ///
    /// Total: whatever bytes the records have, each becomes a row, a reject or a tombstone. The batch as a whole must be
    /// below 2 GiB, Arrow's limit on a column of text, which sources are far below.
    pub fn check(&mut self, partition: &Partition, records: &RawRecords) -> CheckedRecords {
        self.reserve(records.len() - records.tombstones.len());
        let mut good = Vec::with_capacity(records.len());
        let mut rejects = Vec::new();
        let mut tombstones = records.tombstones.iter().copied().peekable();
        // Known of all at once, at a fraction of what it takes to ask it of each.
        let text = simdutf8::basic::from_utf8(&records.values).ok();
        for index in 0..records.len() {
            if tombstones.next_if_eq(&index).is_some() {
                continue;
            }
            let text = text.and_then(|text| text.get(records.value_at(index)));
            match self.record(records.value(index), text, records.timestamps[index], good.len()) {
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

    /// Reads one record into the columns, which are `row` long. After an `Err` they may be longer, and must be cut back.
    ///
    /// `text` is its payload where that is known to be UTF-8.
    fn record(&mut self, payload: &[u8], text: Option<&str>, kafka_ms: Option<i64>, row: usize) -> Result<(), Fault> {
        let text = text.map_or_else(|| simdutf8::compat::from_utf8(payload), Ok);
        let text = text.map_err(|error| whole(Problem::utf8(payload, error.valid_up_to())))?;
        let mut fields = Row::new(&mut self.cells, row, self.unknown_fields, &mut self.kept);
        self.reader.read(text, &mut fields).map_err(|broken| whole(broken.problem(text)))?;
        fields.end()?;
        if let Some(ahead) = &self.ahead {
            ahead.check(&self.cells, row, kafka_ms)?;
        }
        match &mut self.extra {
            None => Ok(()),
            Some(extra) => extra.push(&mut self.kept).map_err(whole),
        }
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

    fn all_cells(&mut self) -> impl Iterator<Item = &mut Box<dyn Cells>> {
        self.cells.iter_mut().chain(self.extra.as_mut().map(|extra| &mut extra.cells))
    }

    /// The good rows as a batch.
    fn rows(&mut self, partition: &Partition, records: &RawRecords, good: &[usize]) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = self.all_cells().map(|cells| cells.finish()).collect();
        arrays.extend(coordinates(partition, records, good));
        RecordBatch::try_new(self.schema.clone(), arrays).expect("the columns are built after the schema, all as long")
    }
}

impl Extra {
    /// Adds a row: an object of what was kept, or null if that is nothing.
    fn push(&mut self, kept: &mut Kept) -> Result<(), Problem> {
        if !kept.object(&mut self.object) {
            return self.cells.write_nothing(Nothing::Absent);
        }
        self.cells.write(&Token::new(&self.object, TokenKind::Object))
    }
}

/// A fault of the record as a whole.
fn whole(problem: Problem) -> Fault {
    Fault { column: None, problem }
}
