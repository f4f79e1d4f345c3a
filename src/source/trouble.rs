//! What may be wrong with a lane, as the client says: the brokers are asked, and it starts again or is parked.

use std::time::Duration;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::actor::{Slot, Source, State, log};
use super::client::ANSWER_WITHIN;
use super::confirm::same_topic;
use super::place::StartAt;
use super::poll_thread::Cut;
use super::start::{StartError, check_partition, give_up_a_batch, transient};
use crate::pipeline::messages::Partition;
use crate::words::chain;

/// What to do about a batch that does not fit.
const MORE_MEMORY: &str = "What came before it is committed, and nothing is lost: the batch is whole. Give the process more \
                           memory (the container's limit) or a smaller `limits.memory`, and start weir again";

/// What is being looked at: a lane, or all, and whether the client has stopped reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checking {
    lane: Option<(Partition, u64)>,
    lost_its_place: bool,
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
        let checked = tokio::task::spawn_blocking(move || {
            let check = |(partition, generation): (Partition, u64)| {
                let position = lanes.get(&partition).map_or(0, |lane| lane.position);
                let until = until.as_ref().and_then(|until| until.get(&partition)).map(|bounds| bounds.end);
                let verdict = check_partition(&run, &broker, &partition, position, until);
                (partition, generation, verdict)
            };
            running.into_iter().map(check).collect::<Vec<_>>()
        });
        ctx.spawn(checked.into_actor(self).map(move |found, source, ctx| {
            for (partition, generation, verdict) in found.unwrap_or_default() {
                if source.lanes.get(&partition).is_none_or(|slot| slot.generation != generation) {
                    continue;
                }
                match verdict {
                    Err(error) if !transient(&error) => source.park(&partition, &chain(&error)),
                    Err(error) => source.failed(&partition, &chain(&error), ctx),
                    // The client has stopped reading the partition.
                    Ok(()) if lost_its_place => source.failed(&partition, "the client lost its place", ctx),
                    Ok(()) => {}
                }
            }
            // Not at once again.
            ctx.run_later(Duration::from_secs(1), move |source, _| {
                source.checking.remove(&checking);
            });
        }));
    }

    /// Parks the lanes of a topic that is another one now.
    pub(super) fn check_topics(&mut self, ctx: &mut Context<Self>) {
        if self.stopping || std::mem::replace(&mut self.checking_topics, true) {
            return;
        }
        let mut topics: Vec<Partition> = self.lanes.keys().cloned().collect();
        topics.sort();
        topics.dedup_by(|a, b| a.topic == b.topic);
        let (run, broker) = (self.run.clone(), self.broker());
        let checked = tokio::task::spawn_blocking(move || {
            let replaced = |partition: &Partition| {
                let error = same_topic(&run, &broker, &partition.topic, ANSWER_WITHIN).err()?;
                (!transient(&error)).then(|| (partition.topic.clone(), chain(&error)))
            };
            topics.iter().filter_map(replaced).collect::<Vec<_>>()
        });
        ctx.spawn(checked.into_actor(self).map(|replaced, source, _| {
            source.checking_topics = false;
            for (topic, reason) in replaced.unwrap_or_default() {
                let lanes: Vec<_> = source.lanes.keys().filter(|lane| lane.topic == topic).cloned().collect();
                let running = |lane: &Partition| !matches!(source.lanes[lane].state, State::Parked);
                let lanes: Vec<_> = lanes.into_iter().filter(running).collect();
                lanes.iter().for_each(|partition| source.park(partition, &reason));
            }
        }));
    }
}
