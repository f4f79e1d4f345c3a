//! Makes sure, before a lane commits, that its topic is still the one that the run began with.
//!
//! The client goes on by itself when a topic is deleted and made again under its name, and nothing in a record tells the
//! old topic from the new one. But a topic's id never comes back: if Kafka still gives the first id *after* records were
//! read, then they are of the first topic. So a commit asks, and lanes that commit at about the same time share an answer.
//!
//! Without an answer there is no commit: what was read waits, or is read again after a restart. What this can't see is a
//! broker that answers with metadata older than what another broker of the cluster has just served records by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Broker, BrokerError, WeakBroker};
use super::start::StartError;
use crate::pipeline::topology::Run;

/// How long one question may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// What the lanes of one source ask.
#[derive(Debug)]
pub struct Confirm {
    broker: WeakBroker,
    /// When each topic was last asked about, of the questions that were answered well, and since when nobody answers.
    asked: Mutex<Asked>,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct Asked {
    confirmed: HashMap<String, Instant>,
    /// When nobody answered.
    silent: Option<Instant>,
}

impl Confirm {
    pub(super) fn new(broker: &Broker) -> Self {
        Confirm { broker: broker.downgrade(), asked: Mutex::default(), stopping: AtomicBool::new(false) }
    }

    /// From here on nobody waits for a broker that doesn't answer.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Blocking: returns when Kafka has confirmed, by an answer to a question asked after `read_by`, that the topic is the
    /// one that this run began with. While no broker answers it waits.
    ///
    /// # Errors
    /// When it is another topic, is gone, or no broker answers while the source is to end.
    pub fn topic(&self, run: &Run, topic: &str, read_by: Instant) -> Result<(), StartError> {
        // Held while asking, so that those who come meanwhile wait for this answer instead of asking themselves.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = false;
        while asked.confirmed.get(topic).is_none_or(|at| *at < read_by) {
            let (at, stopping) = (Instant::now(), self.stopping.load(Ordering::Acquire));
            // Many lanes stop together: one question for all of them.
            if stopping && asked.silent.is_some_and(|silent| silent.elapsed() < CONFIRM_WITHIN) {
                return Err(StartError::Unconfirmed { topic: topic.to_owned() });
            }
            let broker = self.broker.upgrade().ok_or(StartError::Closed)?;
            match same_topic(run, &broker, topic, CONFIRM_WITHIN) {
                Ok(()) => drop(asked.confirmed.insert(topic.to_owned(), at)),
                Err(StartError::Broker(BrokerError::Unreachable { .. })) => {
                    asked.silent = Some(Instant::now());
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(
                            topic,
                            "no broker answers; commits wait until Kafka confirms that the topic is still the same"
                        );
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the topic is still the one that this run began with.
pub(super) fn same_topic(run: &Run, broker: &Broker, topic: &str, timeout: Duration) -> Result<(), StartError> {
    let (now, _) = broker.topic_within(topic, timeout)?;
    let before = run.topic(topic).id.clone();
    if now != before {
        return Err(StartError::TopicReplaced { topic: topic.to_owned(), before, now });
    }
    Ok(())
}
