//! What the client's statistics say of logs' ends and connections.

use std::time::Instant;

use rdkafka::Statistics;

use crate::flow::progress::{BrokerConnection, Progress};
use crate::model::Partition;

/// Whether the client is on its way into its group, and has subscribed.
pub(super) fn joins(said: &Statistics) -> bool {
    const JOINING: [&str; 4] = ["init", "wait-join", "wait-metadata", "wait-sync"];
    said.cgrp.as_ref().is_some_and(|group| JOINING.contains(&&*group.join_state))
}

/// Tells a run what one of its clients says, which knows where logs end while it `fetches`.
pub(super) fn tell(progress: &Progress, source: usize, said: &Statistics, fetches: bool) {
    let log_ends = said.topics.iter().filter(|_| fetches).flat_map(|(topic, known)| {
        // The client keeps a partition of no number for records without one.
        let read = known.partitions.values().filter(|known| known.desired && known.partition >= 0);
        read.filter(|known| known.ls_offset >= 0).map(|known| {
            let partition = Partition { topic: topic.as_str().into(), partition: known.partition };
            (partition, known.ls_offset, known.hi_offset)
        })
    });
    // Those without a number are the same brokers by the address that they were first asked at.
    let brokers = said.brokers.values().filter(|broker| broker.nodeid >= 0).map(|broker| {
        let seconds = |micros: i64| micros as f64 / 1e6;
        let round_trip = broker.rtt.as_ref().filter(|rtt| rtt.cnt > 0);
        let connection = BrokerConnection {
            up: broker.state == "UP",
            received_bytes: broker.rxbytes,
            sent_bytes: broker.txbytes,
            round_trip_seconds: round_trip.map(|rtt| (seconds(rtt.p50), seconds(rtt.p99))),
        };
        (broker.nodename.clone(), connection)
    });
    progress.statistics(source, log_ends, brokers, Instant::now());
}
