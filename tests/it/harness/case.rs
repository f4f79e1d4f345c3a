//! A test's topic, pipeline and working directory together, and what every test asks of a dataset at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};
use serde_json::Value;

use super::broker::Broker;
use super::dataset::files;
use super::ledger::{self, Chains, to};
use super::oracle::{Record, Verdict, judge, judge_records};
use super::pipeline::Pipeline;
use super::topics::topic;
use super::weir::{Finished, Run, Workspace};

/// On a busy machine everything takes long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How many records an entry accounts for.
fn counts(entry: &Value) -> u64 {
    entry["counts"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// What a test works on.
pub struct Case<'a> {
    pub broker: &'a Broker,
    pub pipeline: Pipeline,
    pub workspace: Workspace,
}

impl<'a> Case<'a> {
    /// A new topic with the air-quality pipeline on it.
    pub fn new(broker: &'a Broker, name: &str, partitions: i32) -> Case<'a> {
        let topic = topic(broker, name, partitions);
        Case::of(broker, Pipeline::new(broker, &topic))
    }

    /// A pipeline in a working directory of its own.
    pub fn of(broker: &'a Broker, pipeline: Pipeline) -> Case<'a> {
        let workspace = Workspace::new();
        workspace.write(&pipeline);
        Case { broker, pipeline, workspace }
    }

    /// Changes the pipeline, and its file.
    pub fn with(mut self, change: impl FnOnce(&mut Pipeline)) -> Case<'a> {
        change(&mut self.pipeline);
        self.workspace.write(&self.pipeline);
        self
    }

    /// The pipeline file's name.
    pub fn file(&self) -> String {
        format!("{}.toml", self.pipeline.name)
    }

    pub fn dataset(&self) -> PathBuf {
        self.workspace.dataset(&self.pipeline)
    }

    /// Starts an endless run.
    pub fn endless(&self) -> Run {
        self.workspace.spawn(["run", &self.file()])
    }

    /// Starts a run up to the topic's end.
    pub fn to_end(&self) -> Run {
        self.to_end_with(&[])
    }

    /// The same, with environment variables.
    pub fn to_end_with(&self, environment: &[(&str, &str)]) -> Run {
        self.workspace.spawn_with(["run", &self.file(), "--until-end"], environment)
    }

    /// Runs up to the topic's end, which must succeed.
    #[track_caller]
    pub fn finish(&self) -> Finished {
        self.to_end().wait(PATIENCE).expect_code(0)
    }

    /// `weir verify` finds nothing; its report.
    #[track_caller]
    pub fn verify(&self) -> Value {
        let args = ["verify", &self.file(), "--format", "json"];
        let report = self.workspace.run(args, PATIENCE).expect_code(0);
        serde_json::from_str(&report.stdout).unwrap()
    }

    /// The dataset is exactly what the topic's committed records must become, and its own ledger agrees.
    #[track_caller]
    pub fn judge(&self) -> Verdict {
        self.verify();
        self.assert_chains();
        judge(&self.dataset(), self.broker, &self.pipeline)
    }

    /// The same, for records that were read before.
    #[track_caller]
    pub fn judge_records(&self, records: &[Record]) -> Verdict {
        self.verify();
        self.assert_chains();
        judge_records(&self.dataset(), records, &self.pipeline)
    }

    /// The ledger's chains, as they are now.
    pub fn chains(&self) -> Chains {
        ledger::chains(&self.dataset())
    }

    /// `weir verify` finds nothing, unless the run ended before there was a dataset.
    #[track_caller]
    pub fn verify_if_there(&self) {
        if self.dataset().join("ledger/dataset.json").exists() {
            self.verify();
        }
    }

    /// The offsets that Kafka has for the pipeline's group.
    pub fn committed_offsets(&self) -> BTreeMap<i64, i64> {
        let positions = self.positions();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.address())
            .set("group.id", format!("weir-{}", self.pipeline.name))
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in positions.keys() {
            list.add_partition(&self.pipeline.topic, *partition as i32);
        }
        let offsets = consumer.committed_offsets(list, PATIENCE).unwrap();
        let known = offsets.elements().into_iter().filter_map(|element| {
            Some((i64::from(element.partition()), element.offset().to_raw().filter(|offset| *offset >= 0)?))
        });
        known.collect()
    }

    /// Entries in the ledger; cheap.
    pub fn entries(&self) -> u64 {
        self.newest().into_values().map(|newest| newest + 1).sum()
    }

    /// The number of each chain's newest entry; cheap.
    pub fn newest(&self) -> BTreeMap<PathBuf, u64> {
        ledger::newest(&self.dataset())
    }

    /// Where each partition's chain ends.
    pub fn positions(&self) -> BTreeMap<i64, i64> {
        let ends = self.chains().into_iter().map(|((_, partition), chain)| (partition, to(chain.last().unwrap())));
        ends.collect()
    }

    /// The partitions for which the process with this id has written an entry, of those after the first `skipped`.
    pub fn written_by(&self, pid: u32, skipped: &BTreeMap<i64, i64>) -> BTreeSet<i64> {
        let own = format!("-{pid}-");
        let wrote = |entry: &Value| entry["instance"].as_str().unwrap().contains(&own);
        let since = |partition: i64, entry: &Value| to(entry) > skipped.get(&partition).copied().unwrap_or(-1);
        let chains = self.chains();
        let partitions = chains.iter().filter(|((_, partition), chain)| {
            chain.iter().any(|entry| wrote(entry) && entry["reason"] != "start" && since(*partition, entry))
        });
        partitions.map(|((_, partition), _)| *partition).collect()
    }

    /// Every chain is numbered without a hole, and each range starts where the one before it ended.
    #[track_caller]
    pub fn assert_chains(&self) {
        for (partition, chain) in self.chains() {
            let mut position = to(&chain[0]);
            assert_eq!(chain[0]["reason"], "start");
            for (number, entry) in chain.iter().enumerate() {
                assert_eq!(entry["sequence"], number, "{partition:?}");
                if number > 0 {
                    assert_eq!(entry["from"], position, "{partition:?} entry {number}");
                }
                position = to(entry);
            }
        }
    }

    /// `staging/` holds nothing that recovery may remove: only attempts at entries that don't exist.
    #[track_caller]
    pub fn assert_swept(&self) {
        let lasts: BTreeMap<i64, u64> =
            self.chains().into_iter().map(|((_, partition), chain)| (partition, chain.len() as u64 - 1)).collect();
        for path in files(&self.dataset().join("staging")) {
            let name = path.file_name().unwrap().to_str().unwrap();
            // The topic's id, its name's hash, the partition, the sequence.
            let parts: Vec<&str> = name.split('.').collect();
            if let (Ok(partition), Ok(sequence)) = (parts[2].parse::<i64>(), parts.get(3).unwrap_or(&"").parse::<u64>())
            {
                assert!(sequence > lasts[&partition], "{name} could have been swept, the chains end at {lasts:?}");
            }
        }
    }

    /// Whether all files that entries name are in their places.
    pub fn is_published(&self) -> bool {
        let dataset = self.dataset();
        let is_there = |file: &Value| dataset.join(file["path"].as_str().unwrap()).exists();
        self.chains().values().flatten().all(|entry| entry["files"].as_array().unwrap().iter().all(is_there))
    }

    /// One more run to the end adds no record. It may add an entry that has none: the markers of
    /// transactions without records in a partition come whenever the broker writes them.
    #[track_caller]
    pub fn assert_complete(&self) {
        let records = |(path, found): (PathBuf, (u64, i64))| {
            let is_ledger = path.starts_with(self.dataset().join("ledger"));
            (!is_ledger).then_some((path, found))
        };
        let all = || -> (BTreeMap<_, _>, u64) {
            let counted = self.chains().values().flatten().map(counts).sum();
            (self.inventory().into_iter().filter_map(records).collect(), counted)
        };
        let before = all();
        self.finish();
        assert_eq!(all(), before, "one more run must add no record");
    }

    /// Every file of the dataset, with its size and when it was made; `staging/` left out.
    pub fn inventory(&self) -> BTreeMap<PathBuf, (u64, i64)> {
        let all = ["data", "rejects", "late", "ledger"].map(|side| files(&self.dataset().join(side)));
        let describe = |path: PathBuf| {
            let metadata = fs::metadata(&path).unwrap();
            (path, (metadata.len(), metadata.mtime_nsec()))
        };
        all.into_iter().flatten().map(describe).collect()
    }
}
