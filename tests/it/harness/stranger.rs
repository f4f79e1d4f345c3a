//! Another program in a pipeline's group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::case::{Case, PATIENCE};
use super::until;

/// A member that shares partitions out by `range`, which weir doesn't. It commits nothing, and leaves when it is dropped.
pub struct Stranger {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// Joins the group of a case's pipeline, and waits until it has all partitions.
    pub fn join(case: &Case) -> Stranger {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", case.broker.address())
            .set("group.id", format!("weir-{}", case.pipeline.name))
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", "6000")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .create()
            .unwrap();
        consumer.subscribe(&[&case.pipeline.topic]).unwrap();
        let partitions = |consumer: &BaseConsumer| consumer.assignment().map_or(0, |list| list.count());
        until("the stranger is in the group", PATIENCE, || {
            drop(consumer.poll(Duration::from_millis(50)));
            partitions(&consumer) > 0
        });
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                drop(consumer.poll(Duration::from_millis(50)));
            }
        });
        Stranger { over, thread: Some(thread) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
