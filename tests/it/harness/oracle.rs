//! The judge: what Apache Kafka's own consumer reads under read_committed, against what stands in a dataset's files.
//!
//! Every committed record must be exactly once in `data/`, `rejects/` or `late/`, or be a tombstone that the ledger
//! counts; a row's columns must be what the test's own mapping makes of the payload, and a reject's payload the record's
//! bytes; nothing else may be there. librdkafka and weir's own code have no say in it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::broker::Broker;
use super::dataset::{Dataset, Row, Side};
use super::ledger;
use super::pipeline::{Cell, Pipeline};
use super::setup;

/// Differences that a message names; it counts the others.
const SHOWN: usize = 5;

/// A committed record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub value: Option<Vec<u8>>,
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    pub rows: u64,
    pub rejects: u64,
    pub late: u64,
    pub tombstones: u64,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub verdict: Verdict,
    /// Committed, and not in the dataset.
    pub lost: u64,
    /// Committed, and in the dataset once more.
    pub twice: u64,
    /// In the dataset, and not shown by read_committed: aborted, or never sent.
    pub not_committed: u64,
    /// Every difference, these and all others, in words.
    pub differences: Vec<String>,
}

/// Every committed record of the topics, by Apache Kafka's own consumer, in each partition's order.
pub fn committed(broker: &Broker, topics: &[&str]) -> Vec<Record> {
    let mut records = Vec::new();
    for_each_committed(broker, topics, |record| records.push(record));
    records
}

/// Panics, naming the first differences, unless the dataset is exactly what the topic's committed records must become.
pub fn judge(dataset: &Path, broker: &Broker, pipeline: &Pipeline) -> Verdict {
    let mut trial = Trial::new(dataset, pipeline);
    for_each_committed(broker, &[&pipeline.topic], |record| trial.record(&record));
    trial.finish(dataset).expect_none(dataset)
}

/// The same with records that were read before.
pub fn judge_records(dataset: &Path, records: &[Record], pipeline: &Pipeline) -> Verdict {
    compare(dataset, records, pipeline).expect_none(dataset)
}

/// How a dataset differs from what the records must become.
pub fn compare(dataset: &Path, records: &[Record], pipeline: &Pipeline) -> Found {
    let mut trial = Trial::new(dataset, pipeline);
    records.iter().for_each(|record| trial.record(record));
    trial.finish(dataset)
}

impl Found {
    #[track_caller]
    fn expect_none(self, dataset: &Path) -> Verdict {
        let mut message = String::new();
        for difference in self.differences.iter().take(SHOWN) {
            write!(message, "\n  {difference}").unwrap();
        }
        let count = self.differences.len();
        assert!(count == 0, "{count} differences between {} and the topic:{message}", dataset.display());
        self.verdict
    }
}

/// A comparison that is going on: for each partition, how far the dataset's rows have been matched.
struct Trial<'a> {
    pipeline: &'a Pipeline,
    dataset: Dataset,
    matched: BTreeMap<(String, i32), usize>,
    /// The offset that was matched last.
    last: BTreeMap<(String, i32), i64>,
    found: Found,
}

impl<'a> Trial<'a> {
    fn new(dataset: &Path, pipeline: &'a Pipeline) -> Self {
        let dataset = Dataset::read(dataset);
        let matched = dataset.partitions().keys().map(|partition| (partition.clone(), 0)).collect();
        Trial { pipeline, dataset, matched, last: BTreeMap::new(), found: Found::default() }
    }

    fn record(&mut self, record: &Record) {
        let partition = (record.topic.clone(), record.partition);
        self.skip_surplus(&partition, record.offset);
        match (self.take(&partition, record.offset), &record.value) {
            (None, None) => self.found.verdict.tombstones += 1,
            (None, Some(_)) => {
                self.found.lost += 1;
                self.differ(&partition, record.offset, "is committed but not in the dataset");
            }
            (Some(row), None) => self.differ(&partition, row.offset, &format!("is a tombstone but in {:?}", row.side)),
            (Some(row), Some(payload)) => {
                for difference in self.compare(row, record, payload) {
                    self.differ(&partition, row.offset, &difference);
                }
                match row.side {
                    Side::Data => self.found.verdict.rows += 1,
                    Side::Rejects => self.found.verdict.rejects += 1,
                    Side::Late => self.found.verdict.late += 1,
                }
            }
        }
        self.last.insert(partition, record.offset);
    }

    fn finish(mut self, folder: &Path) -> Found {
        for partition in self.dataset.partitions().keys().cloned().collect::<Vec<_>>() {
            self.skip_surplus(&partition, i64::MAX);
        }
        let (counted, tombstones) = (ledger_tombstones(folder), self.found.verdict.tombstones);
        if counted != tombstones {
            self.found.differences.push(format!("{tombstones} tombstones, but the ledger counts {counted}"));
        }
        self.found
    }

    /// The next row of a partition, if it is the one at `offset`.
    fn take(&mut self, partition: &(String, i32), offset: i64) -> Option<Row> {
        let row = self.peek(partition).filter(|row| row.offset == offset)?;
        *self.matched.get_mut(partition)? += 1;
        Some(row)
    }

    /// Passes rows before `offset`: they are there twice, or were never committed.
    fn skip_surplus(&mut self, partition: &(String, i32), offset: i64) {
        while let Some(row) = self.peek(partition).filter(|row| row.offset < offset) {
            self.take(partition, row.offset);
            let matched = self.last.get(partition) == Some(&row.offset);
            *(if matched { &mut self.found.twice } else { &mut self.found.not_committed }) += 1;
            self.differ(partition, row.offset, &format!("is in {:?} twice, or never was committed", row.side));
        }
    }

    fn peek(&self, partition: &(String, i32)) -> Option<Row> {
        self.dataset.partitions().get(partition)?.get(self.matched[partition]).copied()
    }

    fn differ(&mut self, (topic, partition): &(String, i32), offset: i64, what: &str) {
        self.found.differences.push(format!("{topic}:{partition} offset {offset} {what}"));
    }

    /// How a row differs from what its record must become.
    fn compare(&self, row: Row, record: &Record, payload: &[u8]) -> Vec<String> {
        let mut differences = Vec::new();
        let mut check = |column: &str, found: Option<Cell>, expected: Cell| {
            if found.as_ref() != Some(&expected) {
                differences.push(format!("has {found:?} in {column}, but must have {expected:?}"));
            }
        };
        check("_kafka_timestamp", self.dataset.cell(row, "_kafka_timestamp"), Cell::Micros(record.timestamp * 1_000));
        match (self.pipeline.row(payload), row.side) {
            (Some(cells), Side::Data | Side::Late) => {
                for (column, expected) in self.pipeline.columns.iter().zip(cells) {
                    check(column.name, self.dataset.cell(row, column.name), expected);
                }
            }
            (None, Side::Rejects) => {
                let found = [self.dataset.bytes(row, "payload"), self.dataset.bytes(row, "_kafka_key")];
                if found != [Some(payload), record.key.as_deref()] {
                    differences.push("is rejected, but its payload or key is not the record's".to_owned());
                }
            }
            (Some(_), Side::Rejects) => differences.push("is rejected, but is a good record".to_owned()),
            (None, side) => differences.push(format!("is in {side:?}, but must be rejected")),
        }
        differences
    }
}

/// Tombstones that all entries of the ledger count.
fn ledger_tombstones(folder: &Path) -> u64 {
    let counts = |entry: &serde_json::Value| entry["counts"]["tombstone"].as_u64().expect("an entry counts tombstones");
    ledger::entries(folder).iter().map(counts).sum()
}

/// Runs the Java reader and hands over each record; panics if it did not get to the end.
fn for_each_committed(broker: &Broker, topics: &[&str], mut each: impl FnMut(Record)) {
    setup::provision("kafka");
    let mut java = Command::new("java")
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(setup::kafka_class_path())
        .arg(setup::root().join("tests/oracle/Truth.java"))
        .arg(broker.address())
        .args(topics)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = Output(BufReader::with_capacity(1 << 20, java.stdout.take().unwrap()));
    let mut count = 0;
    loop {
        let topic = output.int();
        if topic < 0 {
            break;
        }
        each(output.record(topics[topic as usize]));
        count += 1;
    }
    assert_eq!(output.long(), count, "the reader wrote another number of records than it counted");
    assert!(java.wait().unwrap().success());
}

/// What `Truth.java` writes; its end before the end mark panics.
struct Output<R>(R);

impl<R: Read> Output<R> {
    fn record(&mut self, topic: &str) -> Record {
        Record {
            topic: topic.to_owned(),
            partition: self.int(),
            offset: self.long(),
            timestamp: self.long(),
            key: self.bytes(),
            headers: (0..self.int())
                .map(|_| (String::from_utf8(self.bytes().unwrap()).unwrap(), self.bytes()))
                .collect(),
            value: self.bytes(),
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.int()).ok()?;
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("the independent reader failed: its message is above");
        Some(bytes)
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }

    fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.array())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the independent reader failed: its message is above");
        bytes
    }
}
