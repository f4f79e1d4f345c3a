//! A source and its group: what Kafka is told of the ledger's positions, and whether the group has given an assignment.

use std::time::Instant;

use super::actor::Source;
use super::poll_thread::Command;
use crate::flow::progress::Waiting;
use crate::kafka::ffi::Answer;
use crate::kafka::membership::NotJoined;

impl Source {
    pub(super) fn tell_kafka(&mut self) {
        let due = self.untold.due(Instant::now());
        if !due.is_empty() {
            self.command(Command::Commit(due));
        }
    }

    /// Kafka's answer to what it was told.
    pub(super) fn told(&mut self, answer: Answer) {
        let reason = answer.error.map(|error| error.to_string()).unwrap_or_default();
        for (partition, position, taken) in answer.positions {
            if taken {
                self.untold.told(&partition, position);
            } else {
                self.untold.refused(&partition, &reason, Instant::now());
            }
        }
        self.close_if_told();
        if self.untold.is_over() {
            let (pipeline, group) = (&*self.run.pipeline.name, &*self.run.pipeline.source.group);
            tracing::info!(pipeline, group, "Kafka takes the group's offsets again");
        }
    }

    /// Says that Kafka refuses the group's offsets, if that is to be said now. `ends`: it is not
    /// told again.
    pub(super) fn say_what_is_untold(&mut self, ends: bool) {
        let Some((partitions, reason)) = self.untold.what_to_say(ends, Instant::now()) else { return };
        let (pipeline, group) = (&*self.run.pipeline.name, &*self.run.pipeline.source.group);
        let words = match (ends, self.lanes.ends()) {
            (true, _) => "the next start of weir tells Kafka; until then the group's lag is too large",
            (false, Some(_)) => "the group has members, or one that died counts until its session is over; retrying",
            (false, None) => "retrying; until then the group's lag is too large",
        };
        tracing::warn!(
            pipeline,
            group,
            partitions,
            reason,
            "Kafka refuses the group's offsets, which stay behind the ledger; no record is lost or read twice: {words}"
        );
    }

    /// Shows whether the group has given an assignment, and says so where it is time.
    pub(super) fn look_at_group(&mut self) {
        let (pipeline, source) = (&*self.run.pipeline.name, self.number);
        let Some(refusal) = self.membership.waiting().map(|refusal| refusal.cloned()) else {
            return self.run.progress.waits_for_group(source, None);
        };
        let broker = self.broker.as_ref().expect("it is taken only when the source has ended, and then nobody looks");
        let why = refusal.clone().unwrap_or_else(|| broker.no_answer());
        let waiting = Waiting { refused: refusal.is_some(), reason: why.to_string() };
        if self.membership.is_to_be_said(Instant::now()) {
            let reason = &waiting.reason;
            match why {
                NotJoined::NoAnswer { .. } => {
                    tracing::warn!(pipeline, source, %reason, "nothing is read yet: no assignment by the group");
                }
                // The client's context says it.
                NotJoined::Denied(_) => {}
                _ => tracing::error!(pipeline, source, %reason, "the group refuses this consumer, retrying"),
            }
        }
        self.run.progress.waits_for_group(source, Some(waiting));
    }

    /// The group has given an assignment.
    pub(super) fn joined(&mut self) {
        if let Some(waited) = self.membership.assigned(Instant::now()) {
            let (pipeline, seconds) = (&*self.run.pipeline.name, waited.as_secs());
            tracing::info!(pipeline, source = self.number, seconds, "the group has given an assignment");
        }
        self.look_at_group();
    }
}
