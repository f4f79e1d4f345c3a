//! A reader that never rests: while everything goes wrong it opens each file that it finds in `data/`, `rejects/` and
//! `late/`, as a notebook might. It must never see a file that isn't whole, a record twice, or a file that changes or goes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int32Array, Int64Array, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::dataset::files;
use super::oracle::Record;

/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(40);

/// Topic, partition and offset.
pub type Place = (String, i32, i64);

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// Each file, with its inode, size and time of change.
    pub files: BTreeMap<PathBuf, (u64, u64, i64)>,
    /// Each record, and the file it was in.
    pub records: HashMap<Place, PathBuf>,
    /// What must never be seen.
    pub wrong: Vec<String>,
    pub looks: u64,
}

impl Seen {
    /// Looks at everything once more.
    pub fn look(&mut self, dataset: &Path) {
        self.looks += 1;
        let mut gone: Vec<&PathBuf> = self.files.keys().collect();
        let found: Vec<PathBuf> =
            ["data", "rejects", "late"].iter().flat_map(|side| files(&dataset.join(side))).collect();
        gone.retain(|path| found.binary_search(path).is_err() && !path.exists());
        self.wrong.extend(gone.iter().map(|path| format!("{} is gone", path.display())));
        for path in found {
            let Ok(metadata) = fs::metadata(&path) else {
                self.wrong.push(format!("{} is gone", path.display()));
                continue;
            };
            let now = (metadata.ino(), metadata.size(), metadata.mtime_nsec());
            match self.files.get(&path) {
                Some(before) if *before == now => {}
                Some(before) => self.wrong.push(format!("{} was {before:?} and is {now:?}", path.display())),
                None => self.open(&path),
            }
            self.files.insert(path, now);
        }
    }

    fn open(&mut self, path: &Path) {
        let places = match places(path) {
            Ok(places) => places,
            Err(error) => return self.wrong.push(format!("{} is not whole: {error}", path.display())),
        };
        for place in places {
            if let Some(other) = self.records.insert(place.clone(), path.to_owned()) {
                self.wrong.push(format!("{place:?} is in {} and in {}", other.display(), path.display()));
            }
        }
    }

    /// How many records were seen that Kafka doesn't show.
    pub fn never_shown(&self, truth: &[Record]) -> usize {
        let shown: std::collections::HashSet<(&str, i32, i64)> =
            truth.iter().map(|record| (record.topic.as_str(), record.partition, record.offset)).collect();
        let unknown = |(topic, partition, offset): &&Place| !shown.contains(&(topic.as_str(), *partition, *offset));
        self.records.keys().filter(unknown).count()
    }
}

/// Every record of a file.
fn places(path: &Path) -> Result<Vec<Place>, Box<dyn std::error::Error>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let columns = ["_kafka_topic", "_kafka_partition", "_kafka_offset"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let mut places = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let [topics, partitions, offsets] = columns.map(|name| batch.column_by_name(name).ok_or(name));
        let topics: &StringArray = topics?.as_string();
        let (partitions, offsets): (&Int32Array, &Int64Array) = (partitions?.as_primitive(), offsets?.as_primitive());
        places.extend(
            (0..batch.num_rows()).map(|row| (topics.value(row).to_owned(), partitions.value(row), offsets.value(row))),
        );
    }
    Ok(places)
}

/// A reader on a thread of its own.
pub struct Watcher {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Watcher {
    pub fn start(dataset: PathBuf) -> Watcher {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !until.load(Ordering::Relaxed) {
                let began = Instant::now();
                seen.look(&dataset);
                // The more there is to look at, the less often: it leaves half of its time to the others.
                thread::sleep(PAUSE.max(began.elapsed()));
            }
            seen.look(&dataset);
            seen
        });
        Watcher { over, thread: Some(thread) }
    }

    /// After a last look.
    pub fn stop(&mut self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is stopped once").join().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
