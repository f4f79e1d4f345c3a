//! A lane's files: which rows wait for them and for how long, and when they end.
//!
//! A row group is encoded when all its rows are there: that takes two thirds of the time, and a part of the memory, of encoding them
//! as they come. Until then they wait, so that thousands of windows or keys with a few rows each are a matter of their
//! rows. When they take the lane's share of the memory, the files that have enough for a row group end one. A side or key without a
//! row has no file. Files are closed, not fsynced: that is the committer's. A lane writer that has failed must not be used any
//! more. Files that it has not given by [`LaneWriter::finish`] are removed with it: no entry names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::open_file::{Create, Discard, Files, Names, OpenFiles, notes_bytes};
use super::route::{Place, REJECTS, Router, Share};
use super::waiting::{Run, Sizes, Waiting, rows_of};
use crate::flow::messages::WindowedPart;
use crate::flow::rows::joined;
use crate::ledger::FileEntry;
use crate::model::Partition;
use crate::model::Pipeline;
use crate::model::Side;
use crate::sink::{SinkError, properties};

/// Writes one lane's rows and rejects.
pub struct LaneWriter {
    router: Router,
    files: Files,
    open: OpenFiles,
    /// Those of `open` that have a row group on disk already.
    made: BTreeSet<Place>,
    /// The rows that are not yet encoded.
    waiting: BTreeMap<Side, Waiting>,
    /// Bytes of the notes of which rows wait for which file.
    notes: usize,
    /// Files that may have a row group on disk at the same time.
    max_keys: usize,
    /// A file ends when it has that many bytes.
    bytes_max: u64,
    /// Bytes of waiting rows at which files end row groups.
    waiting_max: usize,
    /// Rows of a row group at the most.
    row_group_rows: u64,
    /// Bytes of rows that are enough for one that ends for want of memory.
    row_group_bytes: usize,
    /// Bytes of waiting rows at which [`relieve`](Self::relieve) looks again; no less than `waiting_max`.
    look_at: usize,
    /// Bytes of rows of each side that were encoded lately, and of what was made of them.
    encoded: BTreeMap<Side, (u64, u64)>,
    /// Closed since the last [`finish`](Self::finish).
    finished: Closed,
    full: bool,
}

/// Bytes of a [`FileEntry`] and its texts, about.
pub(super) const FILE_ENTRY_BYTES: usize = 1024;

/// Bytes of waiting rows that are put in order together, so that files of a few rows share what that costs.
const TOGETHER_BYTES: usize = 1 << 20;

/// Bytes of rows that follow each other and are not put in order with others: to copy them would cost more than a batch of their own.
const ALONE_BYTES: usize = 128 << 10;

/// Bytes of rows that are enough for a row group that ends for want of memory: some 20,000 readings,
const ROW_GROUP_BYTES_LEAST: usize = 4 << 20;

/// and where there are many columns, so many a column: 8,000 numbers. Each row group has dictionaries of its own.
const ROW_GROUP_COLUMN_BYTES_LEAST: usize = 64 << 10;

/// Bytes of rows at which a row group ends whatever memory there is.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// What becomes of rows that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// They are the last ones of their files.
    End,
    /// They are a row group.
    EndRowGroup,
    /// They go on waiting, in batches of their own.
    Wait,
}

impl LaneWriter {
    /// A writer with no file open; `rows` and `rejects` are the schemas of the batches that it will be given.
    ///
    /// The folders that `names` puts staged files in must be there.
    pub fn new(
        pipeline: &Pipeline,
        partition: &Partition,
        rows: &SchemaRef,
        rejects: &SchemaRef,
        root: &Path,
        names: Names,
    ) -> Result<Self, SinkError> {
        let router = Router::new(rows, pipeline)?;
        let [data, late] = router.schemas();
        let time = pipeline.window.kind().event_time().map(|time| time.column().to_owned());
        let folder = root.to_owned();
        let files = Files {
            names,
            create: Box::new(move |staged| Ok(Box::new(File::create_new(folder.join(staged))?))),
            discard: Arc::new(|_| {}),
            root: root.to_owned(),
            schemas: BTreeMap::from([(Side::Data, data), (Side::Late, late), (Side::Rejects, rejects.clone())]),
            properties: properties(pipeline, partition),
            recipes: BTreeMap::new(),
            time,
        };
        Ok(LaneWriter {
            router,
            files,
            open: OpenFiles::default(),
            made: BTreeSet::new(),
            waiting: BTreeMap::new(),
            notes: 0,
            max_keys: pipeline.sink.max_keys.max(1),
            bytes_max: pipeline.sink.roll.bytes,
            waiting_max: usize::MAX,
            row_group_rows: pipeline.sink.row_group_rows as u64,
            row_group_bytes: ROW_GROUP_BYTES_LEAST.max(rows.fields().len() * ROW_GROUP_COLUMN_BYTES_LEAST),
            look_at: usize::MAX,
            encoded: BTreeMap::new(),
            finished: Closed { files: Vec::new(), discard: Arc::new(|_| {}) },
            full: false,
        })
    }

    /// The same, with ids for the columns of each side's files.
    pub fn with_ids(mut self, with_ids: impl Fn(Side, &SchemaRef) -> SchemaRef) -> Self {
        self.files.schemas.iter_mut().for_each(|(side, schema)| *schema = with_ids(*side, schema));
        self
    }

    /// The same, with another way to make its files.
    pub fn making_files(mut self, create: Create) -> Self {
        self.files.create = create;
        self
    }

    /// The same, with a way to remove files that become no part of an entry.
    pub fn discarding(mut self, discard: Discard) -> Self {
        self.files.discard = discard.clone();
        self.finished.discard = discard;
        self
    }

    /// The same, with rows that wait until they take `bytes`.
    pub fn within(mut self, bytes: usize) -> Self {
        (self.waiting_max, self.look_at) = (bytes, bytes);
        self
    }

    /// Writes consecutive parts. Files that have all their bytes after it end; see [`is_full`](Self::is_full).
    pub fn write(&mut self, parts: &[WindowedPart]) -> Result<(), SinkError> {
        let mut touched = Vec::new();
        for run in self.router.runs_of(parts) {
            let (rows, shares) = self.router.shares(&run)?;
            self.add(run[0].side, rows, shares, &mut touched)?;
        }
        for rejects in joined(parts.iter().map(|part| &part.rejects).filter(|rejects| !rejects.is_empty())) {
            let all = Share { place: REJECTS, rows: 0..rejects.num_rows(), windows: None };
            self.add(Side::Rejects, rejects, [all], &mut touched)?;
        }
        touched.into_iter().try_for_each(|place| self.settle(place))?;
        self.relieve()
    }

    /// Ends the open data and late files, keeping them for the next [`finish`](Self::finish).
    pub fn end_files(&mut self) -> Result<(), SinkError> {
        self.end(self.open.iter().map(|(place, _)| place).filter(|place| *place != REJECTS).collect())?;
        debug_assert!(self.open.iter().all(|(place, _)| place == REJECTS), "places get new meanings");
        self.router.forget();
        self.open.forget_closed();
        Ok(())
    }

    /// Ends all files and gives every file since the last finish.
    pub fn finish(&mut self) -> Result<Vec<FileEntry>, SinkError> {
        self.end_files()?;
        self.end(vec![REJECTS])?;
        self.open.forget_closed();
        self.full = false;
        self.look_at = self.waiting_max;
        Ok(std::mem::take(&mut self.finished.files))
    }

    /// Whether a file got all its bytes since the last finish: a reason to commit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that this keeps in memory, about; what a commit would free.
    pub fn memory(&self) -> usize {
        let made: usize = self.made.iter().map(|place| self.open[*place].memory()).sum();
        let notes = self.notes + self.router.bytes() + self.open.memory();
        made + self.waiting_bytes() + notes + self.finished.files.len() * FILE_ENTRY_BYTES
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.values().map(Waiting::bytes).sum()
    }

    /// Lets rows of one side, at least one, wait for their files.
    fn add(
        &mut self,
        side: Side,
        rows: RecordBatch,
        shares: impl IntoIterator<Item = Share>,
        touched: &mut Vec<Place>,
    ) -> Result<(), SinkError> {
        let first = self.waiting.entry(side).or_default().push(rows.clone())?.start;
        let sizes = Sizes::new(&rows);
        for Share { place, rows, windows } in shares {
            let open = self.open.get_or_open(place, || self.router.path(place));
            open.count(rows.len() as u64, windows);
            self.notes += open.wait(first + rows.start as u64..first + rows.end as u64, sizes.of(&rows));
            touched.push(place);
        }
        Ok(())
    }

    /// After rows came or a row group ended: ends the row group where as many rows again would be too many for one, or where its file
    /// has all its bytes with it, by what other rows took; and the file where it has them.
    fn settle(&mut self, place: Place) -> Result<(), SinkError> {
        // Making room for an earlier one of this write's files may have ended this one.
        let Some(open) = self.open.get(place) else { return Ok(()) };
        let (rows, bytes) = (open.waiting_rows(), open.waiting_bytes());
        let whole = rows + open.newest() > self.row_group_rows || bytes >= ROW_GROUP_BYTES_MAX;
        if rows > 0 && (whole || open.bytes() + self.bytes_of_encoded(place.0, bytes) >= self.bytes_max) {
            self.end_row_groups(place.0, &[place])?;
        }
        if self.open.get(place).is_some_and(|open| open.bytes() >= self.bytes_max) {
            self.full = true;
            self.end(vec![place])?;
        }
        Ok(())
    }

    /// Bytes that so many bytes of rows have in a file, going by those that were encoded lately; as many before any was.
    fn bytes_of_encoded(&self, side: Side, rows: usize) -> u64 {
        let (from, to) =
            self.encoded.get(&side).map_or((1, 1), |(from, to)| (u128::from(*from).max(1), u128::from(*to)));
        u64::try_from(rows as u128 * to / from).unwrap_or(u64::MAX)
    }

    /// Where waiting rows take too much memory: ends row groups of the files that have enough for one, if no more than half of it has
    /// to move then. The other rows do, or they would keep those in memory that came with them.
    fn relieve(&mut self) -> Result<(), SinkError> {
        let waiting = self.waiting_bytes();
        if waiting < self.look_at {
            if waiting < self.waiting_max {
                self.look_at = self.waiting_max;
            }
            return Ok(());
        }
        for side in self.waiting.keys().copied().collect::<Vec<_>>() {
            let (mut large, mut others, mut left) = (Vec::new(), Vec::new(), 0);
            for (place, open) in self.open.iter().filter(|(place, open)| place.0 == side && open.waiting_rows() > 0) {
                if open.waiting_bytes() >= self.row_group_bytes {
                    large.push(place);
                } else {
                    left += open.waiting_bytes();
                    others.push(place);
                }
            }
            if 2 * left <= self.waiting[&side].bytes() {
                self.end_row_groups(side, &large)?;
                self.take(side, &others, Then::Wait)?;
                large.into_iter().try_for_each(|place| self.settle(place))?;
            }
        }
        // Where nothing could be done it isn't looked for with each write.
        let waiting = self.waiting_bytes();
        self.look_at = self.waiting_max.max(waiting + waiting / 4);
        Ok(())
    }

    /// Ends a row group of each of these files. Where those that are made are too many with it, the one with the most rows ends first.
    fn end_row_groups(&mut self, side: Side, places: &[Place]) -> Result<(), SinkError> {
        for place in places {
            let Some(open) = self.open.get(*place) else { continue };
            let (rows, before) = (open.waiting_bytes(), open.bytes());
            while !self.made.contains(place) && self.made.len() >= self.max_keys {
                let largest = self.made.iter().max_by_key(|place| self.open[**place].rows()).copied();
                self.end(vec![largest.expect("there is one")])?;
            }
            self.made.insert(*place);
            self.take(side, &[*place], Then::EndRowGroup)?;
            let (from, to) = self.encoded.entry(side).or_default();
            *from = *from / 2 + rows as u64;
            *to = *to / 2 + self.open[*place].bytes() - before;
        }
        Ok(())
    }

    /// Ends files, given in the order of their places. That is the order of the rows in each batch that waits, so that what is taken
    /// out of it is beside what was taken before, and in the processor's caches already.
    fn end(&mut self, places: Vec<Place>) -> Result<(), SinkError> {
        // What waits for several is taken together, but for no more of them than needed: a file that is made has its price.
        for side in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.take(side, &places, Then::End)?;
        }
        // Those for which nothing waited.
        places.into_iter().try_for_each(|place| self.close(place))
    }

    /// Ends a file that has all its rows.
    fn close(&mut self, place: Place) -> Result<(), SinkError> {
        if let Some(open) = self.open.remove(place) {
            self.made.remove(&place);
            self.finished.files.push(open.close()?);
        }
        Ok(())
    }

    /// Takes what waits for files of a side. Where they end with it, each is closed before the next one is made.
    fn take(&mut self, side: Side, places: &[Place], then: Then) -> Result<(), SinkError> {
        let mut together = Together::default();
        for place in places.iter().filter(|place| place.0 == side) {
            let Some(open) = self.open.get_mut(*place).filter(|open| open.waiting_rows() > 0) else { continue };
            let bytes_a_row = open.waiting_bytes() / usize::try_from(open.waiting_rows()).unwrap_or(usize::MAX);
            let runs = open.take_waiting();
            self.notes -= notes_bytes(&runs);
            for mut run in runs {
                while !run.is_empty() {
                    let piece = self.waiting[&side].piece(&run);
                    let bytes = match bytes_a_row * rows_of(&piece) {
                        bytes if bytes < ALONE_BYTES => bytes,
                        _ => TOGETHER_BYTES,
                    };
                    if together.bytes + bytes > TOGETHER_BYTES {
                        self.take_together(side, std::mem::take(&mut together), then)?;
                    }
                    run.start = piece.end;
                    together.add(*place, piece, bytes);
                }
            }
            together.parts.last_mut().expect("it has the last of the rows").last = true;
        }
        self.take_together(side, together, then)
    }

    fn take_together(&mut self, side: Side, together: Together, then: Then) -> Result<(), SinkError> {
        if together.pieces.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting.get_mut(&side).expect("it has the rows that wait");
        let rows = waiting.take(&together.pieces)?;
        let mut from = 0;
        let parts = together.parts.into_iter().map(|part| {
            let rows = from..from + part.rows;
            from = rows.end;
            (part, rows)
        });
        if then == Then::Wait {
            let (first, sizes) = (waiting.push(rows.clone())?.start, Sizes::new(&rows));
            for (Part { place, .. }, part) in parts {
                let open = self.open.get_mut(place).expect("it has rows that wait");
                self.notes += open.wait(first + part.start as u64..first + part.end as u64, sizes.of(&part));
            }
            return Ok(());
        }
        for (Part { place, last, .. }, part) in parts {
            let open = self.open.get_mut(place).expect("it is ended after its last rows");
            open.write(rows.slice(part.start, part.len()), &mut self.files, then == Then::End)?;
            match then {
                Then::End if last => self.close(place)?,
                Then::EndRowGroup if last => open.end_row_group()?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Files that are closed and not yet given away. They go with this.
struct Closed {
    files: Vec<FileEntry>,
    discard: Discard,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.files.iter().for_each(|file| (self.discard)(&file.staged));
    }
}

/// Waiting rows that are taken together.
#[derive(Default)]
struct Together {
    pieces: Vec<Run>,
    parts: Vec<Part>,
    bytes: usize,
}

/// Those of one file.
struct Part {
    place: Place,
    rows: usize,
    /// Whether nothing more waits for it.
    last: bool,
}

impl Together {
    fn add(&mut self, place: Place, piece: Run, bytes: usize) {
        let rows = rows_of(&piece);
        self.pieces.push(piece);
        self.bytes += bytes;
        match self.parts.last_mut() {
            Some(part) if part.place == place => part.rows += rows,
            _ => self.parts.push(Part { place, rows, last: false }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
