//! The second stage of a lane: raw batches in, checked batches out.

use actix::prelude::RecipientRequest;
use actix::{Actor, ActorFutureExt as _, AtomicResponse, Context, Handler, Message, Recipient, WrapFuture as _};

use super::Checker;
use crate::flow::lane::{Next, Reply, Start, Watch, answer, pass_on};
use crate::flow::messages::{CheckedBatch, Drain, Idle, RawBatch};
use crate::flow::meters::Meter;
use crate::model::Range;

/// Decodes and checks one partition's records.
pub struct Validator {
    checker: Checker,
    /// The range of the batch before; the next one follows it.
    range: Range,
    next: Next<CheckedBatch>,
    /// The next stage takes the word that the partition is quiet.
    idle: Recipient<Idle>,
    watch: Watch,
    meter: Meter,
}

impl Validator {
    /// A validator of a lane that starts at `position`.
    pub fn new(lane: Start<Checker>, next: Next<CheckedBatch>, idle: Recipient<Idle>) -> Self {
        let Start { of, position, watch, meter } = lane;
        Validator { checker: of, range: Range { from: position, to: position }, next, idle, watch, meter }
    }
}

impl Actor for Validator {
    type Context = Context<Self>;
}

impl Handler<RawBatch> for Validator {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, raw: RawBatch, _: &mut Context<Self>) -> Self::Result {
        self.range = self.range.follow(raw.range);
        let RawBatch { range, last, read_at, records, credit } = raw;
        let records = self.meter.busy(|| self.checker.check(&self.watch.partition, &records));
        let sent = self.next.batches.send(CheckedBatch { range, last, read_at, records, credit });
        self.passed(sent)
    }
}

impl Validator {
    /// Passes on the answer of the next stage to what it was sent.
    fn passed<M>(&mut self, sent: RecipientRequest<M>) -> AtomicResponse<Self, Reply>
    where
        M: Message<Result = Reply> + Send + 'static,
    {
        let meter = self.meter.clone();
        AtomicResponse::new(Box::pin(
            async move { answer(meter.back_pressured(sent).await) }
                .into_actor(self)
                .map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}

impl Handler<Idle> for Validator {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, idle: Idle, _: &mut Context<Self>) -> Self::Result {
        let sent = self.idle.send(idle);
        self.passed(sent)
    }
}

impl Handler<Drain> for Validator {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, drain: Drain, _: &mut Context<Self>) -> Self::Result {
        let sent = self.next.drain.send(drain);
        self.passed(sent)
    }
}
