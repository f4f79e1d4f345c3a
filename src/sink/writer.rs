//! Everything that one lane has open: a data file for each hive key, and a rejects file.
//!
//! A side or key without a row has no file. Files are closed, not fsynced: that is the committer's. The files of a lane
//! writer that is dropped or has failed stay in `staging/`, where recovery sweeps them; it must not be used any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parquet::file::properties::WriterProperties;

use crate::ledger::{FileEntry, Side, StagedName};
use crate::pipeline::messages::{Partition, WindowedPart};
use crate::settings::Pipeline;
use crate::sink::{Layout, ParquetFile, SinkError, properties};
use crate::window::WindowId;

/// Names a new file of this side and hive path (`key=value/…`, empty for none); never the same name twice.
pub type Names = Box<dyn FnMut(Side, &str) -> StagedName + Send>;

/// Writes one lane's rows and rejects.
pub struct LaneWriter {
    layout: Layout,
    rejects_schema: SchemaRef,
    properties: WriterProperties,
    names: Names,
    /// The dataset's folder.
    root: PathBuf,
    /// Data files open at the same time, at the most.
    max_keys: usize,
    /// A file ends when it has that many bytes.
    bytes_max: u64,
    /// Bytes of memory at which a further data file is opened only after the largest one has ended.
    memory_max: usize,
    /// By hive path.
    data: BTreeMap<String, OpenFile>,
    rejects: Option<OpenFile>,
    /// Closed since the last [`finish`](Self::finish).
    finished: Vec<FileEntry>,
    full: bool,
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
        Ok(LaneWriter {
            layout: Layout::new(rows, &pipeline.sink.partition_by)?,
            rejects_schema: rejects.clone(),
            properties: properties(pipeline, partition),
            names,
            root: root.to_owned(),
            max_keys: pipeline.sink.max_keys.max(1),
            bytes_max: pipeline.sink.roll.bytes,
            memory_max: usize::MAX,
            data: BTreeMap::new(),
            rejects: None,
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
        for part in parts {
            for (path, rows) in self.layout.split(&part.records.rows)? {
                self.data_file(path)?.add(rows, Some(part.window));
            }
            if part.records.rejects.num_rows() > 0 {
                self.rejects_file()?.add(part.records.rejects.clone(), None);
            }
        }
        self.data.values_mut().chain(&mut self.rejects).try_for_each(OpenFile::flush)?;
        self.end_full_files()
    }

    /// Ends the open data files, keeping them for the next [`finish`](Self::finish).
    pub fn end_files(&mut self) -> Result<(), SinkError> {
        while let Some((_, open)) = self.data.pop_first() {
            self.finished.push(open.close()?);
        }
        Ok(())
    }

    /// Ends all files and gives every file since the last finish.
    pub fn finish(&mut self) -> Result<Vec<FileEntry>, SinkError> {
        self.end_files()?;
        if let Some(open) = self.rejects.take() {
            self.finished.push(open.close()?);
        }
        self.full = false;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Whether a file got all its bytes since the last finish: a reason to commit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that this keeps in memory, about; what a commit would free.
    pub fn memory(&self) -> usize {
        let open: usize = self.data.values().chain(&self.rejects).map(|open| open.file.memory()).sum();
        open + self.finished.len() * FILE_ENTRY_BYTES
    }

    /// Memory of the open data files, at what a file costs from its first row on: enough to bound how many are open.
    fn open_bytes(&self) -> usize {
        self.data.len() * self.layout.schema().fields().len() * OPEN_COLUMN_BYTES
    }

    /// The open data file of a hive path. Where that is one too many, the one with the most rows ends first.
    fn data_file(&mut self, path: String) -> Result<&mut OpenFile, SinkError> {
        if !self.data.contains_key(&path) {
            while self.data.len() >= self.max_keys || (!self.data.is_empty() && self.open_bytes() >= self.memory_max) {
                self.end_largest()?;
            }
            let open = self.create(Side::Data, &path)?;
            self.data.insert(path.clone(), open);
        }
        Ok(self.data.get_mut(&path).expect("it was there or has just been put there"))
    }

    fn rejects_file(&mut self) -> Result<&mut OpenFile, SinkError> {
        if self.rejects.is_none() {
            self.rejects = Some(self.create(Side::Rejects, "")?);
        }
        Ok(self.rejects.as_mut().expect("it was there or has just been put there"))
    }

    fn create(&mut self, side: Side, path: &str) -> Result<OpenFile, SinkError> {
        let name = (self.names)(side, path);
        let schema = if side == Side::Data { self.layout.schema() } else { &self.rejects_schema };
        let file = ParquetFile::create(&self.root.join(&name.staged), &name.path, schema, self.properties.clone())?;
        Ok(OpenFile { side, name, file, waiting: Vec::new(), windows: None })
    }

    fn end_largest(&mut self) -> Result<(), SinkError> {
        let largest = self.data.iter().max_by_key(|(_, open)| open.rows()).map(|(path, _)| path.clone());
        largest.map_or(Ok(()), |path| self.end(&path))
    }

    fn end_full_files(&mut self) -> Result<(), SinkError> {
        let is_full = |open: &OpenFile| open.file.bytes() >= self.bytes_max;
        let full: Vec<_> = self.data.iter().filter(|(_, open)| is_full(open)).map(|(path, _)| path.clone()).collect();
        let rejects = self.rejects.take_if(|open| is_full(open));
        self.full |= !full.is_empty() || rejects.is_some();
        if let Some(open) = rejects {
            self.finished.push(open.close()?);
        }
        full.iter().try_for_each(|path| self.end(path))
    }

    /// Ends the data file of a hive path.
    fn end(&mut self, path: &str) -> Result<(), SinkError> {
        if let Some(open) = self.data.remove(path) {
            self.finished.push(open.close()?);
        }
        Ok(())
    }
}

/// Bytes that a column of an open file takes from its first row on, about.
const OPEN_COLUMN_BYTES: usize = 70 << 10;

/// Bytes of a [`FileEntry`] and its texts, about.
const FILE_ENTRY_BYTES: usize = 1024;

/// A file that is being written.
struct OpenFile {
    side: Side,
    name: StagedName,
    file: ParquetFile,
    /// Slices not yet encoded. Windows are small and encoding has a price a call, so a file gets them as one; only within a
    /// [`LaneWriter::write`], because a slice keeps its whole batch in memory.
    waiting: Vec<RecordBatch>,
    windows: Option<(WindowId, WindowId)>,
}

impl OpenFile {
    fn add(&mut self, rows: RecordBatch, window: Option<WindowId>) {
        self.waiting.push(rows);
        self.windows = match (self.windows, window) {
            (Some((first, last)), Some(window)) => Some((first.min(window), last.max(window))),
            (known, window) => known.or(window.map(|window| (window, window))),
        };
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        match std::mem::take(&mut self.waiting).as_slice() {
            [] => Ok(()),
            [one] => self.file.write(one),
            many => {
                let all = concat_batches(many[0].schema_ref(), many).map_err(|source| SinkError::Split { source })?;
                self.file.write(&all)
            }
        }
    }

    fn rows(&self) -> u64 {
        self.file.rows() + self.waiting.iter().map(|rows| rows.num_rows() as u64).sum::<u64>()
    }

    fn close(mut self) -> Result<FileEntry, SinkError> {
        self.flush()?;
        let finished = self.file.close()?;
        Ok(FileEntry {
            side: self.side,
            path: self.name.path,
            staged: self.name.staged,
            rows: finished.rows,
            bytes: finished.bytes,
            sha256: finished.sha256,
            windows: self.windows,
            event_time: None,
        })
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
        let number = |WindowId::Count(number)| number;
        let seen = files.iter().map(|file| {
            let folder = file.path.rsplit_once('/').unwrap().0;
            (folder, file.windows.map(|(first, last)| (number(first), number(last))), file.rows)
        });
        seen.collect()
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
        let keys = ["a", "b", "b", "c", "b"].map(Some);
        writer.write(&parts(&mut windower(1), 0, &keys, 0)).unwrap();
        assert_eq!(writer.data.keys().collect::<Vec<_>>(), ["k=a", "k=b"]);
        assert!(!writer.is_full());
        assert_eq!(
            seen(&writer.finish().unwrap()),
            [
                ("data/k=b", Some((1, 2)), 2),
                ("data/k=c", Some((3, 3)), 1),
                ("data/k=a", Some((0, 0)), 1),
                ("data/k=b", Some((4, 4)), 1)
            ]
        );
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
        assert_eq!(writer.data.keys().collect::<Vec<_>>(), ["k=b"]);
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
        assert!(writer.is_full() && writer.rejects.is_none());
        assert_eq!(seen(&writer.finish().unwrap()), [("rejects/", None, 2000), ("data/", Some((0, 0)), 1)]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(&root.path().join("gone"), &pipeline(&[]));
        let error = writer.write(&parts(&mut windower(2), 0, &[None], 0)).unwrap_err();
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
