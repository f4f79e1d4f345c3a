//! A consumer that leaves its group before it is destroyed.
//!
//! librdkafka 2.12.1 closes a member without partitions, and sends no LeaveGroup request for it. It
//! keeps a note to send one. The answer to a heartbeat or a SyncGroup request, already queued when
//! the close ends, makes it act on that note. By then it has no coordinator any more:
//! `rd_kafka_cgrp_handle_LeaveGroup` follows a null pointer, and the process dies by SIGSEGV
//! (librdkafka's issue 5347, mended in 2.14.2). The other members wait for the session timeout.
//! `docs/faults.md` has the trace, and how often it happens.
//!
//! **Invariant:** a consumer is closed only once it is no member of its group. Where it can't leave
//! in time, it is destroyed in the way in which librdkafka never sends a LeaveGroup request.

use std::ops::Deref;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;

use super::context::Context;
use super::ffi;
use super::ffi::{Polled, Queue};

/// How long a consumer tries to leave its group. It has to wait while the group gets together.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two looks at whether it has left.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The consumer type of this crate.
pub(crate) struct Consumer {
    /// Taken when it is dropped.
    inner: Option<BaseConsumer<Context>>,
    /// Whether it is a static member, which stays in its group while it is away.
    is_static: bool,
}

impl Consumer {
    /// Makes the client. Does not wait for a connection.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub(crate) fn new(config: &ClientConfig, context: Context) -> KafkaResult<Self> {
        let is_static = config.get("group.instance.id").is_some();
        Ok(Consumer { inner: Some(config.create_with_context(context)?), is_static })
    }

    /// What it is made of, to be destroyed in another way.
    #[cfg(test)]
    pub(crate) fn into_inner(mut self) -> BaseConsumer<Context> {
        self.inner.take().expect("it is taken only when this is dropped")
    }

    /// Gives all partitions back and leaves the group. Returns whether it is no member any more. To
    /// be called when nobody polls it: from here on it answers the group's events by itself.
    pub(crate) fn leave(&self) -> bool {
        let (queue, began) = (Queue::of(self), Instant::now());
        loop {
            while let Some(polled) = queue.poll(Duration::ZERO) {
                if let Polled::Log(level, facility, line) = polled {
                    self.context().logged(level, &facility, &line);
                }
            }
            // A group event that was not answered would hold the close for ever.
            let _ = self.incremental_assign(&TopicPartitionList::new());
            if let Ok(assigned) = self.assignment() {
                let _ = self.incremental_unassign(&assigned);
            }
            if self.is_static {
                return true; // librdkafka sends no LeaveGroup request for it.
            }
            // The client puts this off while the group gets together, so that it is said again.
            self.unsubscribe();
            if !ffi::is_member(self) {
                return true;
            }
            if began.elapsed() > LEAVE_WITHIN {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Deref for Consumer {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &Self::Target {
        self.inner.as_ref().expect("it is taken only when this is dropped")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.inner.is_none() {
            return;
        }
        let left = self.leave();
        let Some(inner) = self.inner.take() else { return };
        if left {
            drop(inner);
        } else {
            tracing::warn!("the group was busy, so the consumer did not leave it; its session has to time out");
            ffi::destroy_without_leaving(inner);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::Offset;
    use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
    use rdkafka::mocking::MockCluster;

    use super::super::client::positions;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A member that was told its partitions how often, and how many it has.
    struct Member {
        consumer: Consumer,
        queue: Queue,
        told: usize,
        partitions: usize,
    }

    impl Member {
        fn new(cluster: &MockCluster<'_, impl rdkafka::ClientContext>, instance: Option<&str>) -> Self {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", cluster.bootstrap_servers())
                .set("group.id", "g")
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("heartbeat.interval.ms", "50");
            if let Some(instance) = instance {
                config.set("group.instance.id", instance);
            }
            let consumer = Consumer::new(&config, Context::new(&config)).unwrap();
            consumer.subscribe(&["t"]).unwrap();
            Member { queue: Queue::of(&consumer), consumer, told: 0, partitions: 0 }
        }

        /// Answers what the group tells.
        fn serve(&mut self) {
            while let Some(polled) = self.queue.poll(Duration::from_millis(1)) {
                let Polled::Rebalance(code, partitions) = polled else { continue };
                let list = positions(partitions.iter().map(|partition| (partition, Offset::Beginning)));
                if code == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
                    self.consumer.incremental_assign(&list).unwrap();
                    self.told += 1;
                    self.partitions += partitions.len();
                } else {
                    self.consumer.incremental_unassign(&list).unwrap();
                    self.partitions -= partitions.len();
                }
            }
        }
    }

    /// Members of a group on a topic with one partition, each of which was told what it has.
    fn together(cluster: &MockCluster<'_, impl rdkafka::ClientContext>, instances: [Option<&str>; 2]) -> [Member; 2] {
        cluster.create_topic("t", 1, 1).unwrap();
        let mut members = instances.map(|instance| Member::new(cluster, instance));
        let began = Instant::now();
        while !members.iter().all(|member| member.told > 0) {
            members.iter_mut().for_each(Member::serve);
            assert!(began.elapsed() < PATIENCE, "the group did not get together");
        }
        members.sort_by_key(|member| std::cmp::Reverse(member.partitions));
        assert_eq!([members[0].partitions, members[1].partitions], [1, 0]);
        members
    }

    /// Whether it has partitions or none. `tests/it/faults.rs` asks a real broker who is left.
    #[test]
    fn a_member_leaves_its_group() {
        for at in [0, 1] {
            // What is left of a group gets together again, which the mock cluster takes its time for.
            let cluster = MockCluster::new(1).unwrap();
            let members = together(&cluster, [None, None]);
            let consumer = &members[at].consumer;
            assert!(ffi::is_member(consumer));
            assert!(consumer.leave() && !ffi::is_member(consumer));
            assert!(consumer.leave(), "there is nothing left to do");
            assert_eq!(consumer.assignment().unwrap().count(), 0);
        }
    }

    #[test]
    fn a_static_member_stays_in_its_group() {
        let cluster = MockCluster::new(1).unwrap();
        for member in together(&cluster, [Some("a"), Some("b")]) {
            assert!(member.consumer.leave() && ffi::is_member(&member.consumer));
            assert_eq!(member.consumer.assignment().unwrap().count(), 0);
        }
    }
}
