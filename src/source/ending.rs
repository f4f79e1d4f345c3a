//! How a source ends: its lanes commit, Kafka is told how far they are, and the poll thread leaves the group.

use std::time::{Duration, Instant};

use actix::{AsyncContext as _, Context, Handler, Message};

use super::actor::{LOOK_AGAIN, Source, TELL_AT_END, log};
use super::poll_thread::Command;
use crate::model::Partition;

/// Ask a source to commit everything, leave the group and end. [`Finished`](super::Finished) tells when that is
/// done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Source {
    /// A lane failed while the source ends. Says which records it leaves behind, and where it leaves none, that it failed.
    pub(super) fn failed_at_end(&mut self, partition: &Partition, reason: &str) {
        self.run.progress.fails(partition, reason);
        if !self.tell_uncommitted(partition) {
            log!(error, self.run, partition, reason, "lane failed at its end, though no record was left");
            self.run.progress.ends_uncommitted();
            self.run.progress.parks(partition, &format!("it failed at its end: {reason}"));
        }
    }

    /// Says which records of a partition were read and not committed, once; whether there are any.
    fn tell_uncommitted(&mut self, partition: &Partition) -> bool {
        let now = self.run.progress.lane(partition).unwrap_or_default();
        let from = now.position;
        let Some(to) = self.lanes.uncommitted(partition, from) else { return false };
        let reason = now.parked.as_ref().or(now.failing.as_ref());
        let reason = reason.map_or("its lane had just started again", String::as_str);
        let words = "records were read but not committed; they are read again at the next start";
        let why = if now.parked.is_some() { "its lane was parked" } else { reason };
        log!(error, self.run, partition, position = from, read_to = to, reason = why, "{words}");
        self.run.progress.ends_uncommitted();
        let uncommitted = format!("it read positions {from} to {} but did not commit them: {reason}", to - 1);
        self.run.progress.parks(partition, &uncommitted);
        true
    }

    fn tell_all_uncommitted(&mut self) {
        for partition in &self.lanes.partitions() {
            self.tell_uncommitted(partition);
        }
    }

    /// Tells Kafka the last positions, and leaves the group once it has taken them over, or after
    /// `patience`.
    pub(super) fn close(&mut self, patience: Duration) {
        self.lanes.stop();
        self.tell_all_uncommitted();
        self.run.progress.waits_for_group(self.number, None);
        self.closes_by.get_or_insert(Instant::now() + patience);
        self.tell_kafka();
        self.close_if_told();
    }

    pub(super) fn close_if_told(&mut self) {
        let Some(by) = self.closes_by else { return };
        let over = self.untold.is_empty() || Instant::now() >= by;
        if over && !std::mem::replace(&mut self.closing, true) {
            self.say_what_is_untold(true);
            self.command(Command::Close);
        }
    }
}

impl Handler<Stop> for Source {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.confirm.stop();
        let actions = self.lanes.stop_all();
        self.perform(actions, ctx);
    }
}

/// A lane has come to its end: close the consumer, if all have.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Done;

impl Handler<Done> for Source {
    type Result = ();

    fn handle(&mut self, _: Done, ctx: &mut Context<Self>) {
        let action = self.lanes.close_if_done();
        self.perform(action, ctx);
    }
}

/// The lanes have drained: close the consumer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Close;

impl Handler<Close> for Source {
    type Result = ();

    fn handle(&mut self, close: Close, ctx: &mut Context<Self>) {
        // Lanes that the group took back commit what they have, too; their end is told like all others'.
        if self.lanes.any_drains() {
            ctx.notify_later(close, LOOK_AGAIN);
            return;
        }
        self.close(TELL_AT_END);
    }
}
