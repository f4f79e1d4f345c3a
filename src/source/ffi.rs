//! What rust-rdkafka doesn't offer: which partition an error is of, a record's leader epoch, headers whose names are no UTF-8
//! (it panics at one), a topic's id and whether it may be read, and how a commit in the background went. Beside `gzip.rs` and
//! `allocator.rs`, the only module with `unsafe` code.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use super::context::Consumer;
use crate::pipeline::messages::{Headers, Partition};

/// A consumer's queue: everything that it has for us comes out of it, but for what [`Messages`] has. Keep the consumer longer
/// than this.
#[derive(Debug)]
pub(super) struct Queue(Owned<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl Send for Queue {}

/// A queue of our own for what partitions have, which is taken from it in bulk. Keep the consumer longer than this.
#[derive(Debug)]
pub(super) struct Messages(Owned<rd::rd_kafka_queue_t>);

// SAFETY: as above.
unsafe impl Send for Messages {}

/// What came out of a consumer's queue.
pub(super) enum Polled {
    /// Something went wrong.
    Error(Trouble),
    /// The group gives these partitions or wants them back.
    Rebalance(rd::rd_kafka_resp_err_t, Vec<Partition>),
    /// The group's offsets were not committed.
    NotCommitted(RDKafkaErrorCode),
    /// A line of the client's log: level, facility, text.
    Log(i32, String, String),
    /// The client's statistics, as JSON.
    Statistics(String),
    /// A record of a partition that is not followed.
    Stray(Partition),
    /// What nobody needs to know of.
    Nothing,
}

/// Something went wrong, or a partition's end was reached.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) code: RDKafkaErrorCode,
    /// Whether the consumer can't go on.
    pub(super) fatal: bool,
    /// The client's words.
    pub(super) reason: String,
    /// The partition that it is about, when it is about one, and where in it, as far as that is known.
    pub(super) place: Option<(Partition, Option<i64>)>,
}

fn milliseconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

impl Queue {
    /// The queue of a consumer that nobody else polls.
    pub(super) fn of(consumer: &Consumer) -> Self {
        // SAFETY: the consumer is one, so that it has such a queue; the reference is given back by the guard.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        assert!(!queue.is_null(), "a consumer has a queue");
        Queue(Owned(queue, rd::rd_kafka_queue_destroy))
    }

    /// The next thing in it, if one comes in this time.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Polled> {
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
                rd::RD_KAFKA_EVENT_OFFSET_COMMIT if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    Polled::NotCommitted(code.into())
                }
                rd::RD_KAFKA_EVENT_LOG => log_of(event.0),
                rd::RD_KAFKA_EVENT_FETCH => stray(event.0),
                rd::RD_KAFKA_EVENT_STATS => Polled::Statistics(text(rd::rd_kafka_event_stats(event.0))),
                _ => Polled::Nothing,
            })
        }
    }

    /// Commits the group's offsets in the background; that they couldn't be committed comes out of this queue.
    ///
    /// # Errors
    /// When the client doesn't even try.
    pub(super) fn commit(&self, consumer: &Consumer, offsets: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        let client = consumer.client().native_ptr();
        // SAFETY: client, list and queue outlive the call, which copies the list. Without a callback the answer is an event.
        let code = unsafe { rd::rd_kafka_commit_queue(client, offsets.ptr(), self.0.0, None, ptr::null_mut()) };
        if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(code.into()) }
    }
}

impl Messages {
    /// A queue that has nothing yet.
    pub(super) fn new(consumer: &Consumer) -> Self {
        // SAFETY: the client lives, and outlives the queue.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Messages(Owned(queue, rd::rd_kafka_queue_destroy))
    }

    /// From here on what the client has of a partition comes out of this queue. Say so before it is assigned.
    pub(super) fn follow(&self, consumer: &Consumer, partition: &Partition) {
        let topic = CString::new(&*partition.topic).expect("a topic's name has no NUL");
        // SAFETY: the client lives, the name outlives the call, and the partition's queue is given back by its guard.
        unsafe {
            let client = consumer.client().native_ptr();
            let queue = rd::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.partition);
            assert!(!queue.is_null(), "a consumer has a queue for any partition");
            let queue = Owned(queue, rd::rd_kafka_queue_destroy);
            rd::rd_kafka_queue_forward(queue.0, self.0.0);
        }
    }

    /// Takes up to `most` messages, in place of those that `taken` has: what there is, as soon as there is that much or the time
    /// is over.
    pub(super) fn take(&self, taken: &mut Vec<Message>, most: usize, timeout: Duration) {
        taken.clear();
        taken.reserve(most);
        // SAFETY: there is room for `most` of what the call writes, which are messages that are ours to destroy from then on; a
        // `Message` is nothing but the pointer to one.
        unsafe {
            let room = taken.as_mut_ptr().cast::<*mut rd::rd_kafka_message_t>();
            let count = rd::rd_kafka_consume_batch_queue(self.0.0, milliseconds(timeout), room, most);
            taken.set_len(usize::try_from(count).unwrap_or(0));
        }
    }
}

/// The client's words for an error that it only tells of in a text.
pub(super) fn words(code: rd::rd_kafka_resp_err_t) -> String {
    // SAFETY: the answer is a text of the library's own, for whatever code.
    unsafe { text(rd::rd_kafka_err2str(code)) }
}

/// Says under which leader epoch the record before a position was read: where the client seeks to that position, it asks the
/// brokers whether they still have it.
pub(super) fn set_leader_epoch(list: &mut TopicPartitionList, at: usize, epoch: i32) {
    assert!(at < list.count(), "the list has {} elements", list.count());
    // SAFETY: the list is ours alone, and has an element at that index.
    unsafe { rd::rd_kafka_topic_partition_set_leader_epoch((*list.ptr()).elems.add(at), epoch) };
}

/// What [`set_leader_epoch`] said.
#[cfg(test)]
pub(super) fn leader_epoch(list: &TopicPartitionList, at: usize) -> Option<i32> {
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

/// A record as the client holds it, or, when it has a trouble, what is wrong with its partition.
#[repr(transparent)]
pub(super) struct Message(NonNull<rd::rd_kafka_message_t>);

// SAFETY: a message has one owner, on whatever thread.
unsafe impl Send for Message {}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed only here.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Message {
    fn message(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: it lives as long as this does.
        unsafe { self.0.as_ref() }
    }

    /// What is wrong; nothing where this is a record.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let message = self.message();
        if message.err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let reason = self.value().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let place = (!message.rkt.is_null()).then(|| (self.partition(), (self.offset() >= 0).then_some(self.offset())));
        Some(Trouble { code: message.err.into(), fatal: false, reason, place })
    }

    /// Whether both are of one partition. A topic's handle is one topic's for as long as a message has it.
    pub(super) fn is_beside(&self, other: &Message) -> bool {
        self.message().partition == other.message().partition && self.message().rkt == other.message().rkt
    }

    /// Whether it is of this partition.
    pub(super) fn is_of(&self, partition: &Partition) -> bool {
        // SAFETY: a message of a partition has its topic, whose name lives as long as the message.
        let topic = unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.message().rkt)) };
        self.message().partition == partition.partition && topic.to_bytes() == partition.topic.as_bytes()
    }

    /// Its partition.
    pub(super) fn partition(&self) -> Partition {
        // SAFETY: a message of a partition has its topic.
        let topic = unsafe { text(rd::rd_kafka_topic_name(self.message().rkt)) };
        Partition { topic: topic.into(), partition: self.message().partition }
    }

    /// Its offset.
    pub(super) fn offset(&self) -> i64 {
        self.message().offset
    }

    /// Its value; none for a tombstone.
    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message's value has that many bytes, and lives as long as the message.
        unsafe { bytes(self.message().payload, self.message().len) }
    }

    /// Its key, if it has one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.message().key, self.message().key_len) }
    }

    /// Its timestamp in milliseconds since 1970, whoever set it.
    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and the call only reads it.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let none = timestamp == -1 || kind == rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (!none).then_some(timestamp)
    }

    /// The leader epoch under which the broker stored it; none from brokers that don't tell it.
    pub(super) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message lives, and the call only reads it.
        let epoch = unsafe { rd::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    /// Its headers, in order; none where it has none. In a name, bytes that are not UTF-8 become U+FFFD.
    pub(super) fn headers(&self) -> Option<Headers> {
        if self.surely_has_no_headers() {
            return None;
        }
        let mut list = ptr::null_mut();
        // SAFETY: the message owns its headers.
        let found = unsafe { rd::rd_kafka_message_headers(self.0.as_ptr(), &raw mut list) };
        if found != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut headers = Vec::new();
        loop {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `list` is the message's, and what the call points to is copied before the message goes.
            let header = unsafe {
                let at = headers.len();
                let found = rd::rd_kafka_header_get_all(list, at, &raw mut name, &raw mut value, &raw mut size);
                if found != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return Some(headers);
                }
                (text(name), bytes(value, size).map(<[u8]>::to_vec))
            };
            headers.push(header);
        }
    }
}

impl Message {
    /// Whether it is known without asking that there are no headers. To be asked, librdkafka makes a reader for what is a single
    /// byte of most records, the number 0: a third of what taking a record out of its queue costs.
    fn surely_has_no_headers(&self) -> bool {
        // SAFETY: of the version that this was read in, a message is the first field of what `Inside` is the beginning of.
        // Its headers are as many bytes as it says, and live as long as the message.
        unsafe {
            if rd::rd_kafka_version() != INSIDE_OF_VERSION {
                return false;
            }
            let Inside { parsed, unparsed, .. } = self.0.cast::<Inside>().as_ref();
            let none = unparsed.length == 0 || (unparsed.length > 0 && *unparsed.data == 0);
            parsed.is_null() && none
        }
    }
}

/// The librdkafka whose `rd_kafka_msg_t` begins as [`Inside`]: 2.12.1.
const INSIDE_OF_VERSION: i32 = 0x020c_01ff;

/// What librdkafka has in a message that it hands over; none of it is in its interface but the first field.
#[repr(C)]
struct Inside {
    message: rd::rd_kafka_message_t,
    link: [*mut c_void; 2],
    flags: c_int,
    timestamp_kind: c_int,
    timestamp: i64,
    parsed: *mut rd::rd_kafka_headers_t,
    status: c_int,
    broker: i32,
    unparsed: Unparsed,
    leader_epoch: i32,
}

/// A record's headers as they came: their number, and then each of them.
#[repr(C)]
struct Unparsed {
    length: i32,
    data: *const u8,
    own: [u8; 1],
}

/// # Safety
/// `pointer` is null, or points to `length` bytes that live as long as what is made of them.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as this function's own contract says.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// Frees a librdkafka object when it goes out of scope.
#[derive(Debug)]
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the matching constructor, is not null, and is freed only here.
        unsafe { (self.1)(self.0) }
    }
}

/// Why there is no id.
pub(super) enum NoTopicId {
    /// The request failed before a broker looked at it: a time-out, a lost connection.
    Silent(rd::rd_kafka_resp_err_t),
    /// The broker's words about the topic.
    Refused(String),
}

/// What the cluster says of a topic.
pub(super) struct Described {
    /// The id that it got when it was made, as base64 text.
    pub(super) id: String,
    /// Whether this client may read its records; so it seems with brokers that don't tell.
    pub(super) readable: bool,
}

/// Describes `topic`.
///
/// Any broker knows it. Without naming one, librdkafka waits for the cluster's controller, which a mock cluster hasn't.
///
/// # Errors
/// When the broker doesn't know the topic or doesn't answer in time.
pub(super) fn describe(
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
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as this function's own contract says.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::super::client::positions;
    use super::super::context::Context;
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[test]
    fn headers_are_asked_for_where_there_are_any() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        let producer: BaseProducer = config.create().unwrap();
        let record = || BaseRecord::<(), [u8]>::to("t").partition(0).timestamp(77);
        let header = |key, value: Option<&'static str>| OwnedHeaders::new().insert(Header { key, value });
        let records = [
            record().payload(b"none"),
            record().payload(b"one").headers(header("a", Some("b"))),
            record(),
            record().headers(header("", None)),
        ];
        records.into_iter().for_each(|record| producer.send(record).map_err(|(error, _)| error).unwrap());
        producer.flush(WAIT).unwrap();

        let consumer: Consumer = config.create_with_context(Context::new(&config)).unwrap();
        let (messages, mut taken) = (Messages::new(&consumer), Vec::new());
        let partition = Partition { topic: "t".into(), partition: 0 };
        messages.follow(&consumer, &partition);
        consumer.assign(&positions([(&partition, rdkafka::Offset::Beginning)])).unwrap();
        messages.take(&mut taken, 4, WAIT);
        assert_eq!(taken.len(), 4);
        let value = |text: &str| Some(text.as_bytes().to_vec());
        let headers = [None, Some(vec![("a".to_owned(), value("b"))]), None, Some(vec![(String::new(), None)])];
        for (message, headers) in taken.iter().zip(headers) {
            assert!(message.trouble().is_none() && message.is_of(&partition));
            assert_eq!((message.surely_has_no_headers(), message.headers()), (headers.is_none(), headers));
            // SAFETY: see `surely_has_no_headers`.
            let inside = unsafe { message.0.cast::<Inside>().as_ref() };
            // SAFETY: the message lives.
            let broker = unsafe { rd::rd_kafka_message_broker_id(message.0.as_ptr()) };
            let epoch = (inside.leader_epoch >= 0).then_some(inside.leader_epoch);
            assert_eq!((inside.timestamp, inside.broker, epoch), (77, broker, message.leader_epoch()));
            assert_eq!(inside.message.offset, message.offset());
        }
    }
}
