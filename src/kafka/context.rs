//! What the client says while it runs, and what of it is passed on: lost connections, refusals and denied rights, each once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};

use super::client::BrokerError;
use super::gate::Opened;
use super::refusal::{Claim, Refusal};
use crate::base::machine;
use crate::model::Partition;

/// How often what goes on is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What the client tells while it is polled.
#[derive(Debug)]
pub(crate) struct Context {
    claim: Claim,
    connection: Mutex<Connection>,
    group: Mutex<DeniedGroup>,
    /// The room of the client's records; the client is gone before this is.
    room: OnceLock<Opened>,
    /// When other errors were said last.
    said: Mutex<Vec<(RDKafkaErrorCode, Instant)>>,
    /// Whether nobody wants anything of this client any more.
    over: AtomicBool,
}

/// The client says again and again that the group is denied.
#[derive(Debug, Default)]
struct DeniedGroup {
    heard: Option<Instant>,
    said: Option<Instant>,
}

/// How it stands with the brokers, as far as the client has said.
#[derive(Debug, Default)]
struct Connection {
    /// Since when there is none.
    down_since: Option<Instant>,
    /// Why the brokers don't let this client in.
    refusal: Option<Refusal>,
    /// The client's last warning.
    last_word: String,
}

impl Context {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        Context {
            claim: Claim::of(config),
            connection: Mutex::default(),
            group: Mutex::default(),
            room: OnceLock::new(),
            said: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// A line of librdkafka's log, for those who ask for it. It repeats itself for every attempt on
    /// every broker. What stops weir from reading also comes as an error, as a group event, or as
    /// no group event for some seconds; each of these is said by whoever takes it.
    pub(crate) fn logged(&self, level: i32, facility: &str, line: &str) {
        if level <= RDKafkaLogLevel::Warning as i32 {
            line.clone_into(&mut lock(&self.connection).last_word);
        }
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    /// Data came in: says so once if the connection was down.
    pub(crate) fn alive(&self) {
        let connection = std::mem::take(&mut *lock(&self.connection));
        if let Some(since) = connection.down_since {
            tracing::info!(brokers = %self.claim.brokers, seconds = since.elapsed().as_secs(), "connected to Kafka again");
        }
    }

    /// The client's room, which is made once.
    pub(crate) fn room(&self, open: impl FnOnce() -> Opened) -> &Opened {
        self.room.get_or_init(open)
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Why the brokers don't let this client in, if they don't.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        lock(&self.connection).refusal.clone()
    }

    /// From here on the client only closes: what it says of that is nothing to act on.
    pub(crate) fn ends(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The client's last warning.
    pub(crate) fn last_word(&self) -> String {
        lock(&self.connection).last_word.clone()
    }

    /// Whether the client said lately that it may not use its group.
    pub(crate) fn group_is_denied(&self) -> bool {
        lock(&self.group).heard.is_some_and(|heard| heard.elapsed() < SAY_AGAIN)
    }

    /// Takes in what the client says, an error or a line of its log, and says nothing of it.
    pub(crate) fn note(&self, code: Option<RDKafkaErrorCode>, words: &str) {
        if code == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            lock(&self.group).heard = Some(Instant::now());
        }
        self.heard(code, words);
    }

    /// Answers why this client isn't let in, if that is news.
    fn heard(&self, code: Option<RDKafkaErrorCode>, words: &str) -> Option<Refusal> {
        let refusal = self.claim.refusal(code, words)?;
        let mut connection = lock(&self.connection);
        let news = connection.refusal.as_ref() != Some(&refusal);
        connection.refusal = Some(refusal.clone());
        news.then_some(refusal)
    }

    /// The error for a partition whose records this client may not read.
    pub(crate) fn unreadable(&self, partition: &Partition) -> String {
        BrokerError::Denied(self.claim.denied_topic("READ", &partition.topic)).to_string()
    }

    /// The client may not use its group.
    pub(crate) fn denied_group(&self) {
        let mut group = lock(&self.group);
        group.heard = Some(Instant::now());
        if group.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            group.said = group.heard;
            tracing::error!(reason = %self.claim.denied_group("READ"), "Kafka denies access to the group, retrying");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    /// Of clients that no poll thread polls, such as those that ask a question.
    fn stats_raw(&self, _: &[u8]) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        let code = error.rdkafka_error_code();
        let brokers = &self.claim.brokers;
        if let Some(refusal) = self.heard(code, reason) {
            tracing::error!(%brokers, reason = %refusal, "Kafka does not let weir in, retrying");
            lock(&self.connection).down_since.get_or_insert_with(Instant::now);
            return;
        }
        match code {
            Some(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve,
            ) => {
                let down = &mut lock(&self.connection).down_since;
                if down.is_none() {
                    *down = Some(Instant::now());
                    tracing::warn!(%brokers, reason, "lost the connection to Kafka, retrying");
                }
            }
            _ => {
                let (code, now) = (code.unwrap_or(RDKafkaErrorCode::Unknown), Instant::now());
                let mut said = lock(&self.said);
                said.retain(|(_, at)| now - *at < SAY_AGAIN);
                if said.iter().all(|(of, _)| *of != code) {
                    said.push((code, now));
                    if reason.contains("Invalid response size") {
                        let room = machine::words();
                        tracing::error!(
                            %brokers, reason, room,
                            "a batch of records is larger than the memory there is, so its partition is not read on; \
                             give the container more memory, and start weir again"
                        );
                        return;
                    }
                    tracing::warn!(%brokers, %error, reason, "the Kafka client reports an error and tries again");
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    /// Only while the consumer closes, which polls by itself; before that the poll thread sees group events first.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RespErr, list: &mut TopicPartitionList) {
        if code != RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
            && let Err(error) = consumer.incremental_unassign(list)
        {
            // Everything was committed or given up before the close, and the group forgets this
            // member anyway.
            tracing::debug!(%error, "giving partitions back while closing");
        }
    }
}
