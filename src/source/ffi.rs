//! What rust-rdkafka doesn't offer: a topic's id, a record's leader epoch, and headers whose names are no UTF-8 (it panics at
//! one). The only module with `unsafe` code.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::message::BorrowedMessage;

use crate::pipeline::messages::Headers;

/// The leader epoch under which the broker stored the record; none from brokers that don't tell it.
pub(super) fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: the pointer is valid for as long as the borrowed message lives, and the call only reads it.
    let epoch = unsafe { rd::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

/// A record's headers, in order; none where it has none. In a name, bytes that are not UTF-8 become U+FFFD.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Option<Headers> {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer is valid for as long as the borrowed message lives, and so is what the call gives: the message
    // owns its headers.
    let found = unsafe { rd::rd_kafka_message_headers(message.ptr(), &raw mut list) };
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
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
            (text(name), value)
        };
        headers.push(header);
    }
}

/// Frees a librdkafka object when it goes out of scope.
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

/// The id that the cluster gave to `topic` when it was made, as base64 text.
///
/// Any broker knows it. Without naming one, librdkafka waits for the cluster's controller, which a mock cluster hasn't.
///
/// # Errors
/// When the broker doesn't know the topic or doesn't answer in time.
pub(super) fn topic_id(
    client: *mut rd::rd_kafka_t,
    broker: i32,
    topic: &str,
    timeout: Duration,
) -> Result<String, NoTopicId> {
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
        Ok(text(rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(description))))
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
