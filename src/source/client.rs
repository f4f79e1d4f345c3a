//! The Kafka client: its configuration, what it says while it runs, and the questions that a start asks the brokers.
//!
//! Everything here blocks and is called from blocking threads or the poll thread, never from an arbiter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::ffi;
use crate::pipeline::messages::Partition;
use crate::settings::pipeline;

/// How long a question to the brokers may take.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What went wrong between weir and Kafka.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The client refused its own configuration.
    #[error("the Kafka client could not be made: {0}; look at [source] and [source.client]")]
    Client(#[source] KafkaError),
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

/// A group event, in the order in which the client raised them.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// These are ours from now on.
    Assigned(Vec<Partition>),
    /// These are to be given back; when lost, somebody else may have them already.
    Revoked(Vec<Partition>, /* lost */ bool),
}

/// What the client tells while it is polled.
#[derive(Debug)]
pub(crate) struct Context {
    brokers: String,
    down_since: Mutex<Option<Instant>>,
    last_word: Mutex<String>,
}

/// The consumer type of this crate.
pub(crate) type Consumer = BaseConsumer<Context>;

impl Context {
    fn new(brokers: &str) -> Self {
        Context { brokers: brokers.to_owned(), down_since: Mutex::default(), last_word: Mutex::default() }
    }

    /// A line of librdkafka's log. It repeats itself for every attempt on every broker; people get one line from `error`, the
    /// rest is for those who ask for it.
    pub(crate) fn logged(&self, level: i32, facility: &str, line: &str) {
        if level <= RDKafkaLogLevel::Warning as i32 {
            line.clone_into(&mut lock(&self.last_word));
        }
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    /// Data came in: says so once if the connection was down.
    pub(crate) fn alive(&self) {
        if let Some(since) = lock(&self.down_since).take() {
            tracing::info!(brokers = %self.brokers, seconds = since.elapsed().as_secs(), "connected to Kafka again");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve,
            ) => {
                let mut down = lock(&self.down_since);
                if down.is_none() {
                    *down = Some(Instant::now());
                    tracing::warn!(brokers = %self.brokers, reason, "lost the connection to Kafka, retrying");
                }
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => {
                let mut down = lock(&self.down_since);
                if down.is_none() {
                    *down = Some(Instant::now());
                    tracing::error!(brokers = %self.brokers, reason, "Kafka refuses the credentials or TLS settings, retrying");
                }
            }
            _ => tracing::debug!(%error, reason, "the Kafka client reports an error"),
        }
    }
}

impl ConsumerContext for Context {
    /// Only while the consumer closes, which polls by itself; before that the poll thread sees group events first.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RespErr, list: &mut TopicPartitionList) {
        if code != RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
            && let Err(error) = consumer.incremental_unassign(list)
        {
            tracing::debug!(%error, "giving partitions back while closing");
        }
    }
}

/// The partitions in a list.
pub(super) fn names(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|e| Partition { topic: e.topic().into(), partition: e.partition() }).collect()
}

/// A list that gives each partition a position.
pub(super) fn positions<'a>(of: impl IntoIterator<Item = (&'a Partition, Offset)>) -> TopicPartitionList {
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
    config
        .set("bootstrap.servers", &source.brokers)
        .set("group.id", &source.group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", queue_kilobytes.to_string())
        // The default of a second stalls a consumer that empties its queue faster than that.
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// A consumer, and the questions a start asks. Cheap to clone; the consumer closes with its last owner.
#[derive(Clone)]
pub struct Broker {
    owner: Arc<Consumer>,
    brokers: String,
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
        let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let mut config = config.clone();
        config.set_log_level(RDKafkaLogLevel::Info);
        let consumer = config.create_with_context(Context::new(&brokers)).map_err(BrokerError::Client)?;
        Ok(Broker { owner: Arc::new(consumer), brokers })
    }

    /// The consumer, to be polled by one thread.
    pub(crate) fn consumer(&self) -> Arc<Consumer> {
        self.owner.clone()
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn cluster_id(&self) -> Result<String, BrokerError> {
        self.owner
            .fetch_metadata(None, ANSWER_WITHIN)
            .map_err(|cause| self.unreachable("asking for the cluster's id", cause))?;
        let id = self.owner.client().fetch_cluster_id(ANSWER_WITHIN);
        id.ok_or_else(|| BrokerError::NoClusterId { brokers: self.brokers.clone() })
    }

    /// A topic's id, and how many partitions it has.
    ///
    /// # Errors
    /// When the topic isn't there, or no broker answers.
    pub fn topic(&self, topic: &str) -> Result<(String, i32), BrokerError> {
        self.topic_within(topic, ANSWER_WITHIN)
    }

    /// [`topic`](Self::topic), answered within about this time.
    pub(super) fn topic_within(&self, topic: &str, timeout: Duration) -> Result<(String, i32), BrokerError> {
        let metadata = self
            .owner
            .fetch_metadata(Some(topic), timeout)
            .map_err(|cause| self.unreachable("asking for the topic", cause))?;
        let missing =
            |reason: String| BrokerError::NoTopic { topic: topic.to_owned(), brokers: self.brokers.clone(), reason };
        let described = metadata.topics().first().ok_or_else(|| missing("no answer about it".into()))?;
        if let Some(error) = described.error() {
            return Err(missing(RDKafkaErrorCode::from(error).to_string()));
        }
        let id = self.topic_id(topic, metadata.brokers(), timeout).map_err(|error| match error {
            ffi::NoTopicId::Silent(code) => {
                self.unreachable("asking for the topic's id", KafkaError::MetadataFetch(code.into()))
            }
            ffi::NoTopicId::Refused(reason) => missing(reason),
        })?;
        let partitions = i32::try_from(described.partitions().len()).expect("partition numbers are 32 bits wide");
        Ok((id, partitions))
    }

    /// A topic's id, by the first broker that answers.
    fn topic_id(&self, topic: &str, brokers: &[MetadataBroker], timeout: Duration) -> Result<String, ffi::NoTopicId> {
        let client = self.owner.client().native_ptr();
        let mut answer = Err(ffi::NoTopicId::Silent(RespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN));
        for broker in brokers {
            answer = ffi::topic_id(client, broker.id(), topic, timeout);
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
    pub(super) fn ends_of_those_that_answer(&self, partitions: &[Partition]) -> BTreeMap<Partition, i64> {
        let list = positions(partitions.iter().map(|partition| (partition, Offset::End)));
        let Ok(list) = self.owner.offsets_for_times(list, ANSWER_WITHIN) else { return BTreeMap::new() };
        let end = |element: &TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(end)) => {
                Some((Partition { topic: element.topic().into(), partition: element.partition() }, end))
            }
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
        let asked = Instant::now();
        loop {
            let list = positions([(partition, Offset::Invalid)]);
            let cause = match self.owner.committed_offsets(list, ANSWER_WITHIN) {
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
            let denied = cause.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
            if denied {
                let doing = "the group's offset";
                return Err(BrokerError::Refused { doing, partition: partition.clone(), cause });
            }
            if asked.elapsed() > ANSWER_WITHIN {
                return Err(self.unreachable("asking for the group's offsets", cause));
            }
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
                let partition = Partition { topic: element.topic().into(), partition: element.partition() };
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

    fn unreachable(&self, doing: &'static str, cause: KafkaError) -> BrokerError {
        let last_word = lock(&self.owner.context().last_word).clone();
        let hint = if last_word.is_empty() { String::new() } else { format!(" (the client says: {last_word})") };
        BrokerError::Unreachable { brokers: self.brokers.clone(), doing, cause, hint }
    }
}
