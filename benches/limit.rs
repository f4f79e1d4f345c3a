//! The limit: librdkafka as it is, consumers that take records in bulk and drop them.
//!
//! `cargo bench --bench limit -- BROKERS TOPIC PARTITIONS CONSUMERS` prints how many records it read. Each consumer reads its
//! share of the partitions to their ends, on a thread of its own. It doesn't link weir, which replaces a function of librdkafka
//! (`src/kafka/gzip.rs`); `limit_gzip.rs` is the same program with weir's.

#![allow(unsafe_code)]

use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

const BATCH: usize = 10_000;

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [brokers, topic, partitions, consumers] = &arguments[..] else {
        panic!("usage: limit BROKERS TOPIC PARTITIONS CONSUMERS");
    };
    let [partitions, consumers] = [partitions, consumers].map(|number| number.parse::<i32>().expect("a number"));
    let records: u64 = std::thread::scope(|scope| {
        let share = |number| (0..partitions).filter(move |partition| partition % consumers == number);
        let readers: Vec<_> =
            (0..consumers).map(|number| scope.spawn(move || read(brokers, topic, share(number).collect()))).collect();
        readers.into_iter().map(|reader| reader.join().expect("a consumer reads to the end")).sum()
    });
    println!("{{\"records\": {records}}}");
}

/// Reads partitions to their ends, and counts what read_committed shows of them.
fn read(brokers: &str, topic: &str, partitions: Vec<i32>) -> u64 {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "weir-limit")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        // The last fetch waits for records that don't come.
        .set("fetch.wait.max.ms", "10")
        // The default of a second stalls a consumer that is fast.
        .set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    // SAFETY: the consumer lives until the end of this function, and nobody else polls it. Each message is destroyed once.
    unsafe {
        let queue = rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        let mut batch = [ptr::null_mut(); BATCH];
        let (mut records, mut ended) = (0, 0);
        while ended < partitions.len() {
            // A full batch or what there is after 20 ms: a wait that no record ends.
            let got = rd::rd_kafka_consume_batch_queue(queue, 20, batch.as_mut_ptr(), BATCH);
            for message in &batch[..usize::try_from(got).expect("no error")] {
                match (**message).err {
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => records += 1,
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => ended += 1,
                    error => panic!("{error:?}"),
                }
                rd::rd_kafka_message_destroy(*message);
            }
        }
        rd::rd_kafka_queue_destroy(queue);
        records
    }
}
