//! Records that never end: small transactions, some of them aborted, with broken records and tombstones among them, while
//! brokers come and go. The producer keeps a record of its own of how every transaction ended, as far as it knows.
//!
//! A record's key says which transaction it is of, so that [`check`] can compare what Kafka shows with what was sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir::cli::readings;

use super::oracle::Record;
use super::produce::{Acknowledgements, random};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Records of a transaction.
const RECORDS: u64 = 40;
/// Records of a batch that compresses well, and the blanks of each.
const COMPRESSIBLE_RECORDS: u64 = 130;
const COMPRESSIBLE_BYTES: usize = 30_000;
/// Transactions until another producer goes on, with another codec.
const TERM: u64 = 30;
pub const CODECS: [&str; 5] = ["gzip", "snappy", "lz4", "zstd", "none"];

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    /// The broker was asked to commit it, and didn't answer.
    Unknown,
}

/// A transaction, as its producer knows it; its number is its place in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    pub outcome: Outcome,
    pub records: u64,
}

/// The producers' own record.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Transaction>>>);

impl Journal {
    /// A new transaction; until it has ended, anything may become of it.
    fn begin(&self) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(Transaction { outcome: Outcome::Unknown, records: 0 });
        all.len() - 1
    }

    fn end(&self, number: usize, outcome: Outcome, records: u64) {
        self.0.lock().unwrap()[number] = Transaction { outcome, records };
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        self.0.lock().unwrap().clone()
    }
}

/// What is wrong with the records that Kafka shows, going by how their transactions ended.
pub fn check(transactions: &[Transaction], shown: &[Record]) -> Result<(), String> {
    let mut counts: HashMap<usize, Vec<u64>> = HashMap::new();
    for record in shown {
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let place = key.split_once(':').and_then(|(of, index)| Some((of.parse().ok()?, index.parse().ok()?)));
        let (of, index): (usize, u64) = place.ok_or_else(|| format!("nobody sent a record with key {key:?}"))?;
        counts.entry(of).or_default().push(index);
    }
    for (number, transaction) in transactions.iter().enumerate() {
        let mut found = counts.remove(&number).unwrap_or_default();
        found.sort_unstable();
        let all = found.iter().copied().eq(0..transaction.records);
        let right = match transaction.outcome {
            Outcome::Committed => all,
            Outcome::Aborted => found.is_empty(),
            Outcome::Unknown => all || found.is_empty(),
        };
        if !right {
            let Transaction { outcome, records } = transaction;
            return Err(format!("transaction {number} ({outcome:?}, {records} records) is shown with {found:?}"));
        }
    }
    counts.keys().next().map_or(Ok(()), |number| Err(format!("nobody began transaction {number}")))
}

/// A producer that goes on until it is stopped.
pub struct Feed {
    pub journal: Journal,
    topic: Topic,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Where to.
#[derive(Clone)]
struct Topic {
    brokers: String,
    name: String,
    partitions: Arc<AtomicI32>,
    seed: u64,
}

impl Feed {
    /// Feeds all partitions of a topic.
    pub fn start(brokers: &str, topic: &str, partitions: i32, seed: u64) -> Feed {
        let partitions = Arc::new(AtomicI32::new(partitions));
        let topic = Topic { brokers: brokers.to_owned(), name: topic.to_owned(), partitions, seed };
        let (journal, over) = (Journal::default(), Arc::new(AtomicBool::new(false)));
        let (own, until) = ((topic.clone(), journal.clone()), over.clone());
        let thread = thread::spawn(move || feed(&own.0, &own.1, &until));
        Feed { journal, topic, over, thread: Some(thread) }
    }

    pub fn partitions(&self) -> i32 {
        self.topic.partitions.load(Ordering::Relaxed)
    }

    /// The topic has so many partitions now.
    pub fn widen(&self, partitions: i32) {
        self.topic.partitions.store(partitions, Ordering::Relaxed);
    }

    /// An open transaction with these values, by a producer of its own.
    pub fn open(&self, id: &str, codec: &str, values: impl IntoIterator<Item = Vec<u8>>) -> Open {
        let producer = self.topic.producer(id, codec).expect("a producer that is alone with its name begins");
        let mut open = Open { producer, journal: self.journal.clone(), number: self.journal.begin(), records: 0 };
        open.producer.begin_transaction().unwrap();
        for value in values {
            self.topic.send(&open.producer, open.number, open.records, Some(&value)).unwrap();
            open.records += 1;
        }
        settle(&open.producer).expect("the broker takes the records of an open transaction");
        open
    }

    /// A committed transaction of batches that compress to nearly nothing: readings with many blanks after them.
    pub fn compressible(&self, id: &str, batches: u64) {
        let reading = readings::readings()[0].to_json("IT-01");
        let value = [&reading[..], &b" ".repeat(COMPRESSIBLE_BYTES)].concat();
        let settings = [
            ("batch.size", "16777216"),
            ("message.max.bytes", "16777216"),
            ("batch.num.messages", &*COMPRESSIBLE_RECORDS.to_string()),
            ("linger.ms", "500"),
        ];
        let producer = self.topic.producer_with(id, "zstd", &settings).expect("nobody else has its name");
        let mut open = Open { producer, journal: self.journal.clone(), number: self.journal.begin(), records: 0 };
        open.producer.begin_transaction().unwrap();
        for _ in 0..batches * COMPRESSIBLE_RECORDS {
            self.topic.send(&open.producer, open.number, open.records, Some(&value)).unwrap();
            open.records += 1;
        }
        settle(&open.producer).expect("the broker takes the records");
        open.commit();
    }

    /// Ends after a transaction whose end is known.
    pub fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A transaction that is open; dropped like this, it hangs until Kafka ends it.
pub struct Open {
    producer: BaseProducer<Acknowledgements>,
    journal: Journal,
    number: usize,
    records: u64,
}

impl Open {
    pub fn abort(self) {
        self.producer.abort_transaction(TIMEOUT).unwrap();
        self.journal.end(self.number, Outcome::Aborted, self.records);
    }

    pub fn commit(self) {
        self.producer.commit_transaction(TIMEOUT).unwrap();
        self.journal.end(self.number, Outcome::Committed, self.records);
    }
}

/// A client that can't go on with what it was at: another one must.
#[derive(Debug)]
struct Failed;

fn feed(topic: &Topic, journal: &Journal, over: &AtomicBool) {
    let values = Values::new();
    let mut last_known = Instant::now();
    for term in 0.. {
        let codec = CODECS[(topic.seed + term) as usize % CODECS.len()];
        // Beginning ends what the one before it left open.
        let Ok(producer) = topic.producer(&format!("{}-feed", topic.name), codec) else { continue };
        for _ in 0..TERM {
            if topic.transaction(&producer, journal, &values).is_err() {
                break;
            }
            last_known = Instant::now();
            if over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(15));
        }
        assert!(last_known.elapsed() < Duration::from_secs(180), "nothing can be produced");
    }
}

impl Topic {
    fn producer(&self, id: &str, codec: &str) -> Result<BaseProducer<Acknowledgements>, KafkaError> {
        self.producer_with(id, codec, &[])
    }

    fn producer_with(
        &self,
        id: &str,
        codec: &str,
        settings: &[(&str, &str)],
    ) -> Result<BaseProducer<Acknowledgements>, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", id)
            .set("transaction.timeout.ms", "60000")
            .set("message.timeout.ms", "20000")
            .set("socket.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "300")
            .set("compression.type", codec)
            .set("linger.ms", "2")
            .set("log_level", "0");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer: BaseProducer<Acknowledgements> = config.create_with_context(Acknowledgements::default())?;
        producer.init_transactions(TIMEOUT)?;
        Ok(producer)
    }

    fn transaction(
        &self,
        producer: &BaseProducer<Acknowledgements>,
        journal: &Journal,
        values: &Values,
    ) -> Result<(), Failed> {
        let number = journal.begin();
        // What nobody asked to commit never is.
        journal.end(number, Outcome::Aborted, RECORDS);
        producer.begin_transaction().map_err(|_| Failed)?;
        let sent = (0..RECORDS).try_for_each(|index| {
            self.send(producer, number, index, values.get(random(self.seed, "value", number as u64 * RECORDS + index)))
        });
        if sent.and_then(|()| settle(producer)).is_err() || random(self.seed, "abort", number as u64).is_multiple_of(8)
        {
            return producer.abort_transaction(TIMEOUT).map_err(|_| Failed);
        }
        journal.end(number, Outcome::Unknown, RECORDS);
        let asked = Instant::now();
        loop {
            match producer.commit_transaction(TIMEOUT) {
                Ok(()) => break journal.end(number, Outcome::Committed, RECORDS),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && asked.elapsed() < TIMEOUT => {}
                Err(_) => return Err(Failed),
            }
        }
        Ok(())
    }

    /// Records go to all partitions in turn.
    fn send(
        &self,
        producer: &BaseProducer<Acknowledgements>,
        number: usize,
        index: u64,
        value: Option<&[u8]>,
    ) -> Result<(), Failed> {
        let key = format!("{number}:{index}");
        let partition = (number as u64 + index) % self.partitions.load(Ordering::Relaxed) as u64;
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.name).partition(partition as i32).key(key.as_bytes());
        record.payload = value;
        while let Err((error, refused)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
                return Err(Failed);
            }
            producer.poll(Duration::from_millis(1));
            record = refused;
        }
        Ok(())
    }
}

/// Waits until the broker has everything, so that aborted records are in the log too.
fn settle(producer: &BaseProducer<Acknowledgements>) -> Result<(), Failed> {
    let deadline = Instant::now() + TIMEOUT;
    while producer.in_flight_count() > 0 && Instant::now() < deadline {
        producer.poll(Duration::from_millis(1));
    }
    if producer.in_flight_count() > 0 || producer.context().failed() { Err(Failed) } else { Ok(()) }
}

/// Good readings of two stations, broken ones, and none.
struct Values {
    good: Vec<Vec<u8>>,
    broken: Vec<Vec<u8>>,
}

impl Values {
    fn new() -> Values {
        let readings = readings::readings().into_iter().take(2_000);
        let good = readings.zip(0..).map(|(reading, n)| reading.to_json(["IT-01", "IT-02"][n % 2])).collect();
        Values { good, broken: readings::broken().into_iter().map(|broken| broken.payload).collect() }
    }

    fn get(&self, dice: u64) -> Option<&[u8]> {
        let pick = |from: &'_ [Vec<u8>]| dice as usize / 1_000 % from.len();
        match dice % 1_000 {
            0..4 => None,
            4..30 => Some(&self.broken[pick(&self.broken)]),
            _ => Some(&self.good[pick(&self.good)]),
        }
    }
}
