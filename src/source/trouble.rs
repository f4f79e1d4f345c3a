//! What may be wrong with a lane, as the client says: the brokers are asked, and it starts again or is parked.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::actor::Source;
use super::confirm::same_topic;
use super::lanes::LaneId;
use super::start::{SameTopics, StartError, ToRead, check_partition, give_up_a_batch, transient};
use crate::base::words::chain;
use crate::kafka::client::{ANSWER_WITHIN, BrokerError};
use crate::model::Partition;

/// What to do about a batch that does not fit.
const MORE_MEMORY: &str = "What came before it is committed, and nothing is lost: the batch is whole. Give the process more \
                           memory (the container's limit) or a smaller `limits.memory`, and start weir again";

/// What is being looked at: a lane, or all, and whether the client has stopped reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checking {
    lane: Option<LaneId>,
    lost_its_place: bool,
}

/// A lane, and whether it can go on.
struct Verdict {
    lane: LaneId,
    answer: Result<(), StartError>,
}

/// Asks about lanes, about all of them at once: a leader that does not answer delays nobody else's
/// verdict. `ask` blocks.
fn ask_each(
    lanes: Vec<LaneId>,
    ask: impl Fn(&Partition) -> Result<(), StartError> + Send + Sync + 'static,
) -> impl Stream<Item = Verdict> + Unpin + 'static {
    let ask = Arc::new(ask);
    let one = |lane: LaneId| {
        let (ask, partition) = (ask.clone(), lane.partition.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&partition));
        asked.map(|answer| {
            let answer = answer.unwrap_or_else(|panic| Err(StartError::Panicked(panic.to_string())));
            Verdict { lane, answer }
        })
    };
    lanes.into_iter().map(one).collect::<FuturesUnordered<_>>()
}

impl Source {
    /// A batch of a partition can't be read.
    pub(super) fn damaged(&mut self, lane: LaneId, reason: &str, ctx: &mut Context<Self>) {
        let way_out = give_up_a_batch(&lane.partition, &self.run.pipeline.file);
        let actions = self.lanes.damaged(lane, format!("{reason}. {way_out}"));
        self.perform(actions, ctx);
    }

    /// There is no memory for a batch of a partition.
    pub(super) fn too_large(&mut self, lane: LaneId, reason: &str, ctx: &mut Context<Self>) {
        let actions = self.lanes.too_large(lane, format!("{reason}. {MORE_MEMORY}"));
        self.perform(actions, ctx);
    }

    /// Something may be wrong with a position or a topic: asks the brokers, and parks the lanes that can't go on.
    pub(super) fn suspect(&mut self, error: &KafkaError, of: Option<Partition>, ctx: &mut Context<Self>) {
        // The client repeats its error for each attempt; a lane that has started again makes another one.
        let lost_its_place = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        let lane = of.as_ref().map(|of| self.lanes.newest(of));
        let checking = Checking { lane, lost_its_place };
        if !self.checking.insert(checking.clone()) {
            return;
        }
        let partition = of.as_ref().map(tracing::field::display);
        tracing::warn!(pipeline = %self.run.pipeline.name, %error, partition, "a position or a topic may be gone, checking");
        let running = self.lanes.running_of(of.as_ref());
        let lanes = self.run.progress.snapshot().lanes;
        let (run, broker, ends) = (self.run.clone(), self.broker(), self.lanes.ends().cloned());
        let topics = SameTopics::default();
        let verdicts = ask_each(running, move |partition| {
            let position = lanes.get(partition).map_or(0, |lane| lane.position);
            let until = ends.as_ref().and_then(|ends| ends.get(partition)).copied();
            check_partition(&run, &broker, &ToRead { partition, position, until }, &topics)
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
            let Some(Verdict { lane, answer }) = verdict else {
                // Not at once again.
                ctx.run_later(Duration::from_secs(1), move |source, _| {
                    source.checking.remove(&checking);
                });
                return;
            };
            let actions = source.lanes.judged(&lane, answer, checking.lost_its_place);
            source.perform(actions, ctx);
            source.judge(verdicts, checking, ctx);
        }));
    }

    /// Parks the lanes of a topic that is another one now, or can't be read. Topics without a lane
    /// are asked for, too: once a topic is gone the group takes its partitions away, and nothing
    /// else would say why nothing is read.
    pub(super) fn check_topics(&mut self, ctx: &mut Context<Self>) {
        if self.lanes.is_stopping() || std::mem::replace(&mut self.checking_topics, true) {
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
        ctx.spawn(checked.into_actor(self).map(|found, source, ctx| {
            source.checking_topics = false;
            let found = found.unwrap_or_else(|panic| {
                tracing::error!(%panic, "asking whether topics are the same panicked; this is a bug in weir");
                Vec::new()
            });
            for (topic, answer) in found {
                let none = !source.lanes.has_of(&topic);
                if let Some(error) = answer.as_ref().err().filter(|error| !transient(error)) {
                    let actions = source.lanes.topic_gone(&topic, &chain(error));
                    source.perform(actions, ctx);
                }
                source.without_lanes(&topic, &answer, none);
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
        let lane = |number| LaneId { partition: partition(number), generation: 7 };
        let lanes: Vec<_> = (0..4).map(lane).collect();
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
        while let Some(Verdict { lane, answer }) = verdicts.next().await {
            came.push((lane.partition.partition, lane.generation, answer.map_err(|error| transient(&error))));
            let _ = others.send(());
        }
        assert_eq!(came.pop(), Some((0, 7, Ok(()))));
        came.sort_by_key(|(partition, ..)| *partition);
        assert_eq!(came, [(1, 7, Ok(())), (2, 7, Ok(())), (3, 7, Err(false))]);
    }
}
