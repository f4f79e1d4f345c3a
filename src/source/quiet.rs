//! Which lanes are quiet: handed no record for a while, *and* at the end of their partition, as Kafka says.
//!
//! Kafka is asked because a lane without records may as well be one that is paused or whose broker is gone. Each partition
//! is judged by itself: one that can't be asked is not quiet, and keeps no other from being so.

use std::time::Duration;

use crate::flow::run::Run;
use crate::kafka::client::Broker;
use crate::ledger::Others;
use crate::model::Partition;

/// A lane, and what it was handed.
#[derive(Debug, Clone)]
pub(super) struct Handed {
    pub(super) partition: Partition,
    pub(super) generation: u64,
    /// The position after what it was handed last.
    pub(super) position: i64,
}

/// How often to look for lanes that were handed nothing for `idle`.
pub(super) fn often(idle: Duration) -> Duration {
    (idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
}

/// Blocking: of some lanes those that are at the end of their partition, and up to where each closes windows because the
/// others have.
pub(super) fn quiet(
    run: &Run,
    broker: &Broker,
    mut others: Others,
    lanes: Vec<Handed>,
) -> (Vec<(Handed, Option<i64>)>, Others) {
    let lanes = at_end(broker, lanes);
    if let Err(error) = others.look(&run.chains()) {
        tracing::warn!(%error, "can't tell which windows the other partitions have closed");
        return (Vec::new(), others);
    }
    let with_others = |lane: Handed| {
        let to = run.closed_by_others(&lane.partition, &others);
        (lane, to)
    };
    (lanes.into_iter().map(with_others).collect(), others)
}

fn at_end(broker: &Broker, lanes: Vec<Handed>) -> Vec<Handed> {
    let partitions: Vec<Partition> = lanes.iter().map(|lane| lane.partition.clone()).collect();
    let ends = broker.ends_of_those_that_answer(&partitions);
    let at_end = |lane: &Handed| ends.get(&lane.partition).is_some_and(|end| (0..=lane.position).contains(end));
    lanes.into_iter().filter(at_end).collect()
}
