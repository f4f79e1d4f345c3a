//! A lane's files: when one is made, which rows wait for it and for how long, and when it ends.
//!
//! A file is made when it has enough rows for what an open one costs, and early only where the lane's memory has room for it;
//! until then they wait in memory, so that thousands of windows or keys with a few rows each are a matter of their rows. Rows
//! that come later wait, too, while they are few: each column's dictionary must come back into the processor's caches before it
//! is used again. A side or key without a row has no file. Files are closed, not fsynced: that is the committer's. The files of
//! a lane writer that is dropped or has failed stay in `staging/`, where recovery sweeps them; it must not be used any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::open_file::{Create, Files, Names, OpenFile, notes_bytes};
use super::route::{Key, Router, Share, joined_batch};
use super::waiting::{Run, WORTH_COLUMN_BYTES, Waiting, batch_bytes, rows_of};
use crate::ledger::{FileEntry, Side};
use crate::pipeline::messages::{Partition, WindowedPart};
use crate::pipeline::rows::joined;
use crate::settings::Pipeline;
use crate::settings::pipeline::Window;
use crate::sink::{SinkError, properties};

/// Where rows wait. Those of files that aren't made wait longer: in batches of their own they keep no rows of the others in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    side: Side,
    made: bool,
}

/// Writes one lane's rows and rejects.
pub struct LaneWriter {
    router: Router,
    files: Files,
    open: HashMap<Key, OpenFile>,
    /// Those of `open` that have a file already.
    made: BTreeSet<Key>,
    /// What these keep once their first pages are full, about, but for their values: set aside when they are made.
    made_bytes: usize,
    /// The rows that are not yet encoded.
    waiting: BTreeMap<Queue, Waiting>,
    /// Bytes of the notes of which rows wait for which file.
    notes: usize,
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

/// Bytes of an [`OpenFile`] without its rows, about.
const OPEN_ENTRY_BYTES: usize = 512;

/// Bytes of a [`FileEntry`] and its texts, about.
pub(super) const FILE_ENTRY_BYTES: usize = 1024;

/// Bytes of waiting rows that are put in order together, so that files of a few rows share what that costs. Of many columns they are
/// more: as many as are worth encoding.
const TOGETHER_BYTES: usize = 1 << 20;

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
        let time = match &pipeline.window {
            Window::Count { .. } => None,
            Window::Tumbling(window) => Some(window.time.column().to_owned()),
        };
        let files = Files {
            names,
            create: Box::new(|path| Ok(Box::new(File::create_new(path)?))),
            root: root.to_owned(),
            schemas: BTreeMap::from([(Side::Data, data), (Side::Late, late), (Side::Rejects, rejects.clone())]),
            properties: properties(pipeline, partition),
            recipes: BTreeMap::new(),
            time,
        };
        Ok(LaneWriter {
            router,
            files,
            open: HashMap::new(),
            made: BTreeSet::new(),
            made_bytes: 0,
            waiting: BTreeMap::new(),
            notes: 0,
            max_keys: pipeline.sink.max_keys.max(1),
            bytes_max: pipeline.sink.roll.bytes,
            memory_max: usize::MAX,
            finished: Vec::new(),
            full: false,
        })
    }

    /// The same, with another way to make its files.
    pub fn making_files(mut self, create: Create) -> Self {
        self.files.create = create;
        self
    }

    /// The same, with open files that take no more than about `bytes`, beside the rows that wait.
    pub fn within(mut self, bytes: usize) -> Self {
        self.memory_max = bytes;
        self
    }

    /// Writes consecutive parts. Files that have all their bytes after it end; see [`is_full`](Self::is_full).
    pub fn write(&mut self, parts: &[WindowedPart]) -> Result<(), SinkError> {
        let mut touched = Vec::new();
        for run in self.router.runs_of(parts) {
            let (rows, shares) = self.router.shares(&run)?;
            self.add(&rows, shares, &mut touched)?;
        }
        for rejects in joined(parts.iter().map(|part| &part.rejects).filter(|rejects| !rejects.is_empty())) {
            let key = (Side::Rejects, None, "".into());
            let all = Share { key, rows: 0..rejects.num_rows(), windows: None };
            self.add(&rejects, vec![all], &mut touched)?;
        }
        touched.iter().try_for_each(|key| self.settle(key))?;
        self.let_go()
    }

    /// Ends the open data and late files, keeping them for the next [`finish`](Self::finish).
    pub fn end_files(&mut self) -> Result<(), SinkError> {
        self.end(self.open.keys().filter(|key| key.0 != Side::Rejects).cloned().collect())
    }

    /// Ends all files and gives every file since the last finish.
    pub fn finish(&mut self) -> Result<Vec<FileEntry>, SinkError> {
        self.end_files()?;
        self.end(self.open.keys().cloned().collect())?;
        // Empty, but as large as it was.
        self.open = HashMap::new();
        self.router.forget();
        self.full = false;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Whether a file got all its bytes since the last finish: a reason to commit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that this keeps in memory, about; what a commit would free.
    pub fn memory(&self) -> usize {
        let made: usize = self.made.iter().map(|key| self.open[key].memory()).sum();
        let waiting: usize = self.waiting.values().map(Waiting::bytes).sum();
        let notes = self.notes + self.router.bytes();
        made + waiting + notes + self.open.len() * OPEN_ENTRY_BYTES + self.finished.len() * FILE_ENTRY_BYTES
    }

    /// Gives rows of one side to their files: to be encoded now, where a file is made and they are many, or to wait. A file has one
    /// share at the most: its rows' numbers are in the queue only at the end of this.
    fn add(&mut self, rows: &RecordBatch, shares: Vec<Share>, touched: &mut Vec<Key>) -> Result<(), SinkError> {
        let Some(side) = shares.first().map(|share| share.key.0) else { return Ok(()) };
        let worth_rows = self.worth_bytes(side) / (batch_bytes(rows) / rows.num_rows()).max(1);
        let mut parts: [Vec<Range<usize>>; 2] = Default::default();
        let queues = [false, true].map(|made| Queue { side, made });
        let mut next = queues.map(|queue| self.waiting.get(&queue).map_or(0, Waiting::next));
        for Share { key, rows: part, windows } in shares {
            let open = self.open.entry(key.clone()).or_insert_with(|| OpenFile::new(key.0));
            open.count(part.len() as u64, windows);
            let made = open.is_made();
            if made && part.len() >= worth_rows {
                // Those that came before go first.
                self.encode_waiting(Queue { side, made }, std::slice::from_ref(&key), false)?;
                let open = self.open.get_mut(&key).expect("it was found");
                open.encode(&rows.slice(part.start, part.len()), &mut self.files, &key.2, false)?;
            } else {
                let (next, parts) = (&mut next[usize::from(made)], &mut parts[usize::from(made)]);
                let run = *next..*next + part.len() as u64;
                *next = run.end;
                self.notes += open.wait(run);
                match parts.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ => parts.push(part),
                }
            }
            touched.push(key);
        }
        for (queue, parts) in queues.into_iter().zip(parts) {
            let rows = match parts.iter().map(Range::len).sum::<usize>() {
                0 => continue,
                all if all == rows.num_rows() => rows.clone(),
                _ => joined_batch(parts.iter().map(|part| rows.slice(part.start, part.len())).collect())?,
            };
            self.waiting.entry(queue).or_default().push(rows)?;
        }
        Ok(())
    }

    /// After a write: makes a file that has enough rows, encodes what waits where it is enough, and ends a file that has all its bytes.
    fn settle(&mut self, key: &Key) -> Result<(), SinkError> {
        // Making an earlier one of this write's files may have ended this one.
        let Some(open) = self.open.get(key) else { return Ok(()) };
        let queue = Queue { side: key.0, made: open.is_made() };
        let waiting = self.waiting.get(&queue).map_or(0, |waiting| waiting.bytes_of(open.waiting_rows()));
        if open.is_made() {
            if waiting >= self.worth_bytes(key.0) || open.bytes() + waiting as u64 >= self.bytes_max {
                self.encode_waiting(queue, std::slice::from_ref(key), false)?;
            }
        } else if self.is_worth_a_file(key.0, waiting) {
            self.make(key)?;
        }
        if self.open.get(key).is_some_and(|open| open.bytes() >= self.bytes_max) {
            self.full = true;
            self.end(vec![key.clone()])?;
        }
        Ok(())
    }

    /// Encodes all that waits for files that are made, where most of what their queue keeps was taken: none of them leaves more than
    /// [`worth_bytes`](Self::worth_bytes) waiting, but a file that gets a row now and then keeps all that came with it.
    fn let_go(&mut self) -> Result<(), SinkError> {
        let crowded = |(queue, waiting): &(&Queue, &Waiting)| {
            queue.made && waiting.bytes() > 2 * self.made.len() * self.worth_bytes(queue.side)
        };
        let Some((queue, _)) = self.waiting.iter().find(crowded) else { return Ok(()) };
        let (queue, keys) = (*queue, self.made.iter().cloned().collect::<Vec<_>>());
        self.encode_waiting(queue, &keys, false)?;
        // One of them may have all its bytes now.
        keys.iter().try_for_each(|key| self.settle(key))
    }

    /// Whether rows of so many bytes are worth a file: as many as a whole one has, or more than an open one keeps once its first page
    /// is full; or, while the files that are made leave half of the lane's memory free for one more, more than one keeps from its
    /// first row on.
    fn is_worth_a_file(&self, side: Side, waiting: usize) -> bool {
        let enough = || {
            let writing = self.files.writing_bytes(side);
            waiting >= writing || self.made_bytes + writing <= self.memory_max / 2
        };
        waiting as u64 >= self.bytes_max || (waiting >= self.files.open_bytes(side) && enough())
    }

    /// Bytes of rows that are worth encoding.
    fn worth_bytes(&self, side: Side) -> usize {
        self.files.columns(side) * WORTH_COLUMN_BYTES
    }

    /// Makes a file and encodes what waits for it. Where it is one too many, the one with the most rows ends first.
    fn make(&mut self, key: &Key) -> Result<(), SinkError> {
        while self.made.len() >= self.max_keys || (!self.made.is_empty() && self.made_bytes >= self.memory_max) {
            let largest = self.made.iter().max_by_key(|key| self.open[key].rows()).cloned();
            self.end(vec![largest.expect("there is one")])?;
        }
        self.made.insert(key.clone());
        self.made_bytes += self.files.writing_bytes(key.0);
        self.encode_waiting(Queue { side: key.0, made: false }, std::slice::from_ref(key), false)
    }

    /// Ends files, in an order that follows from their keys and from which have rows that wait.
    fn end(&mut self, mut keys: Vec<Key>) -> Result<(), SinkError> {
        keys.sort_unstable();
        // What waits for several is taken together, but for no more of them than needed: an open file has its price.
        for queue in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.encode_waiting(queue, &keys, true)?;
        }
        keys.iter().try_for_each(|key| self.close(key))
    }

    /// Ends a file that has all its rows.
    fn close(&mut self, key: &Key) -> Result<(), SinkError> {
        if let Some(open) = self.open.remove(key) {
            if self.made.remove(key) {
                self.made_bytes -= self.files.writing_bytes(key.0);
            }
            self.finished.push(open.close()?);
        }
        Ok(())
    }

    /// Encodes what waits in a queue for files; where they end with it, each is closed before the next one is made.
    fn encode_waiting(&mut self, queue: Queue, keys: &[Key], end: bool) -> Result<(), SinkError> {
        let max = self.worth_bytes(queue.side).max(TOGETHER_BYTES);
        let mut together = Together::default();
        for key in keys.iter().filter(|key| key.0 == queue.side) {
            let waits = |open: &&mut OpenFile| open.is_made() == queue.made && open.waiting_rows() > 0;
            let Some(open) = self.open.get_mut(key).filter(waits) else { continue };
            let runs = open.take_waiting();
            self.notes -= notes_bytes(&runs);
            for mut run in runs {
                while !run.is_empty() {
                    let waiting = &self.waiting[&queue];
                    let piece = waiting.piece(&run);
                    let bytes = waiting.bytes_of(piece.end - piece.start);
                    if together.bytes + bytes > max {
                        self.encode_together(queue, std::mem::take(&mut together), end)?;
                    }
                    run.start = piece.end;
                    together.add(key, piece, bytes);
                }
            }
            together.parts.last_mut().expect("it has the last of the rows").last = true;
        }
        self.encode_together(queue, together, end)
    }

    fn encode_together(&mut self, queue: Queue, together: Together, end: bool) -> Result<(), SinkError> {
        if together.pieces.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting.get_mut(&queue).expect("it has the rows that wait");
        let rows = waiting.take(&together.pieces)?;
        let mut from = 0;
        for Part { key, rows: count, last } in together.parts {
            let open = self.open.get_mut(key).expect("it is ended after its last rows");
            open.encode(&rows.slice(from, count), &mut self.files, &key.2, end)?;
            from += count;
            if end && last {
                self.close(key)?;
            }
        }
        Ok(())
    }
}

/// Waiting rows that are taken together.
#[derive(Default)]
struct Together<'k> {
    pieces: Vec<Run>,
    parts: Vec<Part<'k>>,
    bytes: usize,
}

/// Those of one file.
struct Part<'k> {
    key: &'k Key,
    rows: usize,
    /// Whether nothing more waits for it.
    last: bool,
}

impl<'k> Together<'k> {
    fn add(&mut self, key: &'k Key, piece: Run, bytes: usize) {
        let rows = rows_of(&piece);
        self.pieces.push(piece);
        self.bytes += bytes;
        match self.parts.last_mut() {
            Some(part) if part.key == key => part.rows += rows,
            _ => self.parts.push(Part { key, rows, last: false }),
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
    use crate::ledger::StagedName;
    use crate::sink::testing::{partition, parts, pipeline, rejects, rows, windower};
    use crate::sink::{Pending, Roller, Step};
    use crate::window::{WindowId, WindowState};

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
        let mut paths: Vec<&str> = writer.open.keys().map(|key| &*key.2).collect();
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
                writer.open.values().map(|open| open.rows()).chain(writer.finished.iter().map(|file| file.rows));
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

    /// The queue of rows of files that are made.
    const OF_MADE: Queue = Queue { side: Side::Data, made: true };

    /// A writer with a file for each of the keys, and the number of the row that comes next.
    fn with_files(root: &Path, keys: &[&str]) -> (LaneWriter, i64) {
        std::fs::create_dir_all(root).unwrap();
        let mut writer = writer(root, &pipeline(&["k"]));
        for (at, key) in (0..).zip(keys) {
            writer.write(&parts(&mut windower(100_000), at * 20_000, &vec![Some(*key); 20_000], 0)).unwrap();
        }
        assert_eq!(writer.made.len(), keys.len());
        (writer, 20_000 * keys.len() as i64)
    }

    #[test]
    fn rows_wait_longer_for_a_file_that_is_one_of_many() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&["k"]));
        let of_a_file = writer.files.writing_bytes(Side::Data);
        writer = writer.within(2 * of_a_file);
        let (mut windower, mut next) = (windower(1_000_000), 0);
        let mut write = |writer: &mut LaneWriter, key| {
            writer.write(&parts(&mut windower, next, &vec![Some(key); 20_000], 0)).unwrap();
            next += 20_000;
            writer.made.len()
        };
        assert_eq!([write(&mut writer, "a"), write(&mut writer, "b"), write(&mut writer, "b")], [1, 1, 1]);
        let waiting = writer.waiting[&Queue { made: false, ..OF_MADE }].bytes();
        assert!((600_000..of_a_file).contains(&waiting), "{waiting} bytes");
        // Until they take more than that.
        let writes = (0..10).take_while(|_| write(&mut writer, "b") == 1).count();
        assert!((1..5).contains(&writes), "{writes}");
        assert_eq!(writer.finish().unwrap().iter().map(|file| file.rows).sum::<u64>(), next as u64);
    }

    #[test]
    fn files_that_take_all_the_memory_end_for_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path(), &pipeline(&["k"]));
        let of_a_file = writer.files.writing_bytes(Side::Data);
        writer = writer.within(of_a_file);
        let mut windower = windower(1_000_000);
        for (at, key) in [(0i64, "a"), (1, "b")] {
            writer.write(&parts(&mut windower, at * 100_000, &vec![Some(key); 100_000], 0)).unwrap();
        }
        assert_eq!((writer.made.len(), writer.finished.len(), paths(&writer)), (1, 1, vec!["k=b"]));
    }

    #[test]
    fn a_file_has_its_bytes_whatever_memory_there_is() {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(&["k"]);
        pipeline.sink.roll.bytes = 100_000;
        let mut writer = writer(root.path(), &pipeline).within(1);
        let mut windower = windower(1_000_000);
        let mut write = |at: i64| {
            writer.write(&parts(&mut windower, at * 5_000, &vec![Some("a"); 5_000], 0)).unwrap();
            writer.is_full()
        };
        let writes = (0..20).take_while(|at| !write(*at)).count();
        assert!((1..10).contains(&writes), "{writes}");

        // Also with rows that wait for it.
        let (mut writer, next) = with_files(root.path().join("other").as_path(), &["a"]);
        writer.bytes_max = writer.open.values().map(|open| open.bytes()).sum::<u64>() + 1;
        writer.write(&parts(&mut windower, next, &[Some("a"); 100], 0)).unwrap();
        assert!(writer.is_full());
    }

    #[test]
    fn few_rows_wait_for_more_where_there_is_a_file() {
        let root = tempfile::tempdir().unwrap();
        let (mut writer, next) = with_files(root.path(), &["a"]);
        let mut waited = Vec::new();
        for batch in 0..50 {
            writer.write(&parts(&mut windower(100_000), next + batch * 100, &[Some("a"); 100], 0)).unwrap();
            waited.extend(writer.open.values().map(|open| open.waiting_rows()));
            // Rows that follow each other have one note.
            assert!(writer.notes <= 4 * size_of::<Run>());
        }
        let longest = *waited.iter().max().unwrap();
        assert!((1_000..4_000).contains(&longest) && waited.contains(&0) && waited.last() > Some(&0), "{waited:?}");
        // Many need not, and those that waited go before them.
        let next_to_wait = writer.waiting[&OF_MADE].next();
        writer.write(&parts(&mut windower(100_000), next + 5_000, &vec![Some("a"); 10_000], 0)).unwrap();
        assert_eq!((writer.waiting[&OF_MADE].next(), writer.waiting[&OF_MADE].bytes()), (next_to_wait, 0));
        let files = writer.finish().unwrap();
        let (_, rows) = read(root.path(), &files[0]);
        let offsets = rows["_kafka_offset"].as_primitive::<Int64Type>();
        assert_eq!(offsets.values(), &(0..next + 15_000).collect::<Vec<_>>());
        assert_eq!(writer.memory(), 0);
    }

    #[test]
    fn a_row_now_and_then_keeps_no_others_in_memory() {
        let root = tempfile::tempdir().unwrap();
        let (mut writer, next) = with_files(root.path(), &["a", "b"]);
        // One has a file, the other one none.
        let batch: Vec<_> = [Some("b"), Some("c")].into_iter().chain([Some("a"); 498]).collect();
        for at in 0..100 {
            writer.write(&parts(&mut windower(100_000), next + at * 500, &batch, 0)).unwrap();
            let bytes: usize = writer.waiting.values().map(Waiting::bytes).sum();
            assert!(bytes <= 5 * writer.worth_bytes(Side::Data), "{bytes} bytes after {at} batches");
        }
        let files = writer.finish().unwrap();
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 90_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

        /// Whatever is made early, late, ended for another one or begun again: each key's rows are in its files, in their order.
        #[test]
        fn each_row_is_in_a_file_of_its_key_in_order(
            batches in prop::collection::vec((prop::collection::vec((0usize..5, 1usize..4_000), 1..5), any::<bool>()), 1..25),
            (max_keys, files, bytes_max) in (1usize..4, 1usize..5, prop_oneof![Just(50_000u64), Just(1 << 30)]),
        ) {
            let root = tempfile::tempdir().unwrap();
            let mut pipeline = pipeline(&["k"]);
            (pipeline.sink.max_keys, pipeline.sink.roll.bytes) = (max_keys, bytes_max);
            let mut writer = writer(root.path(), &pipeline);
            let memory = files * writer.files.writing_bytes(Side::Data);
            writer = writer.within(memory);
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
            prop_assert_eq!((writer.memory(), writer.made_bytes), (0, 0));
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
