//! Everything that one lane has open: a data file for each hive key and window of time, late files, and a rejects file.
//!
//! A file is made when it has enough rows for what an open one costs; until then they wait in memory, so that thousands of
//! windows or keys with a few rows each are a matter of their rows. A side or key without a row has no file. Files are
//! closed, not fsynced: that is the committer's. The files of a lane writer that is dropped or has failed stay in
//! `staging/`, where recovery sweeps them; it must not be used any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, max, min, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use parquet::file::properties::WriterProperties;

use crate::decode::schema::late_schema;
use crate::ledger::{FileEntry, Side, StagedName};
use crate::pipeline::messages::{Partition, WindowRows, WindowedPart};
use crate::settings::Pipeline;
use crate::settings::pipeline::Window;
use crate::sink::parquet::{FEW_ROWS, properties_for_few_rows};
use crate::sink::{Folder, Layout, ParquetFile, SinkError, properties};
use crate::window::{Calendar, WindowId};

/// Names a new file of this side and hive path (`key=value/…`, empty for none); never the same name twice.
pub type Names = Box<dyn FnMut(Side, &str) -> StagedName + Send>;

/// Which file a row goes to. A file of count windows has a run of them, one of windows of time has one.
type Key = (Side, Option<WindowId>, String);

/// Writes one lane's rows and rejects.
pub struct LaneWriter {
    layout: Layout,
    late_layout: Layout,
    /// Names windows of time.
    calendar: Option<Calendar>,
    files: Files,
    open: BTreeMap<Key, OpenFile>,
    /// Those of `open` that have a file already.
    made: BTreeSet<Key>,
    /// Bytes of the rows that wait in memory.
    waiting_bytes: usize,
    /// Files that may be made at the same time.
    max_keys: usize,
    /// A file ends when it has that many bytes.
    bytes_max: u64,
    /// Bytes of memory at which a further file is made only after the largest one has ended.
    memory_max: usize,
    /// Closed since the last [`finish`](Self::finish).
    finished: Vec<FileEntry>,
    full: bool,
}

/// How a lane's files are made.
struct Files {
    names: Names,
    /// The dataset's folder.
    root: PathBuf,
    schema: SchemaRef,
    late_schema: SchemaRef,
    rejects_schema: SchemaRef,
    properties: WriterProperties,
    /// Of files that are known to get few rows.
    few_rows: WriterProperties,
    /// The column of event times, for windows of time.
    time: Option<String>,
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
        let layout = Layout::new(rows, &pipeline.sink.partition_by)?;
        let late_layout = Layout::new(&late_schema(rows), &pipeline.sink.partition_by)?;
        let (calendar, time) = match &pipeline.window {
            Window::Count { .. } => (None, None),
            Window::Tumbling(window) => (Some(window.calendar()), Some(window.time.column().to_owned())),
        };
        let properties = properties(pipeline, partition);
        let files = Files {
            names,
            root: root.to_owned(),
            schema: layout.schema().clone(),
            late_schema: late_layout.schema().clone(),
            rejects_schema: rejects.clone(),
            few_rows: properties_for_few_rows(&properties),
            properties,
            time,
        };
        Ok(LaneWriter {
            layout,
            late_layout,
            calendar,
            files,
            open: BTreeMap::new(),
            made: BTreeSet::new(),
            waiting_bytes: 0,
            max_keys: pipeline.sink.max_keys.max(1),
            bytes_max: pipeline.sink.roll.bytes,
            memory_max: usize::MAX,
            finished: Vec::new(),
            full: false,
        })
    }

    /// The same, holding no more than about `bytes` in memory: a file that is open costs much before its first row.
    pub fn within(mut self, bytes: usize) -> Self {
        self.memory_max = bytes;
        self
    }

    /// Writes consecutive parts. Files that have all their bytes after it end; see [`is_full`](Self::is_full).
    pub fn write(&mut self, parts: &[WindowedPart]) -> Result<(), SinkError> {
        let mut touched = BTreeSet::new();
        for run in self.runs(parts) {
            self.deal(&run, &mut touched)?;
        }
        for part in parts {
            if part.rejects.num_rows() > 0 {
                touched.insert(self.add((Side::Rejects, None, String::new()), part.rejects.clone(), None));
            }
        }
        touched.into_iter().try_for_each(|key| self.settle(key))
    }

    /// Rows that go to the same files, together: of a hundred keys, each window of a hundred rows has one or two.
    fn runs<'p>(&self, parts: &'p [WindowedPart]) -> Vec<Vec<&'p WindowRows>> {
        let mut runs: Vec<Vec<&WindowRows>> = Vec::new();
        for rows in parts.iter().flat_map(|part| &part.rows) {
            match runs.last_mut() {
                Some(run) if self.file_of(run[0]) == self.file_of(rows) => run.push(rows),
                _ => runs.push(vec![rows]),
            }
        }
        runs
    }

    /// Adds a run's rows to the files of their folders.
    fn deal(&mut self, run: &[&WindowRows], touched: &mut BTreeSet<Key>) -> Result<(), SinkError> {
        let (side, of_time) = self.file_of(run[0]);
        let layout = if side == Side::Late { &self.late_layout } else { &self.layout };
        let name = match (&self.calendar, of_time) {
            (Some(calendar), Some(window)) if layout.by_window() => calendar.name(window),
            _ => String::new(),
        };
        let (mut batches, mut ends, mut end) = (Vec::new(), Vec::new(), 0);
        for part in run {
            end += part.rows.num_rows();
            ends.push(end);
            batches.push(part.rows.clone());
        }
        let window_of = |row: usize| run[ends.partition_point(|end| *end <= row)].window;
        for Folder { path, rows, first, last } in layout.split(&concat(batches)?, &name)? {
            touched.insert(self.add((side, of_time, path), rows, Some((window_of(first), window_of(last)))));
        }
        Ok(())
    }

    /// Which files rows go to, but for their folder.
    fn file_of(&self, rows: &WindowRows) -> (Side, Option<WindowId>) {
        (rows.side, self.calendar.as_ref().map(|_| rows.window))
    }

    /// Ends the open data and late files, keeping them for the next [`finish`](Self::finish).
    pub fn end_files(&mut self) -> Result<(), SinkError> {
        let keys: Vec<_> = self.open.keys().filter(|key| key.0 != Side::Rejects).cloned().collect();
        keys.iter().try_for_each(|key| self.end(key))
    }

    /// Ends all files and gives every file since the last finish.
    pub fn finish(&mut self) -> Result<Vec<FileEntry>, SinkError> {
        self.end_files()?;
        self.end(&(Side::Rejects, None, String::new()))?;
        self.full = false;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Whether a file got all its bytes since the last finish: a reason to commit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that this keeps in memory, about; what a commit would free.
    pub fn memory(&self) -> usize {
        let made: usize =
            self.made.iter().filter_map(|key| self.open[key].file.as_ref()).map(ParquetFile::memory).sum();
        made + self.waiting_bytes + self.open.len() * OPEN_ENTRY_BYTES + self.finished.len() * FILE_ENTRY_BYTES
    }

    /// Adds rows to their file, unencoded.
    fn add(&mut self, key: Key, rows: RecordBatch, windows: Option<(WindowId, WindowId)>) -> Key {
        self.open.entry(key.clone()).or_insert_with(|| OpenFile::new(key.0)).add(rows, windows);
        key
    }

    /// After a write: encodes the rows of a file that is made, or has enough of them to be; the others wait on their own,
    /// because a slice keeps its whole batch in memory.
    fn settle(&mut self, key: Key) -> Result<(), SinkError> {
        // Making an earlier one of this write's files may have ended this one.
        let Some(open) = self.open.get_mut(&key) else { return Ok(()) };
        let before = open.waiting_bytes;
        open.keep()?;
        let now = open.waiting_bytes;
        self.waiting_bytes = self.waiting_bytes + now - before;
        let due = now >= self.files.open_bytes(key.0) || now as u64 >= self.bytes_max;
        if open.file.is_some() || due {
            self.make(&key)?;
        }
        let open = self.open.get_mut(&key).expect("making it ends only others");
        if open.file.as_ref().is_some_and(|file| file.bytes() >= self.bytes_max) {
            self.full = true;
            self.end(&key)?;
        }
        Ok(())
    }

    /// Encodes what waits for a file, and makes it if it isn't yet. Where it is one too many, the one with the most rows
    /// ends first.
    fn make(&mut self, key: &Key) -> Result<(), SinkError> {
        if !self.made.contains(key) {
            while self.made.len() >= self.max_keys || (!self.made.is_empty() && self.made_bytes() >= self.memory_max) {
                let largest = self.made.iter().max_by_key(|key| self.open[key].rows).cloned();
                self.end(&largest.expect("there is one"))?;
            }
            self.made.insert(key.clone());
        }
        let open = self.open.get_mut(key).expect("the caller has it");
        self.waiting_bytes -= open.waiting_bytes;
        open.encode(&mut self.files, &key.2, false)
    }

    /// What the files that are made keep in memory from their first row on: enough to bound how many there are.
    fn made_bytes(&self) -> usize {
        self.made.iter().map(|key| self.files.open_bytes(key.0)).sum()
    }

    /// Ends a file, if it has rows.
    fn end(&mut self, key: &Key) -> Result<(), SinkError> {
        if let Some(mut open) = self.open.remove(key) {
            self.made.remove(key);
            self.waiting_bytes -= open.waiting_bytes;
            open.encode(&mut self.files, &key.2, true)?;
            self.finished.push(open.close()?);
        }
        Ok(())
    }
}

/// Bytes that a column of an open file takes from its first row on, about.
const OPEN_COLUMN_BYTES: usize = 70 << 10;

/// Bytes of an [`OpenFile`] without its rows, about.
const OPEN_ENTRY_BYTES: usize = 512;

/// Bytes of a [`FileEntry`] and its texts, about.
const FILE_ENTRY_BYTES: usize = 1024;

/// Bytes of a column of a batch without its values, about.
const COLUMN_BYTES: usize = 256;

/// Batches that wait for one file before they become one.
const WAITING_MAX: usize = 4;

impl Files {
    fn schema(&self, side: Side) -> &SchemaRef {
        match side {
            Side::Data => &self.schema,
            Side::Late => &self.late_schema,
            Side::Rejects => &self.rejects_schema,
        }
    }

    /// What a file that is made keeps in memory from its first row on, about.
    fn open_bytes(&self, side: Side) -> usize {
        self.schema(side).fields().len() * OPEN_COLUMN_BYTES
    }
}

/// A file that has rows.
struct OpenFile {
    side: Side,
    /// None while rows wait for it to be worth it.
    file: Option<ParquetFile>,
    name: Option<StagedName>,
    /// Rows not yet encoded; between two writes they are copies.
    waiting: Vec<RecordBatch>,
    /// How many of `waiting` are copies, and the bytes of these.
    copies: usize,
    waiting_bytes: usize,
    rows: u64,
    windows: Option<(WindowId, WindowId)>,
    event_time: Option<(i64, i64)>,
}

impl OpenFile {
    fn new(side: Side) -> Self {
        OpenFile {
            side,
            file: None,
            name: None,
            waiting: Vec::new(),
            copies: 0,
            waiting_bytes: 0,
            rows: 0,
            windows: None,
            event_time: None,
        }
    }

    fn add(&mut self, rows: RecordBatch, windows: Option<(WindowId, WindowId)>) {
        self.rows += rows.num_rows() as u64;
        self.waiting.push(rows);
        self.windows = match (self.windows, windows) {
            (Some((first, last)), Some((lower, upper))) => Some((first.min(lower), last.max(upper))),
            (known, new) => known.or(new),
        };
    }

    /// Makes what came since the last call independent of the batches that it was cut from. Not for a file that is made:
    /// there it is encoded at once.
    fn keep(&mut self) -> Result<(), SinkError> {
        if self.file.is_some() {
            return Ok(());
        }
        if self.waiting.len() > WAITING_MAX {
            let all = concat(std::mem::take(&mut self.waiting))?;
            (self.waiting, self.copies) = (vec![all], 1);
        } else {
            for rows in &mut self.waiting[self.copies..] {
                let all = UInt32Array::from_iter_values(0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX));
                *rows = take_record_batch(rows, &all).map_err(|source| SinkError::Split { source })?;
            }
            self.copies = self.waiting.len();
        }
        let bytes = |rows: &RecordBatch| rows.get_array_memory_size() + rows.num_columns() * COLUMN_BYTES;
        self.waiting_bytes = self.waiting.iter().map(bytes).sum();
        Ok(())
    }

    /// Encodes what waits; `last` where nothing comes after it. Windows are small and encoding has a price a call, so a file
    /// gets them as one.
    fn encode(&mut self, files: &mut Files, path: &str, last: bool) -> Result<(), SinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = concat(std::mem::take(&mut self.waiting))?;
        (self.copies, self.waiting_bytes) = (0, 0);
        if let Some(time) = &files.time
            && let Some(times) = rows.column_by_name(time).filter(|_| self.side != Side::Rejects)
        {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            self.event_time = match (self.event_time, min(times).zip(max(times))) {
                (Some((first, last)), Some((lower, upper))) => Some((first.min(lower), last.max(upper))),
                (known, new) => known.or(new),
            };
        }
        if self.file.is_none() {
            let name = (files.names)(self.side, path);
            let properties = if last && self.rows <= FEW_ROWS { &files.few_rows } else { &files.properties };
            let (staged, properties) = (files.root.join(&name.staged), properties.clone());
            self.file = Some(ParquetFile::create(&staged, &name.path, files.schema(self.side), properties)?);
            self.name = Some(name);
        }
        self.file.as_mut().expect("it was there or has just been made").write(&rows)
    }

    fn close(self) -> Result<FileEntry, SinkError> {
        let made = self.file.zip(self.name).expect("a file that has rows was made when they were encoded");
        let finished = made.0.close()?;
        Ok(FileEntry {
            side: self.side,
            path: made.1.path,
            staged: made.1.staged,
            rows: finished.rows,
            bytes: finished.bytes,
            sha256: finished.sha256,
            windows: self.windows,
            event_time: self.event_time,
        })
    }
}

/// One batch of all; nothing is copied where it is one already.
fn concat(mut batches: Vec<RecordBatch>) -> Result<RecordBatch, SinkError> {
    match batches.len() {
        1 => Ok(batches.remove(0)),
        _ => concat_batches(&batches[0].schema(), &batches).map_err(|source| SinkError::Split { source }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::time::Instant;

    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::sink::testing::{partition, parts, pipeline, rejects, rows, windower};
    use crate::sink::{Pending, Roller, Step};
    use crate::window::WindowState;

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
        writer.open.keys().map(|key| key.2.as_str()).collect()
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
        assert_eq!(codec(ZSTD(Default::default()), 300), SNAPPY);
        assert!(matches!(codec(ZSTD(Default::default()), 301), ZSTD(_)));
        assert!(matches!(codec(GZIP(Default::default()), 300), GZIP(_)));
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
            assert_eq!(file.sha256, crate::ledger::hex(&Sha256::digest(&bytes)));

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
            assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
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

    #[test]
    fn one_key_too_many_ends_the_largest_file() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.max_keys = 2;
        let mut writer = writer(root.path(), &pipeline);
        // Enough rows for a file of its own each time.
        let mut windower = windower(100_000);
        for (key, rows) in [("a", 20_000), ("b", 40_000), ("c", 20_000), ("b", 20_000)] {
            let position =
                writer.open.values().map(|open| open.rows).chain(writer.finished.iter().map(|file| file.rows));
            let first = position.sum::<u64>() as i64;
            writer.write(&parts(&mut windower, first, &vec![Some(key); rows], 0)).unwrap();
        }
        assert_eq!(paths(&writer), ["k=a", "k=b"]);
        assert!(!writer.is_full());
        let windows = Some((0, 0));
        assert_eq!(
            seen(&writer.finish().unwrap()),
            [
                ("data/k=b", windows, 40_000),
                ("data/k=c", windows, 20_000),
                ("data/k=a", windows, 20_000),
                ("data/k=b", windows, 20_000)
            ]
        );
    }

    #[test]
    fn a_file_that_another_ends_in_the_same_write() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.max_keys = 1;
        let mut writer = writer(root.path(), &pipeline);
        let mut windower = windower(1_000_000);
        writer.write(&parts(&mut windower, 0, &vec![Some("b"); 40_000], 0)).unwrap();
        let keys: Vec<_> = (0..20_001).map(|row| if row < 20_000 { Some("a") } else { Some("b") }).collect();
        writer.write(&parts(&mut windower, 40_000, &keys, 0)).unwrap();
        let files = writer.finish().unwrap();
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 60_001);
        assert_eq!(writer.memory(), 0);
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
        let many: Vec<_> = [Some("b")].into_iter().chain([Some("a"); 999]).collect();
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
        assert!(writer.is_full() && writer.open.keys().all(|key| key.0 == Side::Data));
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
                        commits.push((taken.range.to, taken.counts.row, files.len()));
                    }
                }
            }
        }
        assert_eq!(commits, [(40, 40, 6), (85, 40, 7), (130, 40, 7)]);
        pending.assert_files(&writer.finish().unwrap());
    }
}
