//! Tests of the ledger as a whole, on a real file system: what each step leaves behind, and who finds it.
#![allow(clippy::unwrap_used)]

mod backups;
mod crash;
mod damage;
mod discards;
mod fixtures;
mod fold;
mod format;
mod protocol;
mod readers;
mod refuse;
mod repairs;
mod skips;
mod stores;
mod strange;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::care::verify_dataset;
use super::protocol::{checkpoint, commit, dataset};
use super::read::frontier;
use super::*;
use crate::model::names;
use crate::model::names::StagedName;
use crate::model::window::{Tally, WindowId, WindowState};
use crate::model::{Class, Counts, LastRecord, Reason, Side};
use crate::store::{FileSystem, Local, Machine, ReadAt, Store, StoreError, SyncFailed};

/// The machine's file system, on which something fails once: at the path that ends so.
#[derive(Debug, Default)]
struct FailsOnce {
    /// An fsync.
    sync: Mutex<Option<&'static str>>,
    /// The answer to a link that is made all the same.
    link: Mutex<Option<&'static str>>,
}

impl FailsOnce {
    fn sync(end: &'static str) -> Arc<FailsOnce> {
        Arc::new(FailsOnce { sync: Mutex::new(Some(end)), ..FailsOnce::default() })
    }

    fn link(end: &'static str) -> Arc<FailsOnce> {
        Arc::new(FailsOnce { link: Mutex::new(Some(end)), ..FailsOnce::default() })
    }

    fn fails(what: &Mutex<Option<&'static str>>, path: &Path) -> bool {
        what.lock().unwrap().take_if(|end| path.to_str().unwrap().ends_with(*end)).is_some()
    }
}

impl FileSystem for FailsOnce {
    fn create(&self, path: &Path) -> io::Result<Box<dyn io::Write + Send>> {
        Machine.create(path)
    }
    fn make_private(&self, path: &Path) -> io::Result<()> {
        Machine.make_private(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Machine.open(path)
    }
    fn open_parts(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Machine.open_parts(path)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        Machine.size(path)
    }
    fn inode(&self, path: &Path) -> io::Result<(u64, u64)> {
        Machine.inode(path)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        Machine.link(file, name)?;
        if FailsOnce::fails(&self.link, name) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
    fn rename(&self, file: &Path, name: &Path) -> io::Result<()> {
        Machine.rename(file, name)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        Machine.unlink(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Machine.list(dir)
    }
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        Machine.make_dir(dir)
    }
    fn sync(&self, path: &Path) -> io::Result<Result<(), SyncFailed>> {
        if FailsOnce::fails(&self.sync, path) { Machine::fail_sync(path) } else { Machine.sync(path) }
    }
    fn syncs_at_once(&self) -> usize {
        1
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Machine.exists(path)
    }
    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        Machine.is_folder(path)
    }
}

/// Where what a chain names is on this machine's disk.
impl Chain {
    fn folder(&self) -> PathBuf {
        self.dataset.folder().join(self.entries_prefix())
    }

    fn entry_path(&self, sequence: u64) -> PathBuf {
        self.dataset.folder().join(self.entry_name(sequence))
    }

    fn checkpoint_path(&self, number: u64) -> PathBuf {
        self.dataset.folder().join(self.checkpoint_name(number))
    }
}

/// The chain of a partition, in a dataset on a file system.
fn on(files: Arc<FailsOnce>, folder: &Path) -> Chain {
    open_in(Arc::new(Local::on(files, folder.to_owned())), checkpoint::EVERY).chain("t", "id", 0)
}

const WINDOW: WindowState = WindowState::Count { window: 0, rows: 0 };

fn identity() -> Identity {
    let column = ColumnIdentity { name: "_kafka_offset".into(), kind: "int64".into() };
    Identity {
        name: "test".into(),
        cluster_id: "cluster".into(),
        columns: vec![column],
        partition_by: vec![],
        window: "count".into(),
    }
}

fn definition() -> Definition {
    let text = |hash: &str| Text { hash: hash.into(), text: "name = \"test\"\n".into() };
    Definition { written: text("abc"), resolved: text("def") }
}

fn open(folder: &Path) -> Dataset {
    open_folding(folder, checkpoint::EVERY)
}

/// The same; a new one's checkpoints hold `every` entries.
fn open_folding(folder: &Path, every: u64) -> Dataset {
    open_in(Arc::new(Local::new(folder).unwrap()), every)
}

/// The same in a store.
fn open_in(store: Arc<dyn Store>, every: u64) -> Dataset {
    let definition = definition();
    Dataset::open_in(store, &identity(), definition, every).unwrap()
}

/// A new dataset, and the chain of its one partition, started at 0.
fn started() -> (TempDir, Chain, Tip) {
    let dir = TempDir::new().unwrap();
    let chain = open(&dir.path().join("test")).chain("t", "id", 0);
    let tip = chain.start(0, WINDOW).unwrap();
    (dir, chain, tip)
}

/// A dataset whose old entries have folded: checkpoints of entries 0 to 2, 3 to 5 and 6 to 8, and entries 9 and 10, up to
/// offset 20.
fn folded() -> (TempDir, Chain) {
    let dir = TempDir::new().unwrap();
    let chain = open_folding(&dir.path().join("test"), 3).chain("t", "id", 0);
    let mut tip = chain.start(0, WINDOW).unwrap();
    while tip.to < 20 {
        tip = commit_to(&chain, &tip, tip.to + 2);
    }
    chain.recover().unwrap();
    let listing = chain.listing().unwrap();
    assert_eq!((listing.entries, listing.checkpoints), (vec![9, 10], vec![2, 5, 8]));
    (dir, chain)
}

/// Writes a staged Parquet file of these offsets.
fn stage(chain: &Chain, sequence: u64, side: Side, n: u32, offsets: &[i64]) -> FileEntry {
    let name = chain.name(sequence, side, "", n);
    let column: ArrayRef = Arc::new(Int64Array::from(offsets.to_vec()));
    let batch = RecordBatch::try_from_iter([("_kafka_offset", column)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let content = writer.into_inner().unwrap();
    chain.create(&name.staged).unwrap().write_all(&content).unwrap();
    FileEntry {
        side,
        path: name.path,
        staged: name.staged,
        rows: offsets.len() as u64,
        bytes: content.len() as u64,
        sha256: names::hex(&Sha256::digest(&content)),
        windows: None,
        event_time: None,
        offsets: offsets.first().copied().zip(offsets.last().copied()),
        partition_values: serde_json::Map::new(),
        columns_version: None,
        sort: vec![],
    }
}

/// An entry with these fields, in their order, and a checksum over them.
fn sealed(entry: &mut serde_json::Map<String, serde_json::Value>) -> Vec<u8> {
    entry.shift_remove("sha256");
    let mut line = serde_json::to_vec(entry).unwrap();
    line.pop();
    let sha256 = names::hex(&Sha256::digest(&line));
    line.extend(format!(",\"sha256\":\"{sha256}\"}}\n").bytes());
    line
}

/// The record right before `to`, which brokers stored under epoch 3.
fn last(to: i64) -> Option<LastRecord> {
    (to > 0).then(|| LastRecord { offset: to - 1, leader_epoch: Some(3) })
}

/// The next entry, up to `to`: offsets that five divides are rejects.
fn entry_to(chain: &Chain, tip: &Tip, to: i64) -> Entry {
    let (rejects, rows): (Vec<i64>, Vec<i64>) = (tip.to..to).partition(|offset| offset % 5 == 0);
    let mut files = vec![];
    for (side, offsets) in [(Side::Data, &rows), (Side::Rejects, &rejects)] {
        if !offsets.is_empty() {
            files.push(stage(chain, tip.sequence + 1, side, files.len() as u32, offsets));
        }
    }
    let counts = Counts::from([(Class::Row, rows.len() as u64), (Class::Rejected, rejects.len() as u64)]);
    chain.entry(
        tip,
        NextEntry { to, last: last(to), counts, window: WINDOW, tallies: vec![], reason: Reason::Rows, files },
    )
}

fn commit_one(chain: &Chain, entry: Entry) -> Reply {
    commit::commit(&chain.dataset, &[entry]).pop().unwrap()
}

fn commit_to(chain: &Chain, tip: &Tip, to: i64) -> Tip {
    commit_one(chain, entry_to(chain, tip, to)).unwrap()
}

/// Every offset in `data/` and `rejects/`, ascending, and as often as it is there.
fn offsets(store: &dyn Store) -> Vec<i64> {
    let mut out = vec![];
    for side in ["data", "rejects"] {
        for name in store.all_below(side).unwrap() {
            let file = store.open_parts(&name).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                out.extend_from_slice(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
            }
        }
    }
    out.sort_unstable();
    out
}

fn staged_files(chain: &Chain) -> usize {
    fs::read_dir(chain.dataset.folder().join("staging")).unwrap().count()
}

/// Nothing is wrong, and every offset below `to` is there once.
fn assert_whole(folder: &Path, to: i64) {
    assert_whole_in(Arc::new(Local::new(folder).unwrap()), to);
}

/// The same in a store.
#[track_caller]
fn assert_whole_in(store: Arc<dyn Store>, to: i64) {
    let report = verify_dataset(Dataset::existing_in(store.clone()).unwrap()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.unpublished, [""; 0]);
    assert_eq!(offsets(&*store), (0..to).collect::<Vec<_>>());
}

/// An error's text with its causes, without what is new in every run.
fn text(error: &LedgerError, folder: &Path) -> String {
    let text = format!("{:#}", anyhow::Error::new(error.clone()));
    let text = text.replace(&*folder.to_string_lossy(), "DIR");
    let text = text.replace(names::instance(), "INSTANCE").replace(&names::without_dots(names::instance()), "INSTANCE");
    regex::Regex::new(r"\b[0-9a-f]{16}\b").unwrap().replace_all(&text, "RANDOM").into_owned()
}
