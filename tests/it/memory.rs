//! Memory is bounded by one number, and by the largest batch: the peak of a run over a backlog many
//! times as large, or over batches that compress well.
//!
//! `WEIR_TEST_BACKLOG_BYTES` makes the backlog larger than everyday tests can afford, and
//! `WEIR_TEST_BATCHES=zstd:126,lz4:1000` has batches read of those codecs and megabytes; both print
//! what they measured.

use std::fs;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::harness::broker::{Broker, free_port};
use crate::harness::case::{Case, PATIENCE};
use crate::harness::cgroup::Cgroup;
use crate::harness::pipeline::{Column, Kind};
use crate::harness::produce::{Acknowledgements, Load, produce, send, settle};
use crate::harness::until;
use crate::harness::weir::Run;

const LIMIT: u64 = 128 << 20;
/// What a process takes beyond `limits.memory`, whatever the backlog: code, threads, librdkafka, the encoders' buffers.
const FIXED: u64 = 64 << 20;
/// A reading is about so long.
const READING: u64 = 245;

#[test]
fn a_backlog_is_read_within_the_limit() {
    let backlog = std::env::var("WEIR_TEST_BACKLOG_BYTES").map_or(300_000_000, |bytes| bytes.parse().unwrap());
    let case = Case::new(Broker::shared(), "backlog", 3);
    check(&case, &Load { records: backlog / READING, transaction: 5_000, stations: 4, ..Load::default() });
}

#[test]
fn thousands_of_keys_with_a_few_rows_each_are_written_within_the_limit() {
    let case = Case::new(Broker::shared(), "many-keys", 3).with(|pipeline| {
        // A folder for each of the readings' 9,357 hours, all of them open until the end.
        let mut hour = pipeline.columns[0];
        (hour.name, hour.from, hour.station) = ("hour", "timestamp", false);
        pipeline.columns.push(hour);
        pipeline.partition_by = &["hour"];
        pipeline.roll = "windows = 1000".to_owned();
    });
    check(&case, &Load { records: 150_000, transaction: 5_000, ..Load::default() });
}

/// Reads a topic of so many records to its end.
#[track_caller]
fn check(case: &Case, load: &Load) {
    produce(case.broker, &case.pipeline.topic, 3, load);
    let mut run = case.to_end_with(&[("WEIR__LIMITS__MEMORY", "128MiB")]);
    let mut peak = 0;
    until("the topic is read", Duration::from_secs(1_800), || {
        peak = peak_bytes(run.pid()).unwrap_or(peak);
        !run.is_running()
    });
    let finished = run.wait(Duration::from_secs(1)).expect_code(0);
    println!("{}\npeak {} MiB over {} MB", finished.stdout, peak >> 20, load.records * READING / 1_000_000);
    let report = case.verify();
    assert_eq!(report["counts"]["row"], load.records);
    assert!(peak > 0 && peak < LIMIT + FIXED, "{} MiB, {} MiB are allowed", peak >> 20, (LIMIT + FIXED) >> 20);
}

/// What librdkafka keeps for a record beside its content.
const RECORD: u64 = 320;

/// From here on a single record's copies on its way are counted by themselves.
const LARGE_RECORD: usize = 1 << 20;

/// Records that compress to nearly nothing.
struct Compressible {
    codec: &'static str,
    records: u64,
    /// Bytes of a value, about.
    value: usize,
    /// Records of a batch.
    batch: u64,
}

impl Compressible {
    /// Bytes of a batch in memory.
    fn batch_bytes(&self) -> u64 {
        self.batch.min(self.records) * (self.value as u64 + 40 + RECORD)
    }

    /// A topic with them, and a pipeline of a number and a text.
    fn case<'a>(&self, broker: &'a Broker) -> Case<'a> {
        let case = Case::new(broker, "compressible", 1).with(|pipeline| {
            let column = |name, kind| Column { name, from: name, kind, required: false, range: None, station: false };
            pipeline.columns = vec![column("i", Kind::Int), column("k", Kind::Text)];
            pipeline.partition_by = &[];
            pipeline.rows_per_window = 1_000;
        });
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", broker.address())
            .set("compression.type", self.codec)
            .set("batch.num.messages", self.batch.to_string())
            .set("batch.size", "2147483647")
            .set("message.max.bytes", "1000000000")
            .set("message.timeout.ms", "600000")
            .set("queue.buffering.max.messages", "2000000")
            .set("queue.buffering.max.kbytes", "2147483647")
            .set("linger.ms", "60000");
        let producer: BaseProducer<Acknowledgements> = config.create_with_context(Acknowledgements::default()).unwrap();
        let text = "y".repeat(self.value);
        for first in (0..self.records).step_by(self.batch as usize) {
            for i in first..self.records.min(first + self.batch) {
                let value = if self.value == 0 { "{}".to_owned() } else { format!(r#"{{"i":{i},"k":"{text}"}}"#) };
                send(&producer, &case.pipeline.topic, 0, Some(value.as_bytes()));
            }
            producer.flush(PATIENCE).unwrap();
            settle(&producer);
        }
        case
    }

    /// They are read with so much memory, and the peak is within the bound.
    #[track_caller]
    fn check(&self, broker: &Broker, memory: u64) {
        let case = self.case(broker);
        let peak = read(&case, &[], memory, self.records);
        // A large record is there as it came, as a column's value, and in the encoder, before it is committed.
        let copies = if self.value > LARGE_RECORD { 3 * self.value as u64 } else { 0 };
        let bound = memory + FIXED + self.batch_bytes() + copies;
        let (codec, value) = (self.codec, self.value);
        let of = format!("{codec}, {} records of {value} bytes in batches of {}", self.records, self.batch);
        println!("{of}: peak {} MiB, bound {} MiB", peak >> 20, bound >> 20);
        assert!(peak < bound, "{of}: {} MiB, {} MiB are allowed", peak >> 20, bound >> 20);
    }
}

/// Runs a pipeline to its end; the peak.
#[track_caller]
fn read(case: &Case, under: &[&str], memory: u64, records: u64) -> u64 {
    let mut run = start(case, under, memory);
    let mut peak = 0;
    until("the topic is read", Duration::from_secs(1_800), || {
        peak = peak_bytes(run.pid()).unwrap_or(peak);
        !run.is_running()
    });
    run.wait(Duration::from_secs(1)).expect_code(0);
    let counts = &case.verify()["counts"];
    assert_eq!((&counts["row"], &counts["lost"]), (&records.into(), &0.into()));
    assert!(peak > 0);
    peak
}

fn start(case: &Case, under: &[&str], memory: u64) -> Run {
    let memory = format!("{memory}B");
    let args = ["run", &case.file(), "--until-end"];
    case.workspace.spawn_under(under, args, &[("WEIR__LIMITS__MEMORY", &memory)])
}

#[test]
fn records_that_compress_well_are_read_within_the_limit() {
    let (broker, memory) = (Broker::shared(), 64 << 20);
    Compressible { codec: "zstd", records: 120_000, value: 2_000, batch: 10_000 }.check(broker, memory);
    Compressible { codec: "gzip", records: 120_000, value: 2_000, batch: 500 }.check(broker, memory);
    // Records that are nothing but their bookkeeping.
    Compressible { codec: "lz4", records: 300_000, value: 0, batch: 20_000 }.check(broker, memory);
    // A batch a record.
    Compressible { codec: "zstd", records: 8, value: 40_000_000, batch: 1 }.check(broker, memory);
}

/// More than librdkafka's default of what it decompresses, 100 MB.
#[test]
fn a_batch_of_any_size_that_fits_is_read() {
    let asked = std::env::var("WEIR_TEST_BATCHES").unwrap_or_else(|_| "zstd:126".to_owned());
    let settings = ["message.max.bytes=1000000000", "replica.fetch.max.bytes=1000000000"];
    let broker = Broker::with(free_port(), |_| settings.map(str::to_owned).to_vec());
    for asked in asked.split(',') {
        let (codec, megabytes) = asked.split_once(':').unwrap();
        let codec = ["gzip", "snappy", "lz4", "zstd", "none"].into_iter().find(|known| *known == codec).unwrap();
        let records = megabytes.parse::<u64>().unwrap() * 1_000;
        Compressible { codec, records, value: 960, batch: records }.check(&broker, 64 << 20);
    }
}

#[test]
fn in_a_container_it_is_not_killed() {
    let case = Compressible { codec: "zstd", records: 60_000, value: 2_000, batch: 5_000 }.case(Broker::shared());
    let group = Cgroup::new("fits", 192 << 20);
    read(&case, &["sh", "-c", &group.starter()], 64 << 20, 60_000);
}

#[test]
fn a_batch_that_does_not_fit_parks_its_lane_by_name() {
    let load = Compressible { codec: "zstd", records: 300_000, value: 960, batch: 300_000 };
    let case = load.case(Broker::shared());
    let group = Cgroup::new("too-large", 192 << 20);
    let starter = group.starter();
    let under = ["sh", "-c", &starter];
    let ended = start(&case, &under, 64 << 20).wait(PATIENCE).expect_code(3);
    for words in ["not enough memory for the batch of records at offset 0", "needs up to", "192.00 MiB", "is whole"] {
        assert!(ended.stdout.contains(words), "no {words:?} in:\n{}", ended.stdout);
    }
    for words in ["damaged", "--to readable", "weir skip"] {
        assert!(!(ended.stdout.clone() + &ended.stderr).contains(words), "{words:?} is advised");
    }
    // Nor is it given up, by whoever asks.
    let partition = format!("{}:0", case.pipeline.topic);
    let file = case.file();
    let args = ["skip", &file, &partition, "--to", "readable"];
    let refused = case.workspace.spawn_under(&under, args, &[]).wait(PATIENCE).expect_code(1);
    assert!(refused.stderr.contains("not known to be damaged"), "{}", refused.stderr);
    // With more memory the same command finds nothing wrong, and the run goes on.
    let refused = case.workspace.run(args, PATIENCE).expect_code(1);
    assert!(refused.stderr.contains("can be read"), "{}", refused.stderr);
    read(&case, &[], 64 << 20, 300_000);
}

/// However much of the address space it may have: it ends well, or its words are of what it didn't get.
#[test]
fn too_little_address_space_is_no_bug() {
    let case = Case::new(Broker::shared(), "address-space", 3);
    produce(case.broker, &case.pipeline.topic, 3, &Load { records: 3_000, ..Load::default() });
    for mebibytes in (700..1_200).step_by(50) {
        let limit = format!("ulimit -v {} && exec \"$0\" \"$@\"", mebibytes << 10);
        let ended = start(&case, &["sh", "-c", &limit], 64 << 20).wait(PATIENCE);
        let said = ended.stdout + &ended.stderr;
        assert!(!said.contains("bug in weir"), "{mebibytes} MiB:\n{said}");
    }
    case.finish();
    case.judge();
}

/// The most memory that a process ever had; none when it has ended.
pub(crate) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
