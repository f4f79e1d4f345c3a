//! Which file each row of a lane goes to: a data file for each hive key and window of time, late files, and a rejects file.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::flow::messages::{WindowRows, WindowedPart};
use crate::flow::rows::joined;
use crate::model::Pipeline;
use crate::model::Side;
use crate::model::schema::late_schema;
use crate::model::window::WindowId;
use crate::sink::{Folder, Layout, SinkError, Split};

/// Which file a row goes to: its side, and the number of its hive key and window of time among those of that side since the
/// last [`forget`](Router::forget). A file of count windows has a run of them, one of windows of time has one.
pub(super) type Place = (Side, usize);

/// Where rejects go.
pub(super) const REJECTS: Place = (Side::Rejects, 0);

/// Rows for one file.
pub(super) struct Share {
    pub(super) place: Place,
    pub(super) rows: Range<usize>,
    pub(super) windows: Option<(WindowId, WindowId)>,
}

/// Finds the files of data and late rows.
pub(super) struct Router {
    data: Layout,
    late: Layout,
    /// Whether windows are of time.
    of_time: bool,
}

impl Router {
    /// For rows of this schema.
    pub(super) fn new(rows: &SchemaRef, pipeline: &Pipeline) -> Result<Self, SinkError> {
        let calendar = pipeline.window.kind().calendar();
        let data = Layout::new(rows, &pipeline.sink.partition_by, calendar.as_ref())?;
        let late = Layout::new(&late_schema(rows), &pipeline.sink.partition_by, calendar.as_ref())?;
        Ok(Router { data, late, of_time: calendar.is_some() })
    }

    /// What data and late files have.
    pub(super) fn schemas(&self) -> [SchemaRef; 2] {
        [&self.data, &self.late].map(|layout| layout.schema().clone())
    }

    /// Bytes that it remembers of folders, about.
    pub(super) fn bytes(&self) -> usize {
        self.data.bytes() + self.late.bytes()
    }

    /// The hive path of the files at a place.
    pub(super) fn path(&self, (side, number): Place) -> Arc<str> {
        match side {
            Side::Data => self.data.path(number).clone(),
            Side::Late => self.late.path(number).clone(),
            Side::Rejects => "".into(),
        }
    }

    /// Forgets the places that it has seen.
    pub(super) fn forget(&mut self) {
        self.data.forget();
        self.late.forget();
    }

    /// Rows that go to the same files, together: of a hundred keys, each window of a hundred rows has one or two.
    pub(super) fn runs_of<'p>(&self, parts: &'p [WindowedPart]) -> Vec<Vec<&'p WindowRows>> {
        let mut runs: Vec<Vec<&WindowRows>> = Vec::new();
        for rows in parts.iter().flat_map(|part| &part.rows) {
            match runs.last_mut() {
                Some(run) if self.file_of(run[0]) == self.file_of(rows) => run.push(rows),
                _ => runs.push(vec![rows]),
            }
        }
        runs
    }

    /// A run's rows in the order of their files, and which of them each file has; no file twice.
    pub(super) fn shares<'r>(
        &mut self,
        run: &'r [&WindowRows],
    ) -> Result<(RecordBatch, impl Iterator<Item = Share> + use<'r>), SinkError> {
        let (side, window) = self.file_of(run[0]);
        let layout = if side == Side::Late { &mut self.late } else { &mut self.data };
        let ends: Vec<usize> = run
            .iter()
            .scan(0, |end, part| {
                *end += part.rows.len();
                Some(*end)
            })
            .collect();
        let batches = joined(run.iter().map(|part| &part.rows));
        let window_of = move |row: usize| run[ends.partition_point(|end| *end <= row)].window;
        let Split { rows, folders } = layout.split(&joined_batch(batches)?, window)?;
        let share = move |Folder { number, rows, first, last }| {
            let windows = Some((window_of(first), window_of(last)));
            Share { place: (side, number), rows, windows }
        };
        Ok((rows, folders.into_iter().map(share)))
    }

    /// Which files rows go to, but for their hive key.
    fn file_of(&self, rows: &WindowRows) -> (Side, Option<WindowId>) {
        (rows.side, self.of_time.then_some(rows.window))
    }
}

/// One batch of all; nothing is copied where it is one already.
fn joined_batch(mut batches: Vec<RecordBatch>) -> Result<RecordBatch, ArrowError> {
    match batches.len() {
        1 => Ok(batches.remove(0)),
        _ => concat_batches(&batches[0].schema(), &batches),
    }
}
