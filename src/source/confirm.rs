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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;

use super::start::StartError;
use crate::flow::run::Run;
use crate::kafka::client::{Broker, BrokerError};
use crate::kafka::ffi::Queue;

/// How long one question may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// After an answer nobody asks again for so many times as long as it took: of a thousand partitions' topic it is long, and a
/// thousand lanes that commit one after another would ask all the time.
const PACE: u32 = 4;

/// But for no longer than this.
const PACE_MAX: Duration = Duration::from_millis(50);

/// What the lanes of a pipeline ask.
///
/// It has a client of its own: on a consumer's connection a question would wait behind the fetches before it, for as long as these
/// wait for records, which halved the throughput.
pub struct Confirm {
    run: Arc<Run>,
    asked: Mutex<Asked>,
    /// Taken when this is dropped.
    broker: Option<Broker>,
    stopping: AtomicBool,
}

struct Asked {
    /// What the client says about its connections; goes before the client does.
    words: Option<Queue>,
    /// Of each topic, the last question that was answered well.
    confirmed: HashMap<String, Confirmed>,
    /// When nobody answered a question that was asked after the run was to end.
    silent: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Confirmed {
    asked: Instant,
    answered: Instant,
}

impl Confirmed {
    /// How long nobody is to ask again.
    fn pause(self, now: Instant) -> Duration {
        let pause = ((self.answered - self.asked) * PACE).min(PACE_MAX);
        pause.saturating_sub(now - self.answered)
    }
}

impl Confirm {
    /// Makes the client. Does not wait for a connection.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn new(run: &Arc<Run>, config: &ClientConfig) -> Result<Self, BrokerError> {
        let mut config = config.clone();
        // Nobody would read them.
        config.set("statistics.interval.ms", "0");
        let broker = Broker::new(&config)?;
        let words = Some(Queue::of(&broker.consumer()));
        let asked = Asked { words, confirmed: HashMap::new(), silent: None };
        Ok(Confirm {
            run: run.clone(),
            asked: Mutex::new(asked),
            broker: Some(broker),
            stopping: AtomicBool::new(false),
        })
    }

    /// From here on nobody waits for a broker that doesn't answer.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Blocking: returns when Kafka has confirmed, by an answer to a question asked after `read_by`, that the topic is the
    /// one that this run began with. While no broker answers it waits.
    ///
    /// # Errors
    /// When it is another topic, is gone, or no broker answers while the run is to end.
    pub fn topic(&self, topic: &str, read_by: Instant) -> Result<(), StartError> {
        let broker = self.broker.as_ref().expect("it is taken only when nobody has this any more");
        // Held while asking, so that those who come meanwhile wait for this answer instead of asking themselves.
        let mut asked = self.lock();
        let mut said = false;
        while let known = asked.confirmed.get(topic).copied()
            && known.is_none_or(|known| known.asked < read_by)
        {
            let (at, stopping) = (Instant::now(), self.stopping.load(Ordering::Acquire));
            let pause = known.map_or(Duration::ZERO, |known| known.pause(at));
            if !stopping && !pause.is_zero() {
                drop(asked);
                std::thread::sleep(pause);
                asked = self.lock();
                continue;
            }
            // Many lanes stop together: one question for all of them.
            if stopping && asked.silent.is_some_and(|silent| silent.elapsed() < CONFIRM_WITHIN) {
                return Err(StartError::Unconfirmed { topic: topic.to_owned() });
            }
            let answer = same_topic(&self.run, broker, topic, CONFIRM_WITHIN);
            // The consumers' clients say what there is to say; here it would only pile up.
            while asked.words.as_ref().is_some_and(|words| words.poll(Duration::ZERO).is_some()) {}
            match answer {
                Ok(()) => {
                    let confirmed = Confirmed { asked: at, answered: Instant::now() };
                    asked.confirmed.insert(topic.to_owned(), confirmed);
                }
                Err(StartError::Broker(BrokerError::Unreachable { .. } | BrokerError::NotAdmitted(_))) => {
                    asked.silent = stopping.then(Instant::now);
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(
                            pipeline = %self.run.pipeline.name,
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

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To end a client waits for its threads, and the last owner may be an actor.
impl Drop for Confirm {
    fn drop(&mut self) {
        drop(self.asked.get_mut().unwrap_or_else(PoisonError::into_inner).words.take());
        let broker = self.broker.take();
        std::thread::spawn(move || {
            if let Some(broker) = broker {
                broker.close();
            }
        });
    }
}

/// Whether the topic is still the one that this run began with.
pub(super) fn same_topic(run: &Run, broker: &Broker, topic: &str, timeout: Duration) -> Result<(), StartError> {
    let now = broker.topic_id(topic, timeout)?;
    let before = run.topic(topic).id.clone();
    if now != before {
        return Err(StartError::TopicReplaced { topic: topic.to_owned(), before, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_not_asked_for_again_at_once() {
        let asked = Instant::now();
        let ms = Duration::from_millis;
        let pause = |took, since| Confirmed { asked, answered: asked + ms(took) }.pause(asked + ms(took + since));
        assert_eq!([pause(3, 0), pause(3, 5), pause(3, 12), pause(3, 100)], [ms(12), ms(7), ms(0), ms(0)]);
        assert_eq!([pause(0, 0), pause(100, 0), pause(100, 49)], [ms(0), ms(50), ms(1)]);
    }
}
