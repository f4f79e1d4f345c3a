//! What rust-rdkafka doesn't offer: which partition an error is of, a topic's id and whether it may be read, how a commit in the
//! background went, a position's epoch. With `bulk.rs`, `gate.rs`,
//! `gzip.rs`, `zstd.rs` and the crate's `allocator.rs`, all that has `unsafe` code.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::consumer::Consumer;
use super::context::Context;
use crate::base::failpoint;
use crate::model::Partition;

/// A consumer's queue: everything that it has for us comes out of it, but for what [`Messages`] has. Keep the consumer longer
/// than this.
#[derive(Debug)]
pub(crate) struct Queue(Owned<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl Send for Queue {}

/// What came out of a consumer's queue.
pub(crate) enum Polled {
    /// Something went wrong.
    Error(Trouble),
    /// The group gives these partitions or wants them back.
    Rebalance(rd::rd_kafka_resp_err_t, Vec<Partition>),
    /// The answer to a commit of the group's offsets.
    Committed(Answer),
    /// A line of the client's log: level, facility, text.
    Log(i32, String, String),
    /// The client's statistics, as JSON.
    Statistics(String),
    /// A record of a partition that is not followed.
    Stray(Partition),
    /// What nobody needs to know of.
    Nothing,
}

/// The answer to a commit of the group's offsets: each position, and whether the group has it now.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) positions: Vec<(Partition, i64, bool)>,
    /// Why it doesn't have all.
    pub(crate) error: Option<RDKafkaErrorCode>,
}

/// Something went wrong, or a partition's end was reached.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) code: RDKafkaErrorCode,
    /// Whether the consumer can't go on.
    pub(crate) fatal: bool,
    /// The client's words.
    pub(crate) reason: String,
    /// The partition that it is about, when it is about one, and where in it, as far as that is known.
    pub(crate) place: Option<(Partition, Option<i64>)>,
}

pub(crate) fn milliseconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

impl Queue {
    /// The queue of a consumer that nobody else polls.
    pub(crate) fn of(consumer: &Consumer) -> Self {
        // SAFETY: the consumer is one, so that it has such a queue; the reference is given back by the guard.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        assert!(!queue.is_null(), "a consumer has a queue");
        Queue(Owned(queue, rd::rd_kafka_queue_destroy))
    }

    /// The next thing in it, if one comes in this time.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Polled> {
        // SAFETY: the queue is ours. Everything that is read from the event is copied before its guard destroys it.
        unsafe {
            let event = rd::rd_kafka_queue_poll(self.0.0, milliseconds(timeout));
            if event.is_null() {
                return None;
            }
            let event = Owned(event, rd::rd_kafka_event_destroy);
            let code = rd::rd_kafka_event_error(event.0);
            Some(match rd::rd_kafka_event_type(event.0) {
                rd::RD_KAFKA_EVENT_ERROR => Polled::Error(Trouble {
                    code: code.into(),
                    fatal: rd::rd_kafka_event_error_is_fatal(event.0) != 0,
                    reason: text(rd::rd_kafka_event_error_string(event.0)),
                    place: place_of(event.0),
                }),
                rd::RD_KAFKA_EVENT_REBALANCE => Polled::Rebalance(code, partitions_of(event.0)),
                rd::RD_KAFKA_EVENT_OFFSET_COMMIT => Polled::Committed(answer_of(event.0, code)),
                rd::RD_KAFKA_EVENT_LOG => log_of(event.0),
                rd::RD_KAFKA_EVENT_FETCH => stray(event.0),
                rd::RD_KAFKA_EVENT_STATS => Polled::Statistics(text(rd::rd_kafka_event_stats(event.0))),
                _ => Polled::Nothing,
            })
        }
    }

    /// Commits the group's offsets in the background; the answer comes out of this queue.
    ///
    /// # Errors
    /// When the client doesn't even try.
    pub(crate) fn commit(&self, consumer: &Consumer, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        let client = consumer.client().native_ptr();
        // SAFETY: client, list and queue outlive the call, which copies the list. Without a callback the answer is an event.
        let code = unsafe { rd::rd_kafka_commit_queue(client, offsets.ptr(), self.0.0, None, ptr::null_mut()) };
        if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(code.into()) }
    }
}

/// Whether the consumer is a member of its group: whether the group's coordinator gave it an id.
pub(crate) fn is_member(consumer: &Consumer) -> bool {
    // SAFETY: the client outlives the calls. The text is ours to free, with the library's own function.
    unsafe {
        let client = consumer.client().native_ptr();
        let id = rd::rd_kafka_memberid(client);
        if id.is_null() {
            return false;
        }
        let is_member = *id != 0;
        rd::rd_kafka_mem_free(client, id.cast());
        is_member
    }
}

/// Destroys a consumer that is still a member of its group. librdkafka never sends a LeaveGroup
/// request for it from here on. The handle of its queue and its context are not freed: some
/// hundred bytes.
pub(crate) fn destroy_without_leaving(consumer: BaseConsumer<Context>) {
    let consumer = std::mem::ManuallyDrop::new(consumer);
    let flags = rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE;
    // SAFETY: nobody else has the client, and nothing destroys it again: `consumer` is never dropped.
    unsafe { rd::rd_kafka_destroy_flags(consumer.client().native_ptr(), flags) };
}

/// The client's words for an error that it only tells of in a text.
pub(crate) fn words(code: rd::rd_kafka_resp_err_t) -> String {
    // SAFETY: the answer is a text of the library's own, for whatever code.
    unsafe { text(rd::rd_kafka_err2str(code)) }
}

/// Says under which leader epoch the record before a position was read: where the client seeks to that position, it asks the
/// brokers whether they still have it.
pub(crate) fn set_leader_epoch(list: &mut TopicPartitionList, at: usize, epoch: i32) {
    assert!(at < list.count(), "the list has {} elements", list.count());
    // SAFETY: the list is ours alone, and has an element at that index.
    unsafe { rd::rd_kafka_topic_partition_set_leader_epoch((*list.ptr()).elems.add(at), epoch) };
}

/// What [`set_leader_epoch`] said.
#[cfg(test)]
pub(crate) fn leader_epoch(list: &TopicPartitionList, at: usize) -> Option<i32> {
    assert!(at < list.count(), "the list has {} elements", list.count());
    // SAFETY: the list lives, and has an element at that index.
    let epoch = unsafe { rd::rd_kafka_topic_partition_get_leader_epoch((*list.ptr()).elems.add(at)) };
    (epoch >= 0).then_some(epoch)
}

/// The partition that an event is about, and where in it.
///
/// # Safety
/// `event` is one.
unsafe fn place_of(event: *mut rd::rd_kafka_event_t) -> Option<(Partition, Option<i64>)> {
    // SAFETY: what the call gives is ours to free; it may be null, and so may its topic's name.
    unsafe {
        let found = rd::rd_kafka_event_topic_partition(event);
        if found.is_null() {
            return None;
        }
        let found = Owned(found, rd::rd_kafka_topic_partition_destroy);
        let rd::rd_kafka_topic_partition_t { topic, partition, offset, .. } = *found.0;
        let named = !topic.is_null() && partition >= 0;
        named.then(|| (Partition { topic: text(topic).into(), partition }, (offset >= 0).then_some(offset)))
    }
}

/// The partition of an event's record.
///
/// # Safety
/// `event` is one of records.
unsafe fn stray(event: *mut rd::rd_kafka_event_t) -> Polled {
    // SAFETY: the message is the event's, and has its topic.
    unsafe {
        let message = rd::rd_kafka_event_message_next(event);
        if message.is_null() {
            return Polled::Nothing;
        }
        let topic = text(rd::rd_kafka_topic_name((*message).rkt));
        Polled::Stray(Partition { topic: topic.into(), partition: (*message).partition })
    }
}

/// The partitions that an event is about.
///
/// # Safety
/// `event` is one.
unsafe fn partitions_of(event: *mut rd::rd_kafka_event_t) -> Vec<Partition> {
    // SAFETY: the list is the event's; it has `cnt` elements, each with a topic's name.
    unsafe {
        let list = rd::rd_kafka_event_topic_partition_list(event);
        if list.is_null() {
            return Vec::new();
        }
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let element = |at| {
            let element = (*list).elems.add(at);
            Partition { topic: text((*element).topic).into(), partition: (*element).partition }
        };
        (0..count).map(element).collect()
    }
}

/// The answer to a commit.
///
/// # Safety
/// `event` is one.
unsafe fn answer_of(event: *mut rd::rd_kafka_event_t, code: rd::rd_kafka_resp_err_t) -> Answer {
    const GOOD: rd::rd_kafka_resp_err_t = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: the list is the event's; it has `cnt` elements, each with a topic's name.
    let elements: Vec<(Partition, i64, rd::rd_kafka_resp_err_t)> = unsafe {
        let list = rd::rd_kafka_event_topic_partition_list(event);
        let count = if list.is_null() { 0 } else { usize::try_from((*list).cnt).unwrap_or(0) };
        let element = |at| {
            let element = (*list).elems.add(at);
            let partition = Partition { topic: text((*element).topic).into(), partition: (*element).partition };
            (partition, (*element).offset, (*element).err)
        };
        (0..count).map(element).collect()
    };
    let own = elements.iter().find(|(_, _, error)| *error != GOOD).map(|(_, _, error)| *error);
    // An error that no partition has for itself is that of the whole request.
    let whole = own.is_none() && code != GOOD;
    let error = own.or(whole.then_some(code)).map(RDKafkaErrorCode::from);
    let position = |(partition, offset, error): (Partition, i64, rd::rd_kafka_resp_err_t)| {
        (partition, offset, error == GOOD && !whole)
    };
    Answer { positions: elements.into_iter().map(position).collect(), error }
}

/// A line of the log.
///
/// # Safety
/// `event` is one.
unsafe fn log_of(event: *mut rd::rd_kafka_event_t) -> Polled {
    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: what the call points to lives as long as the event, and is copied.
    unsafe {
        match rd::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level) {
            0 => Polled::Log(level, text(facility), text(line)),
            _ => Polled::Nothing,
        }
    }
}

/// # Safety
/// `pointer` is null, or points to `length` bytes that live as long as what is made of them.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as this function's own contract says.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// Frees a librdkafka object when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Owned<T>(pub(crate) *mut T, pub(crate) unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the matching constructor, is not null, and is freed only here.
        unsafe { (self.1)(self.0) }
    }
}

/// Why there is no id.
pub(crate) enum NoTopicId {
    /// The request failed before a broker looked at it: a time-out, a lost connection.
    Silent(rd::rd_kafka_resp_err_t),
    /// The broker's words about the topic.
    Refused(String),
}

/// What the cluster says of a topic.
pub(crate) struct Described {
    /// The id that it got when it was made, as base64 text.
    pub(crate) id: String,
    /// Whether this client may read its records; so it seems with brokers that don't tell.
    pub(crate) readable: bool,
}

/// Describes `topic`.
///
/// Any broker knows it. Without naming one, librdkafka waits for the cluster's controller, which a mock cluster hasn't.
///
/// # Errors
/// When the broker doesn't know the topic or doesn't answer in time.
pub(crate) fn describe(
    client: *mut rd::rd_kafka_t,
    broker: i32,
    topic: &str,
    timeout: Duration,
) -> Result<Described, NoTopicId> {
    let refused = NoTopicId::Refused;
    let name = CString::new(topic).map_err(|_| refused("a topic's name has no NUL".to_string()))?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: every object is freed by its guard after its last use, and what is read from an event or a description
    // is copied out before its owner's guard runs. `client` outlives the call: the caller borrows it from its consumer.
    unsafe {
        let topics = Owned(
            rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            rd::rd_kafka_TopicCollection_destroy,
        );
        let options = Owned(
            rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            rd::rd_kafka_AdminOptions_destroy,
        );
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, timeout_ms, ptr::null_mut(), 0);
        rd::rd_kafka_AdminOptions_set_broker(options.0, broker, ptr::null_mut(), 0);
        let error = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1);
        drop((!error.is_null()).then(|| Owned(error, rd::rd_kafka_error_destroy)));
        let queue = Owned(rd::rd_kafka_queue_new(client), rd::rd_kafka_queue_destroy);
        rd::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
        let event = rd::rd_kafka_queue_poll(queue.0, timeout_ms);
        if event.is_null() {
            return Err(NoTopicId::Silent(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT));
        }
        let event = Owned(event, rd::rd_kafka_event_destroy);
        let error = rd::rd_kafka_event_error(event.0);
        if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(NoTopicId::Silent(error));
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let descriptions = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count != 1 {
            return Err(refused(format!("{count} descriptions of one topic")));
        }
        let description = *descriptions;
        let error = rd::rd_kafka_TopicDescription_error(description);
        if !error.is_null() && rd::rd_kafka_error_code(error) != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(refused(text(rd::rd_kafka_error_string(error))));
        }
        let id = text(rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(description)));
        let mut count = 0;
        let operations = rd::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
        let may = |operation| (0..count).any(|at| *operations.add(at) == operation);
        let readable = operations.is_null() || may(rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ);
        Ok(Described { id, readable })
    }
}

/// Copies a C string.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string.
pub(crate) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as this function's own contract says.
    let text = unsafe { CStr::from_ptr(pointer) };
    if failpoint::planted("overflow.ffi") {
        // SAFETY: there is none: this reads a byte after the text's NUL.
        let beyond = unsafe { std::slice::from_raw_parts(pointer.cast(), text.count_bytes() + 2) };
        return String::from_utf8_lossy(beyond).into_owned();
    }
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::config::RDKafkaLogLevel;
    use rdkafka::mocking::MockCluster;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn consumer(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> Consumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g").set("debug", "broker");
        config.set_log_level(RDKafkaLogLevel::Debug);
        Consumer::new(&config, Context::new(&config)).unwrap()
    }

    #[test]
    fn what_the_client_says_is_copied() {
        let cluster = MockCluster::new(1).unwrap();
        let consumer = consumer(&cluster);
        let (queue, began) = (Queue::of(&consumer), Instant::now());
        let (facility, line) = loop {
            assert!(began.elapsed() < PATIENCE, "the client says nothing");
            if let Some(Polled::Log(_, facility, line)) = queue.poll(Duration::from_millis(100)) {
                break (facility, line);
            }
        };
        assert!(!facility.is_empty() && !line.is_empty());
        assert!(!facility.contains('\0') && !line.contains('\0'), "{facility:?} {line:?}");
    }

    #[test]
    fn a_consumer_that_has_joined_nothing_is_no_member() {
        let cluster = MockCluster::new(1).unwrap();
        assert!(!is_member(&consumer(&cluster)));
    }

    /// Its threads end, and nothing of it is used again.
    #[test]
    fn a_consumer_goes_without_leaving_its_group() {
        let cluster = MockCluster::new(1).unwrap();
        destroy_without_leaving(consumer(&cluster).into_inner());
    }
}
