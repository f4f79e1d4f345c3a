//! What all instances of a run share, and never change: the pipeline, the records in Kafka, and what each of them should become.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::disk::SimulatedDisk;
use super::random::Random;
use crate::model::Class as RecordClass;
use crate::model::Counts;
use crate::model::Pipeline;
use crate::model::Side;
use crate::model::window::WindowId;
use crate::model::window::WindowState;
use crate::model::{Partition, Range, RawRecords};
use crate::validate::Checker;
use crate::window::resume;

/// The dataset's folder.
pub(super) const ROOT: &str = "/sim";
pub(super) const TOPIC: &str = "t";
pub(super) const TOPIC_ID: &str = "id";

/// What a run is like: all of it follows from the seed.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) seed: u64,
    pub(super) instances: u8,
    pub(super) partitions: i32,
    /// Entries of a checkpoint.
    pub(super) every: u64,
    kind: Kind,
    /// Records of a batch at the most.
    pub(super) batch_max: u64,
    /// How many times of a thousand a batch is followed by a commit that no roll rule asks for.
    pub(super) age: u64,
    /// Whether the dataset is there from the beginning.
    pub(super) prepared: bool,
    /// The same for a lane that is dropped with a commit under way.
    pub(super) abandon: u64,
}

/// What decides how long its records and definition are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    tumbling: bool,
    keys: bool,
    roll: u64,
    records: u64,
}

impl Config {
    pub(super) fn of(seed: u64) -> Config {
        let mut random = Random::of(&[seed, 1]);
        Config {
            seed,
            instances: *random.pick(&[1, 2, 2, 3]),
            partitions: *random.pick(&[1, 1, 2]),
            every: 2 + random.below(4),
            kind: Kind {
                tumbling: random.chance(500),
                keys: random.chance(300),
                roll: 1 + random.below(2),
                records: *random.pick(&[30, 100, 250]),
            },
            batch_max: 1 + random.below(6),
            prepared: random.chance(700),
            age: *random.pick(&[0, 50, 300]),
            abandon: *random.pick(&[0, 20, 100]),
        }
    }
}

impl Config {
    /// Ways to make a world smaller, to be tried one after another.
    pub(super) fn smaller() -> [fn(&mut Config); 7] {
        [
            |config| config.prepared = true,
            |config| config.partitions = 1,
            |config| config.kind.keys = false,
            |config| config.kind.tumbling = false,
            |config| config.kind.records = 5,
            |config| config.kind.records = config.kind.records.min(12),
            |config| config.kind.records = config.kind.records.min(30),
        ]
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) logs: Vec<Arc<Log>>,
    pub(super) disk: SimulatedDisk,
}

/// A partition's records.
#[derive(Debug)]
pub(super) struct Log {
    partition: i32,
    /// Offset, time in milliseconds since 1970, and value: none is a tombstone.
    records: Vec<(i64, i64, Option<String>)>,
    /// The position after the last marker.
    pub(super) end: i64,
    pub(super) reference: Reference,
}

/// What the records become if nothing ever goes wrong and each is a batch of its own.
#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) classes: BTreeMap<i64, Class>,
    /// After each record.
    states: BTreeMap<i64, WindowState>,
    initial: Option<WindowState>,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Row(WindowId),
    Late(WindowId),
    Rejected,
    Tombstone,
}

impl Class {
    /// Which tree has its row.
    pub(super) fn side(self) -> Option<Side> {
        match self {
            Class::Row(_) => Some(Side::Data),
            Class::Late(_) => Some(Side::Late),
            Class::Rejected => Some(Side::Rejects),
            Class::Tombstone => None,
        }
    }
}

thread_local! {
    /// Making these takes longer than a run.
    static KNOWN: RefCell<HashMap<(Kind, u64), Known>> = RefCell::default();
}

/// A pipeline, and a log for each partition.
type Known = (Arc<Pipeline>, Vec<Arc<Log>>);

/// Different logs of one kind.
const LOGS: u64 = 3;

impl World {
    pub(super) fn new(config: Config) -> World {
        let (kind, number) = (config.kind, config.seed % LOGS);
        let (pipeline, logs) = KNOWN.with_borrow_mut(|known| {
            let make = || {
                let pipeline = Arc::new(pipeline(kind));
                let log = |partition| Arc::new(Log::new(partition, kind, number, &pipeline));
                let logs = (0..2).map(log).collect();
                (pipeline, logs)
            };
            known.entry((kind, number)).or_insert_with(make).clone()
        });
        World { config, pipeline, logs, disk: SimulatedDisk::new() }
    }

    pub(super) fn partition(number: i32) -> Partition {
        Partition { topic: TOPIC.into(), partition: number }
    }

    pub(super) fn log(&self, partition: i32) -> &Log {
        &self.logs[usize::try_from(partition).expect("partitions are from 0 on")]
    }
}

fn pipeline(kind: Kind) -> Pipeline {
    let window = match kind.tumbling {
        true => "type = \"tumbling\"\nsize = \"10s\"\ntime = \"at\"\nout_of_order = \"3s\"\nlate = \"side\"",
        false => "type = \"count\"\nrows = 4",
    };
    let keys = if kind.keys { "\"k\"" } else { "" };
    let text = format!(
        r#"
        name = "sim"
        [source]
        type = "kafka"
        brokers = "none:9092"
        topics = ["{TOPIC}"]
        format = "json"
        [columns]
        k = {{ type = "string", required = true }}
        at = {{ type = "timestamp", required = true }}
        v = {{ type = "int64", min = 0 }}
        [window]
        {window}
        [sink]
        type = "parquet"
        path = "none"
        partition_by = [{keys}]
        compression = "none"
        roll = {{ windows = {}, bytes = "128MiB", age = "1d" }}
        "#,
        kind.roll
    );
    Pipeline::parse("sim.toml", &text, &|_| None).expect("it is well written")
}

impl Log {
    fn new(partition: i32, kind: Kind, number: u64, pipeline: &Pipeline) -> Log {
        let mut random = Random::of(&[number, 2, u64::try_from(partition).unwrap_or_default()]);
        let (mut records, mut offset, mut second) = (Vec::new(), 0, 0_i64);
        for _ in 0..kind.records {
            // Markers, aborted and compacted records.
            offset += if random.chance(150) { 1 + i64::try_from(random.below(4)).unwrap_or_default() } else { 0 };
            second += i64::try_from(random.below(3)).unwrap_or_default();
            let back = if random.chance(200) { i64::try_from(random.below(15)).unwrap_or_default() } else { 0 };
            let at = (second - back).max(0);
            let key = if random.chance(800) { "a" } else { "b" };
            let value = match random.below(20) {
                0 => None,
                1 => Some("{\"k\": ".to_owned()),
                2 => Some(format!(r#"{{"k":"{key}","at":{},"v":-1}}"#, at_text(at))),
                _ => Some(format!(r#"{{"k":"{key}","at":{},"v":{offset}}}"#, at_text(at))),
            };
            records.push((offset, 1_700_000_000_000 + second * 1000, value));
            offset += 1;
        }
        let end = offset + i64::try_from(random.below(2)).unwrap_or_default();
        let mut log = Log { partition, records, end, reference: Reference::default() };
        log.reference = log.reference(pipeline);
        log
    }

    /// Up to so many records from a position on, and the positions that they stand for.
    pub(super) fn read(&self, from: i64, count: u64, past_markers: bool) -> (Range, RawRecords) {
        let first = self.records.partition_point(|(offset, ..)| *offset < from);
        let mut records = RawRecords::default();
        let wanted = self.records[first..].iter().take(usize::try_from(count).unwrap_or(usize::MAX));
        let mut to = from;
        for (offset, time, value) in wanted {
            records.push(*offset, Some(*time), None, value.as_deref().map(str::as_bytes));
            to = offset + 1;
        }
        match self.records.get(first + records.len()) {
            None => to = self.end,
            Some((next, ..)) if past_markers => to = *next,
            _ => {}
        }
        (Range { from, to }, records)
    }

    fn reference(&self, pipeline: &Pipeline) -> Reference {
        let (mut checker, mut windows) = (Checker::new(pipeline), resume(&pipeline.window, None));
        let mut reference = Reference { initial: Some(pipeline.window.kind().first_state()), ..Reference::default() };
        let partition = World::partition(self.partition);
        for (offset, ..) in &self.records {
            let (_, records) = self.read(*offset, 1, false);
            let range = Range { from: *offset, to: offset + 1 };
            let parts = windows.assign(range, checker.check(&partition, &records));
            let [part] = &parts[..] else { panic!("one record is one part") };
            let class = match (part.rows.first(), part.counts[RecordClass::Rejected]) {
                (Some(rows), _) if rows.side == Side::Late => Class::Late(rows.window),
                (Some(rows), _) => Class::Row(rows.window),
                (None, 1) => Class::Rejected,
                _ => Class::Tombstone,
            };
            reference.classes.insert(*offset, class);
            reference.states.insert(*offset, part.state.clone());
        }
        reference
    }
}

fn at_text(second: i64) -> String {
    format!("\"2024-01-01T00:{:02}:{:02}Z\"", second / 60, second % 60)
}

impl Reference {
    /// The windows' state at a position.
    pub(super) fn state(&self, position: i64) -> &WindowState {
        let before = self.states.range(..position).next_back().map(|(_, state)| state);
        before.or(self.initial.as_ref()).expect("it was made with a state")
    }

    /// Records by class between two positions.
    pub(super) fn counts(&self, from: i64, to: i64) -> Counts {
        let mut counts = Counts::default();
        for (_, class) in self.classes.range(from..to) {
            match class {
                Class::Row(_) => counts[RecordClass::Row] += 1,
                Class::Late(_) => counts[RecordClass::Late] += 1,
                Class::Rejected => counts[RecordClass::Rejected] += 1,
                Class::Tombstone => counts[RecordClass::Tombstone] += 1,
            }
        }
        counts
    }
}
