//! weir against the bare client: `run --until-end` beside a librdkafka consumer that touches each payload and drops it.
//!
//! ```text
//! deploy/kafka start
//! cargo bench --bench throughput                     1,000,000 readings, 5 rounds
//! cargo bench --bench throughput -- 3000000 5        other numbers
//! ```
//!
//! Both read the same topic with the same client settings, in turns, in one run: the ratio is what counts, since a timing
//! on a shared machine is noise. The topic holds real readings as JSON (gzip, 3 partitions), one in 200 broken and one
//! in 20 transactions aborted; it is made on the first run and used again. Every output is counted.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
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
const TRANSACTION_RECORDS: usize = 2_000;
const PIPELINE: &str = include_str!("../pipelines/air_quality.toml");
const WAIT: Duration = Duration::from_secs(60);

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let records = numbers.first().copied().unwrap_or(1_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(5);
    let brokers = std::env::var("KAFKA_BROKERS").unwrap_or_else(|_| "localhost:9092".into());
    let topic = format!("weir-bench-{records}");
    produce(&brokers, &topic, records);

    let text = PIPELINE.replace("\"air-quality-data\"", &format!("\"{topic}\""));
    let pipeline =
        Pipeline::parse("air_quality.toml", &text, &|_| Some(brokers.clone())).expect("the shipped pipeline");
    println!("{:>6} {:>10} {:>10} {:>8} {:>8} {:>6}", "round", "bare s", "weir s", "bare cpu", "weir cpu", "ratio");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (bare, bare_cpu, seen) = timed(|| bare(&pipeline, &topic));
        let (weir, weir_cpu, committed) = timed(|| weir(&brokers, &text));
        assert_eq!(seen, committed, "both read the same records");
        let ratio = bare.as_secs_f64() / weir.as_secs_f64();
        println!(
            "{round:>6} {:>10.2} {:>10.2} {bare_cpu:>8.2} {weir_cpu:>8.2} {ratio:>6.2}",
            bare.as_secs_f64(),
            weir.as_secs_f64()
        );
        ratios.push((ratio, seen as f64 / weir.as_secs_f64(), weir_cpu / bare_cpu));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, rate, cpu) = ratios[rounds / 2];
    println!("median: weir has {ratio:.2} of the bare client's rate ({rate:.0} records/s, {cpu:.2} x its CPU)");
}

/// Wall-clock time, CPU seconds of this process and its children, and the result.
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, f64, T) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let result = run();
    (started.elapsed(), cpu_seconds() - cpu, result)
}

/// utime, stime, cutime and cstime of `/proc/self/stat`, at the usual 100 ticks a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells a process's times");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    fields.map(|ticks| ticks.parse::<f64>().unwrap_or_default()).sum::<f64>() / 100.0
}

/// Reads everything that is committed, touches it, and counts it.
fn bare(pipeline: &Pipeline, topic: &str) -> u64 {
    let consumer: BaseConsumer = client_config(&pipeline.source, 128 << 20).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    let (mut ended, mut records, mut sum) = (HashSet::new(), 0, 0_u64);
    while ended.len() < PARTITIONS as usize {
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

/// Runs the pipeline into an empty folder and counts what it committed.
fn weir(brokers: &str, pipeline: &str) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pipeline.toml"), pipeline).expect("the pipeline file");
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_weir")))
        .args(["run", "pipeline.toml", "--until-end", "--format", "json"])
        .env("KAFKA_BROKERS", brokers)
        .env("WEIR__LOG__LEVEL", "warn")
        .current_dir(folder.path())
        .output()
        .expect("weir runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    ["row", "rejected"].iter().map(|class| summary["counts"][class].as_u64().expect("a count")).sum()
}

/// Fills the topic, unless it has records.
fn produce(brokers: &str, topic: &str, records: usize) {
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
    config.set("compression.type", "gzip").set("linger.ms", "50").set("transactional.id", topic);
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
