//! What partitions have, taken from Kafka's client in bulk: records, ends and errors, in order.
//!
//! rust-rdkafka offers one record at a time. It doesn't offer a record's leader epoch either, and panics at headers whose names are no
//! UTF-8.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::Consumer as _;

use super::consumer::Consumer;
use super::ffi::{Owned, Trouble, bytes, milliseconds, text};
use crate::base::failpoint;
use crate::model::{Headers, Partition};

/// A queue of our own for what partitions have, which is taken from it in bulk. Keep the consumer longer than this.
#[derive(Debug)]
pub(crate) struct Messages(Owned<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl Send for Messages {}

impl Messages {
    /// A queue that has nothing yet.
    pub(crate) fn new(consumer: &Consumer) -> Self {
        // SAFETY: the client lives, and outlives the queue.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Messages(Owned(queue, rd::rd_kafka_queue_destroy))
    }

    /// From here on what the client has of a partition comes out of this queue. Say so before it is assigned.
    pub(crate) fn follow(&self, consumer: &Consumer, partition: &Partition) {
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
    pub(crate) fn take(&self, taken: &mut Vec<Message>, most: usize, timeout: Duration) {
        taken.clear();
        taken.reserve(most);
        if failpoint::planted("overflow.bulk") {
            *taken = Vec::with_capacity(most / 2);
        }
        // SAFETY: there is room for `most` of what the call writes, which are messages that are ours to destroy from then on; a
        // `Message` is nothing but the pointer to one.
        unsafe {
            let room = taken.as_mut_ptr().cast::<*mut rd::rd_kafka_message_t>();
            let count = rd::rd_kafka_consume_batch_queue(self.0.0, milliseconds(timeout), room, most);
            taken.set_len(usize::try_from(count).unwrap_or(0));
        }
    }
}

/// A record as the client holds it, or, when it has a trouble, what is wrong with its partition.
#[repr(transparent)]
pub(crate) struct Message(NonNull<rd::rd_kafka_message_t>);

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
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let message = self.message();
        if message.err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let reason = self.value().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let place = (!message.rkt.is_null()).then(|| (self.partition(), (self.offset() >= 0).then_some(self.offset())));
        Some(Trouble { code: message.err.into(), fatal: false, reason, place })
    }

    /// Whether both are of one partition. A topic's handle is one topic's for as long as a message has it.
    pub(crate) fn is_beside(&self, other: &Message) -> bool {
        self.message().partition == other.message().partition && self.message().rkt == other.message().rkt
    }

    /// Whether it is of this partition.
    pub(crate) fn is_of(&self, partition: &Partition) -> bool {
        // SAFETY: a message of a partition has its topic, whose name lives as long as the message.
        let topic = unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.message().rkt)) };
        self.message().partition == partition.partition && topic.to_bytes() == partition.topic.as_bytes()
    }

    /// Its partition.
    pub(crate) fn partition(&self) -> Partition {
        // SAFETY: a message of a partition has its topic.
        let topic = unsafe { text(rd::rd_kafka_topic_name(self.message().rkt)) };
        Partition { topic: topic.into(), partition: self.message().partition }
    }

    /// Its offset.
    pub(crate) fn offset(&self) -> i64 {
        self.message().offset
    }

    /// Its value; none for a tombstone.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message's value has that many bytes, and lives as long as the message.
        unsafe { bytes(self.message().payload, self.message().len) }
    }

    /// Its key, if it has one.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        // SAFETY: as for the value.
        unsafe { bytes(self.message().key, self.message().key_len) }
    }

    /// Its timestamp in milliseconds since 1970, whoever set it.
    pub(crate) fn timestamp_ms(&self) -> Option<i64> {
        let (timestamp, kind) = match self.inside() {
            Some(inside) => (inside.timestamp, inside.timestamp_kind),
            None => {
                let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                // SAFETY: the message lives, and the call only reads it.
                (unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) }, kind as c_int)
            }
        };
        (timestamp != -1 && kind != NO_TIMESTAMP).then_some(timestamp)
    }

    /// The leader epoch under which the broker stored it; none from brokers that don't tell it.
    pub(crate) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message lives, and the call only reads it.
        let asked = || unsafe { rd::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        let epoch = self.inside().map_or_else(asked, |inside| inside.leader_epoch);
        (epoch >= 0).then_some(epoch)
    }

    /// Its headers, in order; none where it has none. In a name, bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn headers(&self) -> Option<Headers> {
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
        self.inside().is_some_and(|Inside { parsed, unparsed, .. }| {
            // SAFETY: unparsed headers are as many bytes as they say, and live as long as the message.
            let none = unparsed.length == 0 || (unparsed.length > 0 && unsafe { *unparsed.data } == 0);
            parsed.is_null() && none
        })
    }

    /// What its accessors tell, without their calls, where this is known of the librdkafka that is linked.
    #[inline]
    fn inside(&self) -> Option<&Inside> {
        // SAFETY: of the version that this was read in, a message is the first field of what `Inside` is the beginning of.
        KNOWN_INSIDE.then(|| unsafe { self.0.cast::<Inside>().as_ref() })
    }
}

/// The librdkafka whose `rd_kafka_msg_t` begins as [`Inside`] is 2.12.1, and it is linked statically.
const KNOWN_INSIDE: bool = rd::RD_KAFKA_VERSION == 0x020c_01ff;

const NO_TIMESTAMP: c_int = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as c_int;

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
    fn what_is_read_without_a_call_is_what_the_call_tells() {
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

        let consumer = Consumer::new(&config, Context::new(&config)).unwrap();
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
            let (inside, told) = (message.inside().unwrap(), message.0.as_ptr());
            let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            // SAFETY: the message lives.
            let (broker, epoch, timestamp) = unsafe {
                let timestamp = rd::rd_kafka_message_timestamp(told, &raw mut kind);
                (rd::rd_kafka_message_broker_id(told), rd::rd_kafka_message_leader_epoch(told), timestamp)
            };
            assert_eq!((inside.broker, inside.leader_epoch), (broker, epoch));
            assert_eq!((inside.timestamp, inside.timestamp_kind), (timestamp, kind as c_int));
            assert_eq!((message.timestamp_ms(), inside.message.offset), (Some(77), message.offset()));
        }
    }
}
