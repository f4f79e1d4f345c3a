//! weir against the bare client: `run --until-end` beside librdkafka consumers that touch each payload and drop it.
//!
//! ```text
//! deploy/kafka start
//! cargo bench --bench throughput                              1,000,000 gzip readings, 5 rounds
//! cargo bench --bench throughput -- 3000000 5 gzip lz4 none   other numbers and codecs
//! ```
//!
//! All read the same topic with the same client settings, in turns, in one run: the ratios are what counts, since a timing
//! on a shared machine is noise. The topic holds real readings as JSON (3 partitions), one in 200 broken and one in 20
//! transactions aborted; it is made on the first run and used again. Both are run with one, two and three consumers,
//! because librdkafka decompresses on one thread a consumer. Every output is counted and verified against its ledger.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use weir::readings;
use weir::settings::Pipeline;
use weir::source::client_config;

const PARTITIONS: i32 = 3;
const CONSUMERS: [i32; 3] = [1, 2, 3];
const TRANSACTION_RECORDS: usize = 2_000;
const PIPELINE: &str = include_str!("../pipelines/air_quality.toml");
const WAIT: Duration = Duration::from_secs(60);

/// Who reads the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Bare consumers, so many.
    Bare(i32),
    /// weir with so many consumers.
    Weir(i32),
}

/// How one reading of the topic went.
#[derive(Debug, Clone, Copy)]
struct Reading {
    records: u64,
    seconds: f64,
    cpu_seconds: f64,
    /// weir's; the bare consumers' is this process's.
    peak_bytes: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let numbers: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let codecs: Vec<&String> = arguments.iter().filter(|argument| argument.parse::<usize>().is_err()).collect();
    let gzip = "gzip".to_owned();
    let codecs = if codecs.is_empty() { vec![&gzip] } else { codecs };
    let records = numbers.first().copied().unwrap_or(1_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(5);
    let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_else(|_| "localhost:9092".into());
    for codec in codecs {
        compare(&brokers, codec, records, rounds);
    }
}

fn compare(brokers: &str, codec: &str, records: usize, rounds: usize) {
    let topic = format!("weir-bench-{codec}-{records}");
    produce(brokers, &topic, codec, records);
    let text = PIPELINE.replace("\"air-quality-data\"", &format!("\"{topic}\""));
    let pipeline =
        Pipeline::parse("air_quality.toml", &text, &|_| Some(brokers.to_owned())).expect("the shipped pipeline");
    let readers = CONSUMERS.map(Reader::Bare).into_iter().chain(CONSUMERS.map(Reader::Weir));
    let mut readings: Vec<(Reader, Vec<Reading>)> = readers.map(|reader| (reader, Vec::new())).collect();
    for round in 0..rounds {
        for (reader, done) in &mut readings {
            let reading = match *reader {
                Reader::Bare(consumers) => bare(&pipeline, &topic, consumers),
                Reader::Weir(consumers) => weir(brokers, &text, consumers),
            };
            eprintln!("{codec}, round {}: {reader:?} {:.2} s", round + 1, reading.seconds);
            done.push(reading);
        }
    }
    let all: HashSet<u64> = readings.iter().flat_map(|(_, done)| done.iter().map(|one| one.records)).collect();
    assert_eq!(all.len(), 1, "all read the same records, not {all:?}");

    println!("\n{codec}: {} committed records, {rounds} rounds, medians", all.iter().next().expect("there is one"));
    println!("{:<28} {:>12} {:>16} {:>10}", "", "records/s", "CPU us a record", "peak MiB");
    for (reader, done) in &readings {
        let (name, peak) = match reader {
            Reader::Bare(consumers) => (format!("bare client, {consumers} consumer(s)"), "-".to_owned()),
            Reader::Weir(consumers) => {
                let peak = median(done, |one| one.peak_bytes as f64) as u64 >> 20;
                (format!("weir, {consumers} consumer(s)"), peak.to_string())
            }
        };
        println!("{name:<28} {:>12.0} {:>16.2} {peak:>10}", rate(done), cpu_micros(done));
    }
    let best = |is: fn(&Reader) -> bool| {
        let of = readings.iter().filter(|(reader, _)| is(reader));
        of.max_by(|a, b| rate(&a.1).total_cmp(&rate(&b.1))).expect("there are some of each")
    };
    let (limit, ours) =
        (best(|reader| matches!(reader, Reader::Bare(_))), best(|reader| matches!(reader, Reader::Weir(_))));
    let mut ratios: Vec<f64> = limit.1.iter().zip(&ours.1).map(|(bare, weir)| bare.seconds / weir.seconds).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "the best weir ({:?}) has {:.2} of the best bare client's rate ({:?}); {:.2} to {:.2} in single rounds",
        ours.0,
        ratios[rounds / 2],
        limit.0,
        ratios[0],
        ratios[rounds - 1]
    );
}

fn median(readings: &[Reading], of: impl Fn(&Reading) -> f64) -> f64 {
    let mut all: Vec<f64> = readings.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn rate(readings: &[Reading]) -> f64 {
    median(readings, |one| one.records as f64 / one.seconds)
}

fn cpu_micros(readings: &[Reading]) -> f64 {
    median(readings, |one| one.cpu_seconds * 1e6 / one.records as f64)
}

/// utime, stime, cutime and cstime of `/proc/self/stat`, at the usual 100 ticks a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells a process's times");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    fields.map(|ticks| ticks.parse::<f64>().unwrap_or_default()).sum::<f64>() / 100.0
}

/// Reads everything that is committed, each consumer its share of the partitions, touches it, and counts it.
fn bare(pipeline: &Pipeline, topic: &str, consumers: i32) -> Reading {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let records = std::thread::scope(|scope| {
        let share = |number: i32| (0..PARTITIONS).filter(move |partition| partition % consumers == number);
        let readers: Vec<_> = (0..consumers)
            .map(|number| scope.spawn(move || read(pipeline, topic, share(number).collect(), consumers)))
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("a consumer reads to the end")).sum()
    });
    Reading { records, seconds: started.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu, peak_bytes: 0 }
}

fn read(pipeline: &Pipeline, topic: &str, partitions: Vec<i32>, consumers: i32) -> u64 {
    let bytes = (128 << 20) / consumers as usize;
    let consumer: BaseConsumer = client_config(&pipeline.source, bytes).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    let (mut ended, mut records, mut sum) = (HashSet::new(), 0, 0_u64);
    while ended.len() < partitions.len() {
        match consumer.poll(WAIT).expect("a record or an end in time") {
            Ok(message) => {
                records += 1;
                sum += message.payload().unwrap_or_default().iter().map(|byte| u64::from(*byte)).sum::<u64>();
            }
            Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_ne!(sum, 0);
    records
}

/// Runs the pipeline into an empty folder, counts what it committed, and verifies it (not timed).
fn weir(brokers: &str, pipeline: &str, consumers: i32) -> Reading {
    let folder = tempfile::tempdir().expect("a folder");
    let text = pipeline.replace("[source]", &format!("[source]\nconsumers = {consumers}"));
    std::fs::write(folder.path().join("pipeline.toml"), text).expect("the pipeline file");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_weir")));
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("KAFKA_BROKERS", brokers)
            .env("WEIR__LOG__LEVEL", "warn");
        command
    };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut run = command(&["run", "pipeline.toml", "--until-end", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir runs");
    let mut peak_bytes = 0;
    while run.try_wait().expect("weir can be waited for").is_none() {
        peak_bytes = peak(run.id()).unwrap_or(peak_bytes);
        std::thread::sleep(Duration::from_millis(10));
    }
    let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let output = run.wait_with_output().expect("weir has ended");
    assert!(output.status.success());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    let records = ["row", "rejected"].iter().map(|class| summary["counts"][class].as_u64().expect("a count")).sum();
    let verified = command(&["verify", "pipeline.toml"]).stdout(Stdio::null()).status().expect("weir verifies");
    assert!(verified.success(), "the dataset is not what its ledger says");
    Reading { records, seconds, cpu_seconds, peak_bytes }
}

/// The most memory that a process has had so far.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Fills the topic, unless it has records.
fn produce(brokers: &str, topic: &str, codec: &str, records: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let reader: BaseConsumer = config.clone().set("group.id", "weir-bench").create().expect("a consumer");
    if let Ok((start, end)) = reader.fetch_watermarks(topic, 0, WAIT)
        && end > start
    {
        return;
    }
    println!("filling {topic} with {records} records");
    create(&config, topic);
    config.set("compression.type", codec).set("linger.ms", "50").set("transactional.id", topic);
    let producer: BaseProducer = config.set("queue.buffering.max.messages", "1000000").create().expect("a producer");
    producer.init_transactions(WAIT).expect("transactions");
    let good: Vec<_> = readings::readings().iter().map(|reading| reading.to_json(readings::STATION)).collect();
    let broken = readings::broken();
    for (number, start) in (0..records).step_by(TRANSACTION_RECORDS).enumerate() {
        producer.begin_transaction().expect("a transaction");
        for at in start..(start + TRANSACTION_RECORDS).min(records) {
            let payload = if at % 200 == 0 { &broken[at / 200 % broken.len()].payload } else { &good[at % good.len()] };
            let partition = (at % PARTITIONS as usize) as i32;
            let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(payload);
            producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        }
        match number % 20 {
            7 => {
                producer.flush(WAIT).expect("records reach the broker before they are aborted");
                producer.abort_transaction(WAIT).expect("an abort");
            }
            _ => producer.commit_transaction(WAIT).expect("a commit"),
        }
    }
}

fn create(config: &ClientConfig, topic: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = config.create().expect("an admin client");
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).expect("the topic is made");
}
