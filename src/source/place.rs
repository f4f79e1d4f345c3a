//! Where partitions are read from, and how the client gets there: right after the newest record that the ledger knows, once the
//! brokers were found to have it still.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::ClientContext as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::{Collecting, NOTHING_COUNTED};
use super::poll_thread::PollThread;
use crate::kafka::client::{partition_of, positions};
use crate::kafka::ffi::set_leader_epoch;
use crate::model::LastRecord;
use crate::model::Partition;

/// How long a seek may take; longer means that the client is stuck.
const SEEK_WITHIN: Duration = Duration::from_secs(10);
/// How long partitions may wait for the client to be able to seek before that is said.
const SEEK_PATIENCE: Duration = Duration::from_secs(4);

/// Where a partition is to be read from.
#[derive(Debug, Clone)]
pub(crate) struct StartAt {
    pub(crate) partition: Partition,
    /// Tells it apart from an earlier lane of the same partition.
    pub(crate) generation: u64,
    pub(crate) position: i64,
    /// The newest record before it, which the brokers must still have.
    pub(crate) last: Option<LastRecord>,
    /// Where the partition ends for this run, when it is to end.
    pub(crate) end: Option<i64>,
}

/// From where the client reads: right after the last record, whose epoch it can ask the brokers about, because what is between
/// it and the position may be of newer epochs. No record is there: one that comes has taken the place of another.
fn places(starts: &[StartAt]) -> TopicPartitionList {
    let known = |start: &StartAt| start.last.and_then(|last| Some((last.offset + 1, last.leader_epoch?)));
    let position = |start: &StartAt| known(start).map_or(start.position, |(position, _)| position);
    let mut list = positions(starts.iter().map(|start| (&start.partition, Offset::Offset(position(start)))));
    for (at, start) in starts.iter().enumerate() {
        if let Some((_, epoch)) = known(start) {
            set_leader_epoch(&mut list, at, epoch);
        }
    }
    list
}

impl PollThread {
    /// Assigns partitions, and reads them from there.
    pub(super) fn start(&mut self, starts: &[StartAt]) {
        starts.iter().for_each(|start| self.messages.follow(&self.consumer, &start.partition));
        // Also when the list is empty: the group waits for this answer to its assignment.
        self.report(self.consumer.incremental_assign(&places(starts)));
        let moved = self.client_positions();
        for start in starts {
            match start.last {
                // What came of an assignment before may still come, until it is sent somewhere.
                None if moved.contains_key(&start.partition) => self.open(start, i64::MAX),
                None => self.open(start, NOTHING_COUNTED),
                Some(_) => {
                    self.forget(&start.partition);
                    self.unsought.push(start.clone());
                }
            }
        }
        self.set_flow();
        self.seek_unsought();
    }

    /// The client ends an assignment in the background, and forgets then where messages were to go; if the partition is ours
    /// again by then, they wait in its own queue.
    pub(super) fn follow_unheard(&self) {
        for (partition, _) in self.open.iter().filter(|(_, collecting)| !collecting.is_heard()) {
            self.messages.follow(&self.consumer, partition);
        }
    }

    /// After a pause, by us or by the client while its group is rebalanced: the client goes on from its own place then, which is one
    /// too far where it has told of an end or an error since the last record. So it is sent back.
    ///
    /// **Invariant:** a pause passes over no record.
    pub(super) fn keep_places(&mut self) {
        let places: Vec<StartAt> = self.open.iter().filter_map(|(_, collecting)| collecting.place()).collect();
        if places.is_empty() {
            return;
        }
        let failed = self.seek(&places);
        for StartAt { partition, .. } in &places {
            let at = self.index[partition];
            match failed.iter().find(|(failed, _)| failed == partition) {
                None => self.open[at].1.placed(),
                Some((_, reason)) => self.broken(at, &format!("the client lost its place: {reason}")),
            }
        }
    }

    /// Seeks what was assigned: the client asks the brokers for a last record where it seeks, and not where it is assigned. It
    /// can't until it has begun to read the partition, which may wait for answers to commits.
    ///
    /// **Invariant:** what has a last record is read only after the brokers were asked for it.
    pub(super) fn seek_unsought(&mut self) {
        let starts = std::mem::take(&mut self.unsought);
        if starts.is_empty() {
            self.unsought_since = None;
            return;
        }
        let failed = self.seek(&starts);
        for start in &starts {
            match failed.iter().find(|(partition, _)| *partition == start.partition) {
                None => self.open(start, NOTHING_COUNTED),
                Some((partition, reason)) => {
                    // For a moment that is as it should be. For longer, the partition is not read.
                    if self.unsought_since.get_or_insert_with(Instant::now).elapsed() >= SEEK_PATIENCE {
                        let error = KafkaError::Seek(format!("{partition} is not read yet"));
                        self.consumer.context().error(error, reason);
                    }
                    self.unsought.push(start.clone());
                }
            }
        }
        self.set_flow();
    }

    /// Sends the client to where partitions are read from; gives those where it can't go, with its reasons. It asks the brokers
    /// first whether they still have the last record, where there is one.
    fn seek(&self, starts: &[StartAt]) -> Vec<(Partition, String)> {
        match self.consumer.seek_partitions(places(starts), SEEK_WITHIN) {
            Err(error) => starts.iter().map(|start| (start.partition.clone(), error.to_string())).collect(),
            Ok(list) => {
                let failed = |element: &TopicPartitionListElem<'_>| {
                    Some((partition_of(element), element.error().err()?.to_string()))
                };
                list.elements().iter().filter_map(failed).collect()
            }
        }
    }

    /// An assigned partition seeks: to unassign and assign it again would also answer a group event that is under way.
    pub(super) fn restart(&mut self, start: &StartAt) {
        if !self.assigned().contains(&start.partition) {
            return self.start(std::slice::from_ref(start));
        }
        if let Some((_, error)) = self.seek(std::slice::from_ref(start)).first() {
            // The client has given the partition up, after an error of its own: it is taken anew.
            // If that fails, it is said.
            tracing::debug!(partition = %start.partition, %error, "seek failed, assigning again");
            self.report(self.consumer.incremental_unassign(&positions([(&start.partition, Offset::Invalid)])));
            return self.start(std::slice::from_ref(start));
        }
        self.messages.follow(&self.consumer, &start.partition);
        self.open(start, NOTHING_COUNTED);
        self.set_flow();
    }

    /// Where the client is, of the partitions of which it has handed something over.
    pub(super) fn client_positions(&self) -> HashMap<Partition, i64> {
        let Ok(list) = self.consumer.position() else { return HashMap::new() };
        let position = |element: &TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(position) => Some((partition_of(element), position)),
            Offset::Invalid => None,
            // That of an error without one.
            _ => Some((partition_of(element), i64::MIN)),
        };
        list.elements().iter().filter_map(position).collect()
    }

    fn open(&mut self, start: &StartAt, counted: i64) {
        self.forget(&start.partition);
        self.index.insert(start.partition.clone(), self.open.len());
        self.open.push((start.partition.clone(), Collecting::new(start.clone(), counted)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kafka::ffi::leader_epoch;

    #[test]
    fn a_partition_is_read_from_right_after_its_last_record() {
        let start = |last: Option<(i64, Option<i32>)>| StartAt {
            partition: Partition { topic: "t".into(), partition: 0 },
            generation: 1,
            position: 70,
            last: last.map(|(offset, leader_epoch)| LastRecord { offset, leader_epoch }),
            end: None,
        };
        let place = |last| {
            let list = places(&[start(last)]);
            let element = list.elements()[0].offset();
            (element.to_raw().unwrap(), leader_epoch(&list, 0))
        };
        assert_eq!(place(Some((66, Some(2)))), (67, Some(2)));
        // Without an epoch there is nothing to ask for.
        assert_eq!(place(Some((66, None))), (70, None));
        assert_eq!(place(None), (70, None));
    }
}
