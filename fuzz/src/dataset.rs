//! A small dataset as weir writes it: some entries of one partition, each with a file of rejects.

use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use weir::ledger::{Chain, ColumnIdentity, Committer, Dataset, Definition, Entry, FileEntry, Identity, NextEntry, Tip};
use weir::model::Pipeline;
use weir::model::names::hex;
use weir::model::schema::data_schema;
use weir::model::window::{Tally, TimeState, WindowId, WindowState};
use weir::model::{Class, Counts, LastRecord, Reason, Side};
use weir::model::{Partition, RawRecords};
use weir::validate::Checker;

pub const TOPIC: &str = "t";
pub const TOPIC_ID: &str = "id";
/// How the names of the folders begin that are made here.
const PREFIX: &str = "weir-fuzz-";
/// Records of an entry; all are rejected.
const RECORDS: i64 = 3;
const HOUR: i64 = 3_600_000_000;

pub const PIPELINE: &str = r#"
name = "air"
[source]
type = "kafka"
brokers = "127.0.0.1:1"
topics = ["t"]
format = "json"
[source.client]
# Without its file the client can't be made: a start fails at once, and asks no broker.
"security.protocol" = "sasl_ssl"
"ssl.ca.location" = "none.pem"
"sasl.username" = "ana"
"sasl.password" = "hunter2"
[columns]
station = { type = "string", required = true }
at = { type = "timestamp", required = true }
[window]
type = "tumbling"
size = "1h"
time = "at"
[sink]
type = "parquet"
path = "FOLDER"
"#;

/// A folder in memory, where the system has such.
///
/// Nothing removes it where the process ends at once, as a fuzzer does: the next one does so.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    for left in std::fs::read_dir(&place).expect("a folder that can be read").flatten() {
        let name = left.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = std::fs::remove_dir_all(left.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(place).expect("a temporary folder")
}

/// The definition of the dataset that [`make`] makes in a folder.
pub fn pipeline(folder: &Path) -> Pipeline {
    let text = PIPELINE.replace("FOLDER", &folder.display().to_string());
    Pipeline::parse("air.toml", &text, &|_| None).unwrap_or_else(|broken| panic!("{}", broken.plain_report()))
}

/// Makes the dataset of a pipeline; its chain has entry 0 and so many more.
pub fn make(pipeline: &Pipeline, entries: u64) -> (Chain, Tip) {
    let identity = Identity {
        name: pipeline.name.clone(),
        cluster_id: "cluster".to_owned(),
        columns: ColumnIdentity::of(&data_schema(pipeline)),
        partition_by: vec![],
        window: pipeline.window.kind().identity(),
    };
    let definition = Definition::of(pipeline);
    let dataset = Dataset::open(&pipeline.folder(), &identity, definition).expect("a new dataset");
    dataset.topic(TOPIC, TOPIC_ID, 1).expect("a new topic");
    let chain = dataset.chain(TOPIC, TOPIC_ID, 0);
    let mut tip = chain.start(0, WindowState::Time(TimeState::default())).expect("a new chain");
    let committer = Committer::start(dataset.clone());
    for _ in 0..entries {
        let entry = next(&chain, &tip, &dataset, pipeline);
        tip = committer.commit(entry).blocking_recv().expect("it answers").expect("a commit");
    }
    committer.join();
    (chain, tip)
}

/// The entry after `tip`, its file of rejects staged.
pub fn next(chain: &Chain, tip: &Tip, dataset: &Dataset, pipeline: &Pipeline) -> Entry {
    let rejects = rejects(pipeline, tip.to);
    let name = chain.name(tip.sequence + 1, Side::Rejects, "", 0);
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, rejects.schema(), None).expect("its schema is Parquet's");
    writer.write(&rejects).expect("memory takes it");
    writer.close().expect("memory takes it");
    std::fs::write(dataset.folder().join(&name.staged), &content).expect("the folder takes it");
    let file = FileEntry {
        side: Side::Rejects,
        path: name.path,
        staged: name.staged,
        rows: RECORDS as u64,
        bytes: content.len() as u64,
        sha256: hex(&Sha256::digest(&content)),
        windows: None,
        event_time: None,
        offsets: Some((tip.to, tip.to + RECORDS - 1)),
        partition_values: serde_json::Map::new(),
        columns_version: None,
        sort: Vec::new(),
    };
    let start = tip.sequence as i64 * HOUR;
    let window = WindowId::Time { start, end: start + HOUR };
    let time = TimeState { largest: Some(start), watermark: Some(start), closed_by: None };
    chain.entry(
        tip,
        NextEntry {
            to: tip.to + RECORDS,
            last: Some(LastRecord { offset: tip.to + RECORDS - 1, leader_epoch: Some(3) }),
            counts: Counts::from([(Class::Rejected, RECORDS as u64)]),
            window: WindowState::Time(time),
            tallies: vec![Tally { rejected: RECORDS as u64, ..Tally::new(window) }],
            reason: Reason::Windows,
            files: vec![file],
        },
    )
}

fn rejects(pipeline: &Pipeline, from: i64) -> RecordBatch {
    let mut records = RawRecords::default();
    for offset in from..from + RECORDS {
        records.push(offset, Some(1_700_000_000_000), Some(b"key"), Some("{\"station\": \"é\", \"at\": 1}".as_bytes()));
    }
    let partition = Partition { topic: TOPIC.into(), partition: 0 };
    Checker::new(pipeline).check(&partition, &records).rejects
}
