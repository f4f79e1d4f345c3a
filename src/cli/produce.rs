//! `weir produce`: sends the shipped readings, or the lines of a file, to a topic.
//!
//! It sends with the settings of a producer that must not lose or double anything (acknowledged by all replicas,
//! idempotent, gzip), spreads records evenly over the partitions in turn, and counts what the broker acknowledged.
//! [`produce_all`] is the part that other commands use. It does not look into a record: what is sent is what was given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use crate::base::words;
use crate::cli::readings;

/// How long a broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the broker may take to acknowledge what is left at the end, or a transaction.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Records in a transaction.
const TRANSACTION_RECORDS: u64 = 1_000;
/// A transaction's age at the most: a broker aborts those that stay open long.
const TRANSACTION_AGE: Duration = Duration::from_secs(1);
/// How long to wait for room in the producer's queue before trying again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
/// How often progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// `weir produce`: send readings, or the lines of a file, to a topic.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ProduceArgs {
    /// Kafka brokers, host:port, several separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    pub brokers: String,
    /// The topic; it is made if it doesn't exist.
    #[arg(long, default_value = "air-quality-data")]
    pub topic: String,
    /// Partitions of the topic, if it is made.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Send the lines of this file, a record each, instead of the shipped readings; - is standard input.
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// Send ten broken records among the shipped readings.
    #[arg(long, conflicts_with = "file")]
    pub broken: bool,
    /// Records a second, as 100 or 100/s; 0 is as fast as it goes.
    #[arg(long, default_value = "0", value_parser = parse_rate)]
    pub rate: f64,
    /// How many times to send everything; 0 is again and again until it is stopped.
    #[arg(long, default_value_t = 1)]
    pub repeat: u64,
    /// Send in transactions of 1,000 records.
    #[arg(long)]
    pub transactional: bool,
}

/// A record to be sent: partition, key and value.
pub(crate) type Outgoing = (i32, Option<Vec<u8>>, Vec<u8>);

/// What the broker acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    /// Records of each partition.
    pub partitions: BTreeMap<i32, u64>,
    /// Bytes of the values.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Records of all partitions.
    pub(crate) fn records(&self) -> u64 {
        self.partitions.values().sum()
    }
}

/// Runs the command; progress and summary go to standard error.
pub(crate) fn produce(args: &ProduceArgs) -> anyhow::Result<Summary> {
    let mut config = producer_config(&args.brokers);
    if args.transactional {
        config.set("transactional.id", format!("weir-produce-{}", std::process::id()));
    }
    let partitions = ensure_topic(&config, &args.topic, args.partitions)?;
    let mut failed = None;
    let mut sent = 0_u64;
    let mut progress = Progress::start();
    let records = payloads(args)?
        .map_while(|payload| payload.map_err(|error| failed = Some(error)).ok())
        .inspect(|_| {
            wait_for_turn(progress.started, sent, args.rate);
            sent += 1;
            progress.show(sent);
        })
        .zip((0..partitions).cycle())
        .map(|(payload, partition)| (partition, None, payload));
    let summary = produce_all(&config, &args.topic, records)?;
    if let Some(error) = failed {
        return Err(error
            .context(format!("the input ended early: {} sent before it", words::plural(summary.records(), "record"))));
    }
    print_summary(args, &summary);
    Ok(summary)
}

/// Settings of a producer that neither loses nor doubles a record.
pub(crate) fn producer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "weir-produce")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "gzip")
        .set("message.timeout.ms", "30000");
    config
}

/// Sends all records and waits until the broker has acknowledged each of them; the first failure ends it.
///
/// With a `transactional.id` among the settings they go in transactions of at most 1,000 records and one second.
pub(crate) fn produce_all(
    config: &ClientConfig,
    topic: &str,
    records: impl IntoIterator<Item = Outgoing>,
) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let producer: ThreadedProducer<Deliveries> =
        config.create_with_context(Deliveries::default()).context("the producer's settings are refused")?;
    let mut transaction = Transaction::new(&producer, config)?;
    for record in records {
        transaction.before_a_record()?;
        send(&producer, topic, &record)?;
        producer.context().check(config, topic)?;
    }
    let flushed = producer.flush(FLUSH_TIMEOUT);
    producer.context().check(config, topic)?;
    flushed.map_err(|error| unreachable_broker(config, &error))?;
    transaction.commit()?;
    let tally = producer.context().tally();
    Ok(Summary { partitions: tally.partitions.clone(), bytes: tally.bytes, elapsed: started.elapsed() })
}

/// Makes the topic if it doesn't exist, and returns how many partitions it has.
pub(crate) fn ensure_topic(config: &ClientConfig, topic: &str, partitions: i32) -> anyhow::Result<i32> {
    let admin: AdminClient<DefaultClientContext> =
        without_producer_settings(config).create().context("the client's settings are refused")?;
    // The first question to the broker, and one that creates nothing.
    let metadata =
        admin.inner().fetch_metadata(None, ANSWER_TIMEOUT).map_err(|error| unreachable_broker(config, &error))?;
    if let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) {
        return Ok(i32::try_from(found.partitions().len())?);
    }
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT)).request_timeout(Some(ANSWER_TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    match runtime.block_on(admin.create_topics([&new], &options))?.pop() {
        // Another producer may have made it in the meantime.
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(partitions),
        Some(Err((_, code))) => bail!("the topic {topic} does not exist and could not be made: {code}"),
    }
}

/// What every acknowledgement is counted in.
#[derive(Default)]
struct Deliveries(Mutex<Tally>);

#[derive(Default)]
struct Tally {
    partitions: BTreeMap<i32, u64>,
    bytes: u64,
    failed: Option<(i32, KafkaError)>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut tally = self.tally();
        match result {
            Ok(message) => {
                *tally.partitions.entry(message.partition()).or_default() += 1;
                tally.bytes += message.payload_len() as u64;
            }
            Err((error, message)) => {
                tally.failed.get_or_insert_with(|| (message.partition(), error.clone()));
            }
        }
    }
}

impl Deliveries {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first record that was not acknowledged, as an error.
    fn check(&self, config: &ClientConfig, topic: &str) -> anyhow::Result<()> {
        let Some((partition, error)) = self.tally().failed.clone() else { return Ok(()) };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
            return Err(unreachable_broker(config, &error));
        }
        Err(anyhow!(error).context(format!("a record for {topic}:{partition} was not delivered")))
    }
}

/// The open transaction of a producer, if it has a `transactional.id`.
struct Transaction<'a> {
    producer: &'a ThreadedProducer<Deliveries>,
    enabled: bool,
    /// When it began, and how many records it has.
    open: Option<(Instant, u64)>,
}

impl<'a> Transaction<'a> {
    fn new(producer: &'a ThreadedProducer<Deliveries>, config: &ClientConfig) -> anyhow::Result<Self> {
        let enabled = config.get("transactional.id").is_some();
        if enabled {
            producer.init_transactions(ANSWER_TIMEOUT).map_err(|error| unreachable_broker(config, &error))?;
        }
        Ok(Transaction { producer, enabled, open: None })
    }

    /// Begins a transaction if none is open, and a new one if the open one is large or old.
    fn before_a_record(&mut self) -> anyhow::Result<()> {
        if !self.enabled {
            return Ok(());
        }
        if self.open.is_some_and(|(began, records)| records == TRANSACTION_RECORDS || began.elapsed() > TRANSACTION_AGE)
        {
            self.commit()?;
        }
        if self.open.is_none() {
            self.producer.begin_transaction().context("a transaction could not begin")?;
        }
        let (began, records) = self.open.unwrap_or_else(|| (Instant::now(), 0));
        self.open = Some((began, records + 1));
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        if self.open.take().is_some() {
            self.producer.commit_transaction(FLUSH_TIMEOUT).context("a transaction was not committed")?;
        }
        Ok(())
    }
}

/// Hands a record to the producer; waits while its queue is full.
fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, record: &Outgoing) -> anyhow::Result<()> {
    let (partition, key, payload) = record;
    let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(*partition).payload(payload);
    message.key = key.as_deref();
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            // `message.timeout.ms` empties the queue at the latest.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                message = refused;
                thread::sleep(QUEUE_FULL_PAUSE);
            }
            Err((error, _)) => {
                return Err(anyhow!(error).context(format!("a record for {topic}:{partition} was refused")));
            }
        }
    }
}

fn unreachable_broker(config: &ClientConfig, error: &KafkaError) -> anyhow::Error {
    let brokers = config.get("bootstrap.servers").unwrap_or_default();
    anyhow!(
        "no Kafka broker answers at {brokers} ({error}): start one (`deploy/kafka start` runs one here), \
         or name another with --brokers HOST:PORT"
    )
}

/// The settings that an admin client takes without complaint.
fn without_producer_settings(config: &ClientConfig) -> ClientConfig {
    let mut admin = config.clone();
    for key in ["acks", "enable.idempotence", "compression.type", "message.timeout.ms", "transactional.id"] {
        admin.remove(key);
    }
    admin
}

type Payloads = Box<dyn Iterator<Item = anyhow::Result<Vec<u8>>>>;

/// The values to send, as often as they were asked for.
fn payloads(args: &ProduceArgs) -> anyhow::Result<Payloads> {
    let Some(file) = &args.file else {
        let records = if args.broken {
            readings::with_broken()
        } else {
            readings::readings().iter().map(|reading| reading.to_json(readings::STATION)).collect()
        };
        return Ok(repeated(args.repeat, move || Ok(Box::new(records.clone().into_iter().map(Ok)))));
    };
    if file.as_os_str() == "-" {
        anyhow::ensure!(args.repeat == 1, "standard input can be sent only once: leave --repeat out");
        return Ok(lines(without_mark(stdin().lock())?));
    }
    let file = file.clone();
    let open = move || -> anyhow::Result<Payloads> {
        let opened = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        Ok(lines(without_mark(BufReader::new(opened)).with_context(|| file.display().to_string())?))
    };
    // A file that isn't there is told before anything is sent.
    drop(open()?);
    Ok(repeated(args.repeat, open))
}

/// What `make` gives, `times` times over; endlessly for 0.
fn repeated(times: u64, mut make: impl FnMut() -> anyhow::Result<Payloads> + 'static) -> Payloads {
    let times = if times == 0 { u64::MAX } else { times };
    Box::new((0..times).flat_map(move |_| make().unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))))
}

/// The text after its byte order mark, which editors on Windows put first: it belongs to the file, not to its first record.
fn without_mark<R: BufRead>(mut input: R) -> anyhow::Result<R> {
    let start = input.fill_buf().context("cannot be read")?;
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        bail!("the input is UTF-16, but records are UTF-8: convert it first, as iconv -f UTF-16 -t UTF-8 does");
    }
    let mark = if start.starts_with("\u{feff}".as_bytes()) { '\u{feff}'.len_utf8() } else { 0 };
    input.consume(mark);
    Ok(input)
}

/// The lines of a text as records; empty lines are none.
fn lines(input: impl BufRead + 'static) -> Payloads {
    let lines = input.split(b'\n').map(|line| {
        let mut line = line.context("cannot read the next line")?;
        line.pop_if(|last| *last == b'\r');
        Ok(line)
    });
    Box::new(lines.filter(|line| line.as_ref().map_or(true, |line| !line.is_empty())))
}

/// `100` or `100/s`.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected a number of records a second, such as 100 or 100/s".into()),
    }
}

/// Sleeps until record number `index` is due.
fn wait_for_turn(started: Instant, index: u64, rate: f64) {
    if rate > 0.0 {
        let due = started + Duration::from_secs_f64(index as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// A line on standard error every few seconds.
struct Progress {
    started: Instant,
    shown: Instant,
}

impl Progress {
    fn start() -> Self {
        Progress { started: Instant::now(), shown: Instant::now() }
    }

    fn show(&mut self, sent: u64) {
        if self.shown.elapsed() > PROGRESS_EVERY {
            self.shown = Instant::now();
            let records = words::plural(sent, "record");
            eprintln!("sent {records} ({:.0}/s)", sent as f64 / self.started.elapsed().as_secs_f64());
        }
    }
}

fn print_summary(args: &ProduceArgs, summary: &Summary) {
    let (records, seconds) = (summary.records(), summary.elapsed.as_secs_f64());
    eprintln!(
        "produced {} ({}) to {} at {} in {seconds:.1} s ({:.0}/s)",
        words::plural(records, "record"),
        words::plural(summary.bytes, "byte"),
        args.topic,
        args.brokers,
        records as f64 / seconds
    );
    for (partition, records) in &summary.partitions {
        eprintln!("  partition {partition}: {records}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_may_say_its_unit() {
        assert_eq!((parse_rate("0"), parse_rate("100"), parse_rate("2.5/s")), (Ok(0.0), Ok(100.0), Ok(2.5)));
        assert!(["", "-1", "fast", "100/m", "inf"].iter().all(|text| parse_rate(text).is_err()));
    }

    #[test]
    fn lines_are_records_and_empty_ones_are_not() {
        let records: Vec<_> = lines(&b"{\"a\":1}\r\n\n[2]\n3"[..]).map(Result::unwrap).collect();
        assert_eq!(records, [&b"{\"a\":1}"[..], b"[2]", b"3"]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_record() {
        let records = |bytes: &'static [u8]| -> anyhow::Result<Vec<Vec<u8>>> { lines(without_mark(bytes)?).collect() };
        assert_eq!(records(b"\xef\xbb\xbf{}\r\n\xef\xbb\xbf[]").unwrap(), [&b"{}"[..], b"\xef\xbb\xbf[]"]);
        assert_eq!(records(b"").unwrap(), Vec::<Vec<u8>>::new());
        for utf16 in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            assert!(records(utf16).unwrap_err().to_string().contains("iconv -f UTF-16 -t UTF-8"));
        }
    }

    #[test]
    fn nothing_answers_on_a_closed_port() {
        let config = producer_config("localhost:1");
        let error = ensure_topic(&config, "t", 1).unwrap_err().to_string();
        assert!(error.contains("no Kafka broker answers at localhost:1") && error.contains("--brokers"), "{error}");
    }
}
