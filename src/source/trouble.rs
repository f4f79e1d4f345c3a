//! What may be wrong with a lane, as the client says: the brokers are asked, and it starts again or is parked.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::actor::{Slot, Source, State, log};
use super::confirm::same_topic;
use super::place::StartAt;
use super::poll_thread::Cut;
use super::start::{SameTopics, StartError, check_partition, give_up_a_batch, transient};
use crate::base::words::chain;
use crate::kafka::client::{ANSWER_WITHIN, BrokerError};
use crate::model::Partition;

/// What to do about a batch that does not fit.
const MORE_MEMORY: &str = "What came before it is committed, and nothing is lost: the batch is whole. Give the process more \
                           memory (the container's limit) or a smaller `limits.memory`, and start weir again";

/// What is being looked at: a lane, or all, and whether the client has stopped reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checking {
    lane: Option<(Partition, u64)>,
    lost_its_place: bool,
}

/// A lane, and whether it can go on.
type Verdict = ((Partition, u64), Result<(), StartError>);

/// Asks about lanes, about all of them at once: a leader that does not answer delays nobody else's
/// verdict. `ask` blocks.
fn ask_each(
    lanes: Vec<(Partition, u64)>,
    ask: impl Fn(&Partition) -> Result<(), StartError> + Send + Sync + 'static,
) -> impl Stream<Item = Verdict> + Unpin + 'static {
    let ask = Arc::new(ask);
    let one = |lane: (Partition, u64)| {
        let (ask, partition) = (ask.clone(), lane.0.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&partition));
        asked.map(|answer| (lane, answer.unwrap_or_else(|panic| Err(StartError::Panicked(panic.to_string())))))
    };
    lanes.into_iter().map(one).collect::<FuturesUnordered<_>>()
}

impl Source {
    /// A batch of a partition can't be read: what came before it is committed, and the lane tries again.
    pub(super) fn damaged(&mut self, partition: Partition, generation: u64, reason: String, ctx: &mut Context<Self>) {
        // One that has everything that this run wants of it needn't read what comes after that.
        if !self.is_running(&partition, generation) {
            return;
        }
        let way_out = give_up_a_batch(&partition, &self.run.pipeline.file);
        let reason = format!("{reason}. {way_out}");
        let drained = self.drain(std::slice::from_ref(&partition));
        ctx.spawn(drained.into_actor(self).map(move |drained, source, ctx| {
            source.drained(drained);
            if !source.stopping && source.lanes.get(&partition).is_some_and(|slot| slot.generation == generation) {
                source.failed(&partition, &reason, ctx);
            }
        }));
    }

    /// There is no memory for a batch of a partition: what came before it is committed, and the lane is parked. To try again
    /// would not help before a person has given the process more.
    pub(super) fn too_large(&mut self, partition: Partition, generation: u64, reason: String, ctx: &mut Context<Self>) {
        if !self.is_running(&partition, generation) {
            return;
        }
        let reason = format!("{reason}. {MORE_MEMORY}");
        let drained = self.drain(std::slice::from_ref(&partition));
        ctx.spawn(drained.into_actor(self).map(move |drained, source, _| {
            source.drained(drained);
            if !source.stopping && source.lanes.get(&partition).is_some_and(|slot| slot.generation == generation) {
                source.park(&partition, &reason);
            }
        }));
    }

    /// The brokers no longer have what they showed. What isn't committed is read again as it is now; where it is what the ledger
    /// has, nothing can be read on. It is asked twice: the client may have fetched, and not handed on, what was lost.
    pub(super) fn cut(&mut self, start: &StartAt, how: Cut, ctx: &mut Context<Self>) {
        let StartAt { partition, generation, position, last, .. } = start;
        if !self.is_running(partition, *generation) {
            return;
        }
        let (partition, position) = (partition.clone(), *position);
        let Some(slot) = self.lanes.get_mut(&partition) else { return };
        let asked_before = std::mem::replace(&mut slot.cut, how != Cut::Ahead);
        let words = "the brokers lost records that they had shown, and that may have been read";
        match (how, *last) {
            (Cut::Behind | Cut::Between(_), Some(_)) if !asked_before => {
                log!(warn, self.run, partition, "{words}: asking again");
                self.start(vec![partition], false, ctx);
            }
            (Cut::Behind, Some(last)) => {
                let error = StartError::Cut { partition: partition.clone(), position, last };
                self.park(&partition, &chain(&error));
            }
            (Cut::Between(found), Some(last)) => {
                let error = StartError::Replaced { partition: partition.clone(), position, last, found };
                self.park(&partition, &chain(&error));
            }
            (Cut::Ahead, _) | (_, None) => self.failed(&partition, words, ctx),
        }
    }

    /// Whether this lane runs, and is to run on.
    pub(super) fn is_running(&self, partition: &Partition, generation: u64) -> bool {
        let running = |slot: &Slot| slot.generation == generation && matches!(slot.state, State::Running(_));
        !self.stopping && self.lanes.get(partition).is_some_and(running)
    }

    /// Something may be wrong with a position or a topic: asks the brokers, and parks the lanes that can't go on.
    pub(super) fn suspect(&mut self, error: &KafkaError, of: Option<Partition>, ctx: &mut Context<Self>) {
        // The client repeats its error for each attempt; a lane that has started again makes another one.
        let lost_its_place = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        let lane = of.as_ref().map(|of| (of.clone(), self.lanes.get(of).map_or(0, |slot| slot.generation)));
        let checking = Checking { lane, lost_its_place };
        if !self.checking.insert(checking.clone()) {
            return;
        }
        let partition = of.as_ref().map(tracing::field::display);
        tracing::warn!(pipeline = %self.run.pipeline.name, %error, partition, "a position or a topic may be gone, checking");
        let running: Vec<(Partition, u64)> = self
            .lanes
            .iter()
            .filter(|(partition, slot)| {
                matches!(slot.state, State::Running(_)) && of.as_ref().is_none_or(|of| of == *partition)
            })
            .map(|(partition, slot)| (partition.clone(), slot.generation))
            .collect();
        let lanes = self.run.progress.snapshot().lanes;
        let (run, broker, until) = (self.run.clone(), self.broker(), self.until.clone());
        let topics = SameTopics::default();
        let verdicts = ask_each(running, move |partition| {
            let position = lanes.get(partition).map_or(0, |lane| lane.position);
            let until = until.as_ref().and_then(|until| until.get(partition)).map(|bounds| bounds.end);
            check_partition(&run, &broker, partition, (position, until), &topics)
        });
        self.judge(verdicts, checking, ctx);
    }

    /// Acts on each verdict when it comes.
    fn judge(
        &mut self,
        mut verdicts: impl Stream<Item = Verdict> + Unpin + 'static,
        checking: Checking,
        ctx: &mut Context<Self>,
    ) {
        let next = async move {
            let verdict = verdicts.next().await;
            (verdict, verdicts)
        };
        ctx.spawn(next.into_actor(self).map(move |(verdict, verdicts), source, ctx| {
            let Some(((partition, generation), verdict)) = verdict else {
                // Not at once again.
                ctx.run_later(Duration::from_secs(1), move |source, _| {
                    source.checking.remove(&checking);
                });
                return;
            };
            if source.lanes.get(&partition).is_some_and(|slot| slot.generation == generation) {
                match verdict {
                    Err(error) if !transient(&error) => source.park(&partition, &chain(&error)),
                    Err(error) => source.failed(&partition, &chain(&error), ctx),
                    // The client has stopped reading the partition.
                    Ok(()) if checking.lost_its_place => source.failed(&partition, "the client lost its place", ctx),
                    Ok(()) => {}
                }
            }
            source.judge(verdicts, checking, ctx);
        }));
    }

    /// Parks the lanes of a topic that is another one now, or can't be read. Topics without a lane
    /// are asked for, too: once a topic is gone the group takes its partitions away, and nothing
    /// else would say why nothing is read.
    pub(super) fn check_topics(&mut self, ctx: &mut Context<Self>) {
        if self.stopping || std::mem::replace(&mut self.checking_topics, true) {
            return;
        }
        let topics = self.run.pipeline.source.topics.clone();
        let (run, broker) = (self.run.clone(), self.broker());
        let checked = tokio::task::spawn_blocking(move || {
            let check = |topic: String| {
                let answer = same_topic(&run, &broker, &topic, ANSWER_WITHIN);
                (topic, answer)
            };
            topics.into_iter().map(check).collect::<Vec<_>>()
        });
        ctx.spawn(checked.into_actor(self).map(|found, source, _| {
            source.checking_topics = false;
            let found = found.unwrap_or_else(|panic| {
                tracing::error!(%panic, "asking whether topics are the same panicked; this is a bug in weir");
                Vec::new()
            });
            for (topic, answer) in found {
                let lanes = source.lanes.iter().filter(|(lane, _)| *lane.topic == *topic);
                let lanes: Vec<_> =
                    lanes.map(|(lane, slot)| (lane.clone(), matches!(slot.state, State::Parked))).collect();
                if let Some(error) = answer.as_ref().err().filter(|error| !transient(error)) {
                    let running = lanes.iter().filter(|(_, parked)| !parked);
                    running.for_each(|(partition, _)| source.park(partition, &chain(error)));
                }
                source.without_lanes(&topic, &answer, lanes.is_empty());
            }
        }));
    }

    /// Shows and says why a topic of which this source has no lane can't be read. Lanes say so
    /// themselves.
    fn without_lanes(&self, topic: &str, answer: &Result<(), StartError>, none: bool) {
        let reason = match answer {
            Ok(()) => None,
            // The client says that it reaches nobody.
            Err(StartError::Broker(BrokerError::Unreachable { .. } | BrokerError::NotAdmitted(_))) => return,
            Err(error) => Some(chain(error)).filter(|_| none),
        };
        let (pipeline, said) = (&*self.run.pipeline.name, reason.clone());
        match (self.run.progress.topic(self.number, topic, reason), said) {
            (true, Some(reason)) => tracing::error!(pipeline, topic, %reason, "nothing of the topic is read"),
            (true, None) => {
                tracing::info!(pipeline, topic, "the topic can be read again, or its partitions say why not")
            }
            (false, _) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// A dead leader: the answer about its partition comes only after those about all others were
    /// acted on.
    #[tokio::test]
    async fn a_leader_that_does_not_answer_delays_no_other_verdict() {
        let partition = |partition| Partition { topic: "t".into(), partition };
        let lanes: Vec<_> = (0..4).map(|number| (partition(number), 7)).collect();
        let (others, wait) = channel();
        let wait = Mutex::new(wait);
        let mut verdicts = ask_each(lanes, move |partition| {
            if partition.partition == 0 {
                (0..3).for_each(|_| wait.lock().unwrap().recv().unwrap());
            }
            assert!(partition.partition != 3, "a bug");
            Ok(())
        });
        let mut came = Vec::new();
        while let Some(((partition, generation), verdict)) = verdicts.next().await {
            came.push((partition.partition, generation, verdict.map_err(|error| transient(&error))));
            let _ = others.send(());
        }
        assert_eq!(came.pop(), Some((0, 7, Ok(()))));
        came.sort_by_key(|(partition, ..)| *partition);
        assert_eq!(came, [(1, 7, Ok(())), (2, 7, Ok(())), (3, 7, Err(false))]);
    }
}
