//! The Kafka client: its configuration, and the questions that a start asks the brokers.
//!
//! Everything here blocks and is called from blocking threads or the poll thread, never from an arbiter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Consumer;
use super::context::Context;
use super::ffi;
use super::ffi::{Polled, Queue, Trouble};
use super::gate;
use super::membership::NotJoined;
use super::refusal::{Denied, Refusal, any_host};
use crate::base::codes::{Code, Coded};
use crate::base::credits::Credits;
use crate::base::failpoint;
use crate::base::machine;
use crate::model::Partition;
use crate::model::pipeline;

/// How long a question to the brokers may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a start's first question may take. A slow answer is waited for later: each further try may take twice as long.
const FIRST_TRY: Duration = Duration::from_millis(500);
/// How long this client must have been refused before a start gives up: a broker that is coming up may close connections.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// What went wrong between weir and Kafka.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The client refused its own configuration.
    #[error("the Kafka client could not be made: {cause}; {}", look_at(.cause))]
    Client {
        /// The client's error.
        #[source]
        cause: KafkaError,
    },
    /// Nobody answered.
    #[error(
        "no broker answered at {brokers} in time while {doing}: {cause}{hint}; check that Kafka runs there, and that the \
         address and [source.client]'s security settings are right"
    )]
    Unreachable {
        /// `bootstrap.servers`.
        brokers: String,
        /// What was asked.
        doing: &'static str,
        /// What the client last said about its connections.
        hint: String,
        /// The client's error.
        #[source]
        cause: KafkaError,
    },
    /// Somebody answered, and doesn't let this client in.
    #[error("Kafka does not let weir in: {0}")]
    NotAdmitted(#[source] Refusal),
    /// This client has no right to what it asks for.
    #[error("Kafka denies access: {0}")]
    Denied(#[source] Denied),
    /// The topic isn't there.
    #[error("topic {topic:?} does not exist at {brokers} ({reason}); make it first, or correct source.topics")]
    NoTopic {
        /// The topic.
        topic: String,
        /// `bootstrap.servers`.
        brokers: String,
        /// The broker's words.
        reason: String,
    },
    /// A broker answered with an error.
    #[error("Kafka refused {doing} of {partition}: {cause}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// For which partition.
        partition: Partition,
        /// The broker's error.
        #[source]
        cause: KafkaError,
    },
    /// The cluster doesn't say who it is.
    #[error("the cluster at {brokers} did not tell its cluster id; weir needs it to tell one cluster from another")]
    NoClusterId {
        /// `bootstrap.servers`.
        brokers: String,
    },
}

impl Coded for BrokerError {
    fn code(&self) -> Code {
        match self {
            BrokerError::Client { .. } => Code::KafkaClient,
            BrokerError::Unreachable { .. } => Code::KafkaUnreachable,
            BrokerError::NotAdmitted(refusal) => refusal.code(),
            BrokerError::Denied(_) => Code::KafkaDenied,
            BrokerError::NoTopic { .. } => Code::NoTopic,
            BrokerError::Refused { .. } => Code::KafkaRefused,
            BrokerError::NoClusterId { .. } => Code::NoClusterId,
        }
    }
}

/// What to look at when the client refuses its configuration: it doesn't say that a key's password is wrong.
fn look_at(cause: &KafkaError) -> &'static str {
    if cause.to_string().contains("ssl.key") {
        "look at `ssl.key.password` in [source.client], and whether the key is one, as PEM"
    } else {
        "look at [source] and [source.client]"
    }
}

/// A group event, in the order in which the client raised them.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// These are ours from now on.
    Assigned(Vec<Partition>),
    /// These are to be given back; when lost, somebody else may have them already.
    Revoked(Vec<Partition>, /* lost */ bool),
}

/// The partitions in a list.
pub(crate) fn names(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(partition_of).collect()
}

/// The partition that an element is about.
pub(crate) fn partition_of(element: &TopicPartitionListElem<'_>) -> Partition {
    Partition { topic: element.topic().into(), partition: element.partition() }
}

/// A list that gives each partition a position.
pub(crate) fn positions<'a>(of: impl IntoIterator<Item = (&'a Partition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in of {
        list.add_partition_offset(&partition.topic, partition.partition, offset)
            .expect("a position is a number at or above 0 or a named one, and both are valid");
    }
    list
}

/// The consumer's configuration: what the pipeline file says, and what weir owns because exactly-once depends on it.
///
/// `queue_bytes` bounds what librdkafka fetches ahead.
pub fn client_config(source: &pipeline::Source, queue_bytes: usize) -> ClientConfig {
    let queue_kilobytes = (queue_bytes >> 10).max(1024);
    let fetch_bytes = (queue_bytes / 4).clamp(1 << 20, 50 << 20);
    let mut config = ClientConfig::new();
    config
        .set("client.id", "weir")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.max.bytes", fetch_bytes.to_string())
        .set("fetch.wait.max.ms", "100")
        .set("statistics.interval.ms", "5000")
        .set("reconnect.backoff.max.ms", "5000");
    for (key, value) in &source.client {
        config.set(key, value);
    }
    let uncommitted = failpoint::planted("isolation.read_uncommitted");
    let isolation = if uncommitted { "read_uncommitted" } else { "read_committed" };
    config
        .set("bootstrap.servers", &source.brokers)
        .set("group.id", &source.group)
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("receive.message.max.bytes", answer_bytes_max().to_string())
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", queue_kilobytes.to_string())
        // The default of a second stalls a consumer that empties its queue faster than that.
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// The largest answer that the client takes, before anything is decompressed: all that the memory
/// there is has room for. Of what it takes, `gate.rs` says for which batches there is memory.
fn answer_bytes_max() -> usize {
    /// librdkafka's default, in bytes. Nobody has less, because answers to other questions count, too.
    const LEAST: usize = 100_000_000;
    machine::left_for_a_batch().clamp(LEAST, i32::MAX as usize)
}

/// A consumer, and the questions a start asks. Cheap to clone; the consumer closes with its last owner.
#[derive(Clone)]
pub struct Broker {
    owner: Arc<Consumer>,
    brokers: String,
    config: Arc<ClientConfig>,
}

/// First and last position that a read_committed consumer may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that the log still has.
    pub start: i64,
    /// The last stable offset: where read_committed ends now.
    pub end: i64,
}

impl Broker {
    /// Makes the client. Does not wait for a connection.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn new(config: &ClientConfig) -> Result<Self, BrokerError> {
        let context = Context::new(config);
        let brokers = context.claim().brokers.clone();
        let mut config = config.clone();
        // What `debug` asks for has that level.
        let level = if config.get("debug").is_some() { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info };
        config.set_log_level(level);
        let consumer = Consumer::new(&config, context).map_err(|cause| BrokerError::Client { cause })?;
        // Before anything is assigned to it.
        consumer.context().room(|| gate::open(consumer.client().native_ptr()));
        Ok(Broker { owner: Arc::new(consumer), brokers, config: Arc::new(config) })
    }

    /// Another consumer like it.
    pub(crate) fn another(&self) -> Result<Self, BrokerError> {
        Broker::new(&self.config)
    }

    /// Closes it, with its last owner; blocks while it leaves its group.
    pub(crate) fn close(self) {
        self.owner.context().ends();
    }

    /// What the client fetches is a part of these credits, which so many clients share.
    pub(crate) fn share(&self, credits: Credits, clients: usize) {
        let client = self.owner.client().native_ptr();
        self.owner.context().room(|| gate::open(client)).share(credits, clients);
    }

    /// The consumer, to be polled by one thread.
    pub(crate) fn consumer(&self) -> Arc<Consumer> {
        self.owner.clone()
    }

    /// The cluster's id: a start's first question, to be asked before the consumer is polled.
    ///
    /// # Errors
    /// When no broker answers, or none lets this client in.
    pub fn cluster_id(&self) -> Result<String, BrokerError> {
        let (asked, mut patience) = (Instant::now(), FIRST_TRY);
        while let Err(cause) = self.owner.fetch_metadata(None, patience) {
            self.listen();
            let refused = self.owner.context().refusal().is_some() && asked.elapsed() > REFUSED_FOR;
            let left = ANSWER_WITHIN.saturating_sub(asked.elapsed());
            if refused || left.is_zero() {
                return Err(self.is_it_the_host(self.unreachable("asking for the cluster's id", cause)));
            }
            patience = (patience * 2).min(left);
        }
        self.owner.context().alive();
        let id = self.owner.client().fetch_cluster_id(ANSWER_WITHIN);
        id.ok_or_else(|| BrokerError::NoClusterId { brokers: self.brokers.clone() })
    }

    /// The client doesn't say whether a certificate's signature or its host name is wrong: a client that takes any name tells.
    fn is_it_the_host(&self, error: BrokerError) -> BrokerError {
        let BrokerError::NotAdmitted(Refusal::Untrusted { brokers, authority }) = error else { return error };
        let admitted = Broker::new(&any_host(&self.config)).is_ok_and(|any| {
            let answer = any.owner.fetch_metadata(None, FIRST_TRY * 4);
            any.listen();
            // Whatever else it is refused for comes after the certificate.
            let otherwise = |refusal| !matches!(refusal, Refusal::Untrusted { .. });
            answer.is_ok() || any.owner.context().refusal().is_some_and(otherwise)
        });
        BrokerError::NotAdmitted(if admitted {
            Refusal::AnotherHost { brokers, authority }
        } else {
            Refusal::Untrusted { brokers, authority }
        })
    }

    /// That the group has not answered.
    pub(crate) fn no_answer(&self) -> NotJoined {
        NotJoined::no_answer(self.owner.context().claim())
    }

    /// Takes in what the client says before anybody polls it; what comes of it is said by whoever asked.
    pub(crate) fn listen(&self) {
        let (context, words) = (self.owner.context(), Queue::of(&self.owner));
        while let Some(polled) = words.poll(Duration::ZERO) {
            match polled {
                Polled::Error(Trouble { code, reason, .. }) => context.note(Some(code), &reason),
                Polled::Log(level, facility, line) => {
                    // While it runs, a broker that closes connections is more likely to go down than to be of another kind.
                    context.note(None, &line);
                    context.logged(level, &facility, &line);
                }
                _ => {}
            }
        }
    }

    /// A topic's id, and how many partitions it has, as a start asks for them: this client may also read it, and use its group.
    ///
    /// # Errors
    /// When the topic isn't there, a right is missing, or no broker answers.
    pub fn topic(&self, topic: &str) -> Result<(String, i32), BrokerError> {
        let (described, partitions) = self.describe(topic, ANSWER_WITHIN)?;
        if !described.readable {
            return Err(BrokerError::Denied(self.owner.context().claim().denied_topic("READ", topic)));
        }
        // A group that is denied never assigns anything.
        self.ask_group(&Partition { topic: topic.into(), partition: 0 }, || self.listen())?;
        Ok((described.id, partitions))
    }

    /// A topic's id, answered within about this time.
    pub(crate) fn topic_id(&self, topic: &str, timeout: Duration) -> Result<String, BrokerError> {
        Ok(self.describe(topic, timeout)?.0.id)
    }

    fn describe(&self, topic: &str, timeout: Duration) -> Result<(ffi::Described, i32), BrokerError> {
        let metadata = self
            .owner
            .fetch_metadata(Some(topic), timeout)
            .map_err(|cause| self.unreachable("asking for the topic", cause))?;
        let missing =
            |reason: String| BrokerError::NoTopic { topic: topic.to_owned(), brokers: self.brokers.clone(), reason };
        let found = metadata.topics().first().ok_or_else(|| missing("no answer about it".into()))?;
        if let Some(code) = found.error().map(RDKafkaErrorCode::from) {
            return Err(self.denied("DESCRIBE", topic, code).unwrap_or_else(|| missing(code.to_string())));
        }
        let described = self.ask_any(metadata.brokers(), topic, timeout).map_err(|error| match error {
            ffi::NoTopicId::Silent(code) => {
                self.unreachable("asking for the topic's id", KafkaError::MetadataFetch(code.into()))
            }
            ffi::NoTopicId::Refused(reason) => missing(reason),
        })?;
        let partitions = i32::try_from(found.partitions().len()).expect("partition numbers are 32 bits wide");
        Ok((described, partitions))
    }

    /// What the first broker that answers says of a topic.
    fn ask_any(
        &self,
        brokers: &[MetadataBroker],
        topic: &str,
        timeout: Duration,
    ) -> Result<ffi::Described, ffi::NoTopicId> {
        let client = self.owner.client().native_ptr();
        let mut answer = Err(ffi::NoTopicId::Silent(RespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN));
        for broker in brokers {
            answer = ffi::describe(client, broker.id(), topic, timeout);
            if !matches!(answer, Err(ffi::NoTopicId::Silent(_))) {
                break;
            }
        }
        answer
    }

    /// Where the log starts and ends for a read_committed consumer.
    ///
    /// # Errors
    /// When a partition's leader doesn't answer.
    pub fn bounds(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Bounds>, BrokerError> {
        let starts = self.resolve(partitions, Offset::Beginning, "the log's start")?;
        let ends = self.resolve(partitions, Offset::End, "the log's end")?;
        Ok(starts
            .into_iter()
            .filter_map(|(partition, start)| {
                let end = *ends.get(&partition)?;
                Some((partition, Bounds { start, end }))
            })
            .collect())
    }

    /// Where the log ends for a read_committed consumer, of the partitions whose leader says so; asked once.
    pub(crate) fn ends_of_those_that_answer(&self, partitions: &[Partition]) -> BTreeMap<Partition, i64> {
        let list = positions(partitions.iter().map(|partition| (partition, Offset::End)));
        let Ok(list) = self.owner.offsets_for_times(list, ANSWER_WITHIN) else { return BTreeMap::new() };
        let end = |element: &TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(end)) => Some((partition_of(element), end)),
            _ => None,
        };
        list.elements().iter().filter_map(end).collect()
    }

    /// The first position whose record's timestamp is at or after `timestamp_ms`; the end where there is none.
    pub(crate) fn at_timestamp(&self, partition: &Partition, timestamp_ms: i64) -> Result<i64, BrokerError> {
        // Kafka knows no time before 1970, and librdkafka reads negative numbers as names of positions.
        let timestamp_ms = timestamp_ms.max(0);
        let found =
            self.resolve(std::slice::from_ref(partition), Offset::Offset(timestamp_ms), "the position at a timestamp")?;
        match found.get(partition) {
            Some(position) if *position >= 0 => Ok(*position),
            _ => Ok(self.bounds(std::slice::from_ref(partition))?[partition].end),
        }
    }

    /// The group's committed offset of a partition, where it has one, and the mark of who committed it.
    pub(crate) fn committed(&self, partition: &Partition) -> Result<Option<(i64, String)>, BrokerError> {
        self.ask_group(partition, || {})
    }

    /// The same; `listen` is called after each question that was not answered.
    fn ask_group(&self, partition: &Partition, listen: impl Fn()) -> Result<Option<(i64, String)>, BrokerError> {
        let (asked, mut patience) = (Instant::now(), FIRST_TRY);
        loop {
            let list = positions([(partition, Offset::Invalid)]);
            let cause = match self.owner.committed_offsets(list, patience) {
                Ok(list) => match list.elements().first() {
                    Some(element) => match (element.error(), element.offset()) {
                        (Ok(()), Offset::Offset(offset)) => return Ok(Some((offset, element.metadata().to_owned()))),
                        (Ok(()), _) => return Ok(None),
                        (Err(cause), _) => cause,
                    },
                    None => return Ok(None),
                },
                Err(cause) => cause,
            };
            if let Some(denied) =
                cause.rdkafka_error_code().and_then(|code| self.denied("DESCRIBE", &partition.topic, code))
            {
                return Err(denied);
            }
            listen();
            // Then no coordinator is known that could be asked.
            if self.owner.context().group_is_denied() {
                return Err(BrokerError::Denied(self.owner.context().claim().denied_group("DESCRIBE")));
            }
            let left = ANSWER_WITHIN.saturating_sub(asked.elapsed());
            if left.is_zero() {
                return Err(self.unreachable("asking for the group's offsets", cause));
            }
            patience = (patience * 2).min(left);
            // A group's coordinator moves, or is being made.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asks for one kind of position of several partitions; under read_committed the end is the last stable offset.
    fn resolve(
        &self,
        partitions: &[Partition],
        which: Offset,
        doing: &'static str,
    ) -> Result<BTreeMap<Partition, i64>, BrokerError> {
        let asked = Instant::now();
        loop {
            let list = positions(partitions.iter().map(|partition| (partition, which)));
            let answer = self.owner.offsets_for_times(list, ANSWER_WITHIN);
            let list = match answer {
                Ok(list) => list,
                Err(cause) if asked.elapsed() > ANSWER_WITHIN => return Err(self.unreachable(doing, cause)),
                Err(_) => {
                    // A leader change: the next metadata answer tells who it is now.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let mut found = BTreeMap::new();
            let mut refused = None;
            for element in list.elements() {
                let partition = partition_of(&element);
                match (element.error(), element.offset()) {
                    (Err(cause), _) => refused = Some(BrokerError::Refused { doing, partition, cause }),
                    (Ok(()), Offset::Offset(position)) => drop(found.insert(partition, position)),
                    (Ok(()), _) => drop(found.insert(partition, -1)),
                }
            }
            match refused {
                None => return Ok(found),
                Some(error) if asked.elapsed() > ANSWER_WITHIN => return Err(error),
                Some(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    pub(crate) fn unreachable(&self, doing: &'static str, cause: KafkaError) -> BrokerError {
        let context = self.owner.context();
        if let Some(refusal) = context.refusal() {
            return BrokerError::NotAdmitted(refusal);
        }
        let last_word = context.last_word();
        let hint = if last_word.is_empty() { String::new() } else { format!(" (the client says: {last_word})") };
        BrokerError::Unreachable { brokers: self.brokers.clone(), doing, cause, hint }
    }

    /// The right that an answer says is missing.
    fn denied(&self, operation: &'static str, topic: &str, code: RDKafkaErrorCode) -> Option<BrokerError> {
        self.owner.context().claim().denied_by(code, operation, topic).map(BrokerError::Denied)
    }
}
