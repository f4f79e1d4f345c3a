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
mod tests {
    use std::fs::File;
    use std::time::Instant;

    use arrow::array::AsArray;
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Float64Type, Int64Type};
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::model::Class;
    use crate::model::names::StagedName;
    use crate::model::window::{WindowId, WindowState};
    use crate::sink::testing::{partition, parts, pipeline, rejects, rows, windower};
    use crate::sink::{Pending, Roller, Step};

    fn writer(root: &Path, pipeline: &Pipeline) -> LaneWriter {
        let mut number = 0;
        let names: Names = Box::new(move |side, path| {
            number += 1;
            StagedName {
                staged: format!("{number}.parquet"),
                path: format!("{}/{path}/{number}.parquet", side.folder()),
            }
        });
        LaneWriter::new(pipeline, &partition(), &rows(0, &[]).schema(), &rejects(vec![]).schema(), root, names).unwrap()
    }

    /// A file as one comparable value: side and hive path, windows, rows.
    type Seen<'a> = (&'a str, Option<(u64, u64)>, u64);

    fn seen(files: &[FileEntry]) -> Vec<Seen<'_>> {
        let number = |window| if let WindowId::Count(number) = window { number } else { unreachable!() };
        let seen = files.iter().map(|file| {
            let folder = file.path.rsplit_once('/').unwrap().0;
            (folder, file.windows.map(|(first, last)| (number(first), number(last))), file.rows)
        });
        seen.collect()
    }

    /// The hive paths that have rows and are not ended.
    fn paths(writer: &LaneWriter) -> Vec<&str> {
        let mut paths: Vec<&str> = writer.open.iter().map(|(_, open)| open.path()).collect();
        paths.sort_unstable();
        paths
    }

    fn read(root: &Path, file: &FileEntry) -> (ArrowReaderMetadata, RecordBatch) {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let open = File::open(root.join(&file.staged)).unwrap();
        let metadata = ArrowReaderMetadata::load(&open, options).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(open, metadata.clone()).build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        (metadata.clone(), concat_batches(metadata.schema(), &batches).unwrap())
    }

    #[test]
    fn rows_and_rejects_come_back() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&["k"]));
        let keys = [Some("a"), Some("a"), Some("b"), Some("a"), Some("b")];
        writer.write(&parts(&mut windower(2), 0, &keys, 2)).unwrap();
        let files = writer.finish().unwrap();
        assert_eq!(seen(&files), [("data/k=a", Some((0, 1)), 3), ("data/k=b", Some((1, 2)), 2), ("rejects/", None, 2)]);

        let offsets = |index: usize| {
            let (_, rows) = read(root.path(), &files[index]);
            rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
        };
        assert_eq!([offsets(0), offsets(1), offsets(2)], [vec![0, 1, 3], vec![2, 4], vec![5, 6]]);
        let (_, rows) = read(root.path(), &files[1]);
        assert_eq!(rows["value"].as_primitive::<Float64Type>().values(), &[1.0, 2.0]);
        assert!(rows.column_by_name("k").is_none());
    }

    #[test]
    fn few_rows_get_a_codec_that_costs_little() {
        use parquet::basic::Compression::{GZIP, SNAPPY, ZSTD};
        let codec = |compression, rows: usize| {
            let root = tempfile::tempdir().unwrap();
            let mut pipeline = pipeline(&[]);
            pipeline.sink.compression = compression;
            let mut writer = writer(root.path(), &pipeline);
            writer.write(&parts(&mut windower(100), 0, &vec![None; rows], 0)).unwrap();
            let files = writer.finish().unwrap();
            let (metadata, read) = read(root.path(), &files[0]);
            assert_eq!(read.num_rows(), rows);
            let chunk = metadata.metadata().row_group(0).column(0);
            assert!(chunk.statistics().is_some());
            chunk.compression()
        };
        assert_eq!(codec(ZSTD(Default::default()), 1000), SNAPPY);
        assert!(matches!(codec(ZSTD(Default::default()), 1001), ZSTD(_)));
        assert!(matches!(codec(GZIP(Default::default()), 1000), GZIP(_)));
    }

    #[test]
    fn every_file_is_alike_and_describes_itself() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.row_group_rows = 10_000;
        let mut writer = writer(root.path(), &pipeline);
        let keys: Vec<_> = (0..60_000).map(|index| if index < 25_000 { Some("a") } else { None }).collect();
        writer.write(&parts(&mut windower(100_000), 0, &keys, 0)).unwrap();
        let files = writer.finish().unwrap();
        assert_eq!(files.len(), 2);

        let mut schemas = Vec::new();
        for file in &files {
            let bytes = std::fs::read(root.path().join(&file.staged)).unwrap();
            assert!(bytes.len() > 16 << 10, "more than one buffer's worth");
            assert_eq!(file.bytes, bytes.len() as u64);
            assert_eq!(file.sha256, crate::model::names::hex(&Sha256::digest(&bytes)));

            let (metadata, rows) = read(root.path(), file);
            assert_eq!(rows.num_rows() as u64, file.rows);
            schemas.push(metadata.schema().fields().clone());
            let metadata = metadata.metadata();
            let footer = metadata.file_metadata();
            assert_eq!(footer.created_by(), Some(concat!("weir version ", env!("CARGO_PKG_VERSION"))));
            let about = |key: &str| {
                let found = footer.key_value_metadata().unwrap().iter().find(|entry| entry.key == key);
                found.and_then(|entry| entry.value.clone()).unwrap()
            };
            assert_eq!(about("weir.pipeline"), "air");
            assert_eq!(about("weir.pipeline_hash"), "abc");
            assert_eq!((about("weir.topic"), about("weir.partition")), ("readings".to_owned(), "3".to_owned()));
            assert_eq!(about("weir.path"), file.path);
            assert!(metadata.row_groups().iter().all(|group| group.num_rows() <= 10_000));
            for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
                let statistics = chunk.statistics().unwrap();
                assert!(statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some());
                assert_eq!(statistics.null_count_opt(), Some(0));
                assert!(matches!(chunk.compression(), parquet::basic::Compression::ZSTD(_)));
            }
            assert!(metadata.page_index().is_some());
        }
        assert_eq!(schemas[0], schemas[1]);
    }

    #[test]
    fn ended_files_wait_for_the_finish() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&[]));
        let mut windower = windower(2);
        assert_eq!(writer.finish().unwrap(), []);
        writer.write(&parts(&mut windower, 0, &[None; 4], 1)).unwrap();
        writer.end_files().unwrap();
        writer.write(&parts(&mut windower, 5, &[None; 2], 1)).unwrap();
        let files = writer.finish().unwrap();
        assert_eq!(seen(&files), [("data/", Some((0, 1)), 4), ("data/", Some((2, 2)), 2), ("rejects/", None, 2)]);
        writer.write(&parts(&mut windower, 8, &[], 1)).unwrap();
        assert_eq!(seen(&writer.finish().unwrap()), [("rejects/", None, 1)]);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 4);
    }

    /// Bytes of rows that are enough for a row group here.
    const GROUP_BYTES: usize = 100_000;

    /// As many rows: none takes less than two numbers.
    const GROUP_ROWS: usize = GROUP_BYTES / 16;

    /// A writer whose files end row groups where waiting rows take `memory`.
    fn writer_within(root: &Path, pipeline: &Pipeline, memory: usize) -> LaneWriter {
        LaneWriter { row_group_bytes: GROUP_BYTES, ..writer(root, pipeline) }.within(memory)
    }

    #[test]
    fn one_key_too_many_ends_the_largest_file() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.max_keys = 2;
        // Row groups end with each write.
        let mut writer = writer_within(root.path(), &pipeline, 1);
        let (mut windower, mut next) = (windower(1_000_000), 0);
        for (key, times) in [("a", 1), ("b", 2), ("c", 1), ("b", 1)] {
            let rows = times * GROUP_ROWS;
            writer.write(&parts(&mut windower, next, &vec![Some(key); rows], 0)).unwrap();
            next += rows as i64;
        }
        assert_eq!(paths(&writer), ["k=a", "k=b"]);
        assert!(!writer.is_full());
        let (windows, rows) = (Some((0, 0)), GROUP_ROWS as u64);
        assert_eq!(
            seen(&writer.finish().unwrap()),
            [
                ("data/k=b", windows, 2 * rows),
                ("data/k=c", windows, rows),
                ("data/k=a", windows, rows),
                ("data/k=b", windows, rows)
            ]
        );
    }

    #[test]
    fn a_file_that_another_ends_in_the_same_write() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.max_keys = 1;
        let mut writer = writer_within(root.path(), &pipeline, 1);
        let (mut windower, rows) = (windower(1_000_000), GROUP_ROWS);
        writer.write(&parts(&mut windower, 0, &vec![Some("b"); 2 * rows], 0)).unwrap();
        // Both have enough for a row group, but the first one's makes the other one end.
        let keys: Vec<_> = (0..2 * rows).map(|row| if row < rows { Some("a") } else { Some("b") }).collect();
        writer.write(&parts(&mut windower, 2 * rows as i64, &keys, 0)).unwrap();
        assert_eq!((paths(&writer), writer.made.len(), writer.finished.files.len()), (vec!["k=a"], 1, 1));
        let files = writer.finish().unwrap();
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 4 * rows as u64);
        assert_eq!(writer.memory(), 0);
    }

    /// Rows of each row group of a file.
    fn row_groups(root: &Path, file: &FileEntry) -> Vec<i64> {
        let (metadata, _) = read(root, file);
        metadata.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
    }

    #[test]
    fn rows_wait_until_they_take_the_memory() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer_within(root.path(), &pipeline(&["k"]), 2 * GROUP_BYTES);
        let (mut windower, mut most) = (windower(1_000_000), 0);
        for at in 0..100 {
            writer.write(&parts(&mut windower, at * 500, &[Some("a"); 500], 0)).unwrap();
            most = most.max(writer.waiting_bytes());
        }
        assert!(most < 2 * GROUP_BYTES, "{most} bytes");
        let files = writer.finish().unwrap();
        let groups = row_groups(root.path(), &files[0]);
        assert!((4..20).contains(&groups.len()) && groups[..3].iter().all(|rows| *rows > 2_000), "{groups:?}");
        let (_, rows) = read(root.path(), &files[0]);
        let offsets = rows["_kafka_offset"].as_primitive::<Int64Type>();
        assert_eq!(offsets.values(), &(0..50_000).collect::<Vec<_>>());
        assert_eq!(writer.memory(), 0);
    }

    #[test]
    fn few_rows_of_many_files_are_no_row_groups() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer_within(root.path(), &pipeline(&["k"]), GROUP_BYTES);
        let keys: Vec<String> = (0..10).map(|key| key.to_string()).collect();
        let batch: Vec<_> = (0..500).map(|row| Some(keys[row % 10].as_str())).collect();
        let mut windower = windower(1_000_000);
        for at in 0..100 {
            writer.write(&parts(&mut windower, at * 500, &batch, 0)).unwrap();
        }
        // Not even where all of them together take more than the lane's share: that is for a commit.
        assert!(writer.made.is_empty() && writer.waiting_bytes() > 2 * GROUP_BYTES);
        let files = writer.finish().unwrap();
        assert!(files.iter().all(|file| row_groups(root.path(), file) == [5_000]));
    }

    #[test]
    fn rows_of_other_files_do_not_keep_a_row_group_in_memory() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer_within(root.path(), &pipeline(&["k"]), 2 * GROUP_BYTES);
        // One in a hundred is of another key.
        let batch: Vec<_> = (0..500).map(|row| Some(if row % 100 == 7 { "b" } else { "a" })).collect();
        let mut windower = windower(1_000_000);
        for at in 0..100 {
            writer.write(&parts(&mut windower, at * 500, &batch, 0)).unwrap();
            assert!(writer.waiting_bytes() < 2 * GROUP_BYTES, "{} bytes", writer.waiting_bytes());
        }
        assert_eq!(writer.made.len(), 1);
        let files = writer.finish().unwrap();
        let offsets = |file| {
            let (_, rows) = read(root.path(), file);
            rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
        };
        let of_key = |key: &str| files.iter().find(|file| file.path.contains(key)).unwrap();
        assert_eq!(offsets(of_key("k=b")), (0..50_000).filter(|row| row % 100 == 7).collect::<Vec<i64>>());
        assert_eq!(offsets(of_key("k=a")), (0..50_000).filter(|row| row % 100 != 7).collect::<Vec<i64>>());
    }

    #[test]
    fn a_row_group_ends_before_it_has_too_many_rows() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.row_group_rows = 1_000;
        let mut writer = writer(root.path(), &pipeline);
        let mut windower = windower(1_000_000);
        for at in 0..50 {
            writer.write(&parts(&mut windower, at * 300, &[Some("a"); 300], 0)).unwrap();
            let waiting: u64 = writer.open.iter().map(|(_, open)| open.waiting_rows()).sum();
            assert!(waiting < 900, "{waiting} rows wait");
        }
        let files = writer.finish().unwrap();
        let groups = row_groups(root.path(), &files[0]);
        assert!(groups[..16].iter().all(|rows| *rows == 900) && groups[16..] == [600], "{groups:?}");
    }

    #[test]
    fn rows_of_texts_end_a_row_group_by_their_bytes() {
        let mut writer = writer(Path::new("/nowhere"), &pipeline(&[]));
        // Those that another one's average hides.
        let place = (Side::Data, 0);
        let open = writer.open.get_or_open(place, || "".into());
        open.count(1, None);
        writer.notes += open.wait(0..1, ROW_GROUP_BYTES_MAX);
        writer.waiting.entry(Side::Data).or_default().push(rows(0, &[None])).unwrap();
        let error = writer.settle(place).unwrap_err();
        assert!(matches!(error, SinkError::Create { .. }), "it is made: {error}");
    }

    #[test]
    fn a_file_that_has_its_bytes_for_want_of_memory_ends() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.roll.bytes = 40_000;
        let mut writer = writer_within(root.path(), &pipeline, 1);
        // Rows seem to become far fewer bytes than they do.
        writer.encoded.insert(Side::Data, (1_000_000, 1));
        writer.write(&parts(&mut windower(1_000_000), 0, &[Some("a"); 10 * GROUP_ROWS], 0)).unwrap();
        assert!(writer.is_full() && paths(&writer).is_empty());
    }

    #[test]
    fn a_file_has_its_bytes_whatever_memory_there_is() {
        for memory in [1, usize::MAX] {
            let root = tempfile::tempdir().unwrap();
            let mut pipeline = pipeline(&["k"]);
            pipeline.sink.roll.bytes = 400_000;
            let mut writer = writer(root.path(), &pipeline).within(memory);
            let (mut windower, mut next) = (windower(10_000_000), 0);
            for _ in 0..3 {
                while !writer.is_full() {
                    writer.write(&parts(&mut windower, next, &[Some("a"); 5_000], 0)).unwrap();
                    next += 5_000;
                }
                let files = writer.finish().unwrap();
                let groups = row_groups(root.path(), &files[0]);
                assert!(files.len() == 1 && (400_000..500_000).contains(&files[0].bytes), "{} bytes", files[0].bytes);
                // What the first file learned of its bytes, the others know.
                assert!(groups.len() <= 5, "{groups:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

        /// Whatever is made early, late, ended for another one or begun again: each key's rows are in its files, in their order.
        #[test]
        fn each_row_is_in_a_file_of_its_key_in_order(
            batches in prop::collection::vec((prop::collection::vec((0usize..5, 1usize..4_000), 1..5), any::<bool>()), 1..25),
            (max_keys, memory, bytes_max) in (1usize..4, 1usize..400_000, prop_oneof![Just(50_000u64), Just(1 << 30)]),
            row_group_rows in prop_oneof![Just(700usize), Just(131_072)],
        ) {
            let root = tempfile::tempdir().unwrap();
            let mut pipeline = pipeline(&["k"]);
            (pipeline.sink.max_keys, pipeline.sink.roll.bytes) = (max_keys, bytes_max);
            pipeline.sink.row_group_rows = row_group_rows;
            let mut writer = LaneWriter { row_group_bytes: memory / 4, ..writer(root.path(), &pipeline) }.within(memory);
            let (mut windower, mut next) = (windower(1_000_000), 0);
            let mut expected = BTreeMap::<&str, Vec<i64>>::new();
            for (runs, ends) in &batches {
                let keys: Vec<&str> = runs.iter().flat_map(|(key, rows)| vec![["a", "b", "c", "d", "e"][*key]; *rows]).collect();
                for (key, offset) in keys.iter().zip(next..) {
                    expected.entry(key).or_default().push(offset);
                }
                let some: Vec<_> = keys.iter().map(|key| Some(*key)).collect();
                writer.write(&parts(&mut windower, next, &some, 3)).unwrap();
                next += keys.len() as i64 + 3;
                if *ends {
                    writer.end_files().unwrap();
                }
            }
            let files = writer.finish().unwrap();
            prop_assert_eq!(writer.memory(), 0);
            for (key, expected) in expected {
                let folder = format!("data/k={key}/");
                let of_key = files.iter().filter(|file| file.path.starts_with(&folder));
                let found: Vec<i64> = of_key.flat_map(|file| {
                    let (_, rows) = read(root.path(), file);
                    rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec()
                }).collect();
                prop_assert_eq!(found, expected);
            }
            let rejects: u64 = files.iter().filter(|file| file.side == Side::Rejects).map(|file| file.rows).sum();
            prop_assert_eq!(rejects, 3 * batches.len() as u64);
        }
    }

    /// Else each value of each row would be read from another place in memory.
    #[test]
    fn rows_wait_in_the_order_in_which_their_files_end() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&["k"]));
        let mut windower = windower(100);
        let mut write = |writer: &mut LaneWriter| {
            writer.write(&parts(&mut windower, 0, &["b", "a", "c"].map(Some), 0)).unwrap();
            writer.write(&parts(&mut windower, 3, &["c", "d", "a", "b", "a"].map(Some), 0)).unwrap();
        };
        write(&mut writer);
        let files = writer.finish().unwrap();
        let folders: Vec<&str> = seen(&files).iter().map(|file| file.0).collect();
        assert_eq!(folders, ["data/k=b", "data/k=a", "data/k=c", "data/k=d"]);

        write(&mut writer);
        let mut waiting = |number| {
            let open = writer.open.get_mut((Side::Data, number)).unwrap();
            (open.path().to_owned(), open.take_waiting().last().unwrap().clone())
        };
        assert_eq!(
            [0, 1, 2, 3].map(&mut waiting),
            [("k=b", 11..12), ("k=a", 12..14), ("k=c", 14..15), ("k=d", 15..16)]
                .map(|(path, run)| (path.to_owned(), run))
        );
    }

    #[test]
    fn a_few_rows_each_need_no_file_and_little_memory() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&["k"]));
        let keys: Vec<String> = (0..3_000).map(|key| key.to_string()).collect();
        let keys: Vec<_> = keys.iter().map(|key| Some(key.as_str())).collect();
        let mut windower = windower(100_000);
        for batch in 0..10 {
            writer.write(&parts(&mut windower, batch * 3_000, &keys, 0)).unwrap();
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(writer.memory() < 20 << 20, "{} bytes for 3,000 keys of 10 rows", writer.memory());
        let files = writer.finish().unwrap();
        assert_eq!((files.len(), files.iter().map(|file| file.rows).sum::<u64>()), (3_000, 30_000));
        assert_eq!(writer.memory(), 0);
    }

    #[test]
    fn a_file_with_all_its_bytes_ends() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.roll.bytes = 4000;
        let mut writer = writer(root.path(), &pipeline);
        let mut windower = windower(1000);
        let many: Vec<_> = [Some("b")].into_iter().chain([Some("a"); 9_999]).collect();
        writer.write(&parts(&mut windower, 0, &many[..2], 0)).unwrap();
        assert!(!writer.is_full());
        writer.write(&parts(&mut windower, 2, &many, 0)).unwrap();
        assert!(writer.is_full());
        assert!(writer.memory() > 0);
        assert_eq!(paths(&writer), ["k=b"]);
        writer.finish().unwrap();
        assert!(!writer.is_full());
        assert_eq!(writer.memory(), 0);
    }

    #[test]
    fn a_rejects_file_with_all_its_bytes_ends() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&[]);
        pipeline.sink.roll.bytes = 4000;
        let mut writer = writer(root.path(), &pipeline);
        writer.write(&parts(&mut windower(1000), 0, &[None], 2000)).unwrap();
        assert!(writer.is_full() && writer.open.iter().all(|(place, _)| place != REJECTS));
        assert_eq!(seen(&writer.finish().unwrap()), [("rejects/", None, 2000), ("data/", Some((0, 0)), 1)]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(&root.path().join("gone"), &pipeline(&[]));
        writer.write(&parts(&mut windower(2), 0, &[None], 0)).unwrap();
        let error = writer.finish().unwrap_err();
        assert!(matches!(&error, SinkError::Create { path, .. } if path.ends_with("gone/1.parquet")), "{error}");
    }

    #[test]
    fn plans_give_whole_commits() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.roll.windows = 2;
        let mut writer = writer(root.path(), &pipeline);
        let (mut windower, mut roller) = (windower(10), Roller::new(pipeline.sink.roll));
        let mut pending = Pending::new(0, WindowState::Count { window: 0, rows: 0 }, None);
        let mut commits = Vec::new();
        for batch in 0..3 {
            let keys: Vec<_> = (0..45).map(|row| Some(["a", "b", "c"][row % 3])).collect();
            let parts = parts(&mut windower, batch * 50, &keys, 5);
            for step in roller.plan(&parts) {
                match step {
                    Step::Write(range) => {
                        writer.write(&parts[range.clone()]).unwrap();
                        parts[range].iter().for_each(|part| pending.add(part, None, Instant::now()));
                    }
                    Step::EndFiles => writer.end_files().unwrap(),
                    Step::Commit(_) => {
                        let files = writer.finish().unwrap();
                        let taken = pending.take();
                        taken.assert_files(&files);
                        commits.push((taken.range.to, taken.counts[Class::Row], files.len()));
                    }
                }
            }
        }
        assert_eq!(commits, [(40, 40, 6), (85, 40, 7), (130, 40, 7)]);
        pending.assert_files(&writer.finish().unwrap());
    }
}
