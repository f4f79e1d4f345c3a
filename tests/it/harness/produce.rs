//! Readings in transactions: committed and aborted ones side by side in the same partitions, good and broken records mixed.
//!
//! Two producers write at the same time, so that records of transactions that end differently stand between each other.
//! What is sent, and which transaction is aborted, follows from the seed; offsets don't.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use weir::cli::readings;

use super::broker::Broker;

const TIMEOUT: Duration = Duration::from_secs(60);
const PRODUCERS: u64 = 2;

/// What to produce.
#[derive(Debug, Clone)]
pub struct Load {
    /// Records altogether, those of aborted transactions included.
    pub records: u64,
    /// Records in a transaction.
    pub transaction: u64,
    /// Of 1,000 transactions, how many are aborted.
    pub aborted: u64,
    /// Of 1,000 records, how many are broken.
    pub broken: u64,
    /// Of 1,000 records, how many have no value.
    pub tombstones: u64,
    /// How many different `station_id`s there are.
    pub stations: u64,
    /// Another seed gives other records.
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Load { records: 1_000, transaction: 100, aborted: 0, broken: 0, tombstones: 0, stations: 1, seed: 1 }
    }
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Produced {
    /// Records of committed transactions; of them, `broken` and `tombstones` are as their names say.
    pub committed: u64,
    pub broken: u64,
    pub tombstones: u64,
    /// Records of aborted transactions.
    pub aborted: u64,
}

impl Produced {
    /// Committed records that are good readings.
    pub fn good(&self) -> u64 {
        self.committed - self.broken - self.tombstones
    }

    fn plus(self, other: Produced) -> Produced {
        Produced {
            committed: self.committed + other.committed,
            broken: self.broken + other.broken,
            tombstones: self.tombstones + other.tombstones,
            aborted: self.aborted + other.aborted,
        }
    }
}

/// Sends the load to partitions `0..partitions` of a topic; returns when all of it is committed or aborted, and the
/// markers that say so are in the log.
pub fn produce(broker: &Broker, topic: &str, partitions: i32, load: &Load) -> Produced {
    let values = Values::new(load);
    thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let values = &values;
                scope.spawn(move || transactions(broker, topic, partitions, load, values, number))
            })
            .collect();
        producers.into_iter().map(|producer| producer.join().unwrap()).fold(Produced::default(), Produced::plus)
    })
}

/// A producer with an open transaction, for tests that leave one open.
pub fn transactional(broker: &Broker, id: &str) -> BaseProducer<Acknowledgements> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.address())
        .set("transactional.id", id)
        .set("compression.type", "gzip")
        .set("compression.level", "1")
        .set("message.max.bytes", "33554432")
        .set("linger.ms", "2");
    let producer: BaseProducer<Acknowledgements> = config.create_with_context(Acknowledgements::default()).unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

/// Sends one record; waits while the queue is full.
pub fn send<C: ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    topic: &str,
    partition: i32,
    value: Option<&[u8]>,
) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
    record.payload = value;
    while let Err((error, refused)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        producer.poll(Duration::from_millis(1));
        record = refused;
    }
}

/// Waits until the broker has everything, so that aborted records are in the log too.
///
/// `flush` does the same, but in steps of 100 ms.
pub fn settle(producer: &BaseProducer<Acknowledgements>) {
    let deadline = Instant::now() + TIMEOUT;
    while producer.in_flight_count() > 0 {
        assert!(Instant::now() < deadline, "the broker does not acknowledge");
        producer.poll(Duration::from_millis(1));
    }
    assert!(!producer.context().failed(), "a record was not delivered");
}

/// The transactions of one of the producers.
fn transactions(broker: &Broker, topic: &str, partitions: i32, load: &Load, values: &Values, number: u64) -> Produced {
    let mut produced = Produced::default();
    let mut producer: Option<BaseProducer<Acknowledgements>> = None;
    let id = format!("{topic}-{}-{number}", load.seed);
    for transaction in (number..load.records.div_ceil(load.transaction)).step_by(PRODUCERS as usize) {
        let producer = match &producer {
            Some(producer) => {
                producer.begin_transaction().unwrap();
                producer
            }
            None => producer.insert(transactional(broker, &id)),
        };
        let first = transaction * load.transaction;
        let mut sent = Produced::default();
        for index in first..load.records.min(first + load.transaction) {
            let value = values.get(load, index);
            send(producer, topic, (index % partitions as u64) as i32, value.bytes);
            sent.committed += 1;
            sent.broken += u64::from(value.broken);
            sent.tombstones += u64::from(value.bytes.is_none());
        }
        settle(producer);
        if random(load.seed, "transaction", transaction) % 1_000 < load.aborted {
            producer.abort_transaction(TIMEOUT).unwrap();
            produced.aborted += sent.committed;
        } else {
            producer.commit_transaction(TIMEOUT).unwrap();
            produced = produced.plus(sent);
        }
    }
    if let Some(last) = producer.take() {
        drop(last);
        // The end of a transaction is answered before its markers are written. To begin anew waits for them.
        drop(transactional(broker, &id));
    }
    produced
}

/// Every value that may be sent.
struct Values {
    good: Vec<Vec<u8>>,
    broken: Vec<Vec<u8>>,
}

struct Value<'a> {
    bytes: Option<&'a [u8]>,
    broken: bool,
}

impl Values {
    fn new(load: &Load) -> Self {
        let stations = 1..=load.stations;
        let readings = readings::readings();
        let good = stations.flat_map(|n| readings.iter().map(move |reading| reading.to_json(&format!("IT-{n:02}"))));
        let broken = readings::broken().into_iter().map(|broken| broken.payload).collect();
        Values { good: good.collect(), broken }
    }

    fn get(&self, load: &Load, index: u64) -> Value<'_> {
        let dice = random(load.seed, "record", index);
        let pick = |from: &'_ [Vec<u8>]| dice as usize / 1_000 % from.len();
        match dice % 1_000 {
            d if d < load.tombstones => Value { bytes: None, broken: false },
            d if d < load.tombstones + load.broken => {
                Value { bytes: Some(&self.broken[pick(&self.broken)]), broken: true }
            }
            _ => Value { bytes: Some(&self.good[pick(&self.good)]), broken: false },
        }
    }
}

/// A number that follows from its arguments alone.
pub fn random(seed: u64, what: &str, index: u64) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, what, index))
}

/// Remembers whether a record was not delivered.
#[derive(Default)]
pub struct Acknowledgements {
    failed: AtomicBool,
}

impl Acknowledgements {
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.failed.fetch_or(result.is_err(), Ordering::Relaxed);
    }
}
