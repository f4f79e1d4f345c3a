//! The second stage of a lane: raw batches in, checked batches out.

use actix::{Actor, ActorFutureExt as _, Addr, AtomicResponse, Context, Handler, WrapFuture as _};

use super::Checker;
use crate::pipeline::lane::{LaneError, Watch, answer, pass_on};
use crate::pipeline::messages::{CheckedBatch, Drain, Range, RawBatch};
use crate::window::Windower;

/// Decodes and checks one partition's records.
pub struct Validator {
    checker: Checker,
    /// The range of the batch before; the next one follows it.
    range: Range,
    windower: Addr<Windower>,
    watch: Watch,
}

impl Validator {
    /// A validator of a lane that starts at `position`.
    pub fn new(checker: Checker, position: i64, windower: Addr<Windower>, watch: Watch) -> Self {
        Validator { checker, range: Range { from: position, to: position }, windower, watch }
    }
}

impl Actor for Validator {
    type Context = Context<Self>;
}

impl Handler<RawBatch> for Validator {
    type Result = AtomicResponse<Self, Result<(), LaneError>>;

    fn handle(&mut self, raw: RawBatch, _: &mut Context<Self>) -> Self::Result {
        self.range = self.range.follow(raw.range);
        let records = self.checker.check(&self.watch.partition, &raw.records);
        let batch = CheckedBatch { range: raw.range, leader_epoch: raw.leader_epoch, records, credit: raw.credit };
        let sent = self.windower.send(batch);
        AtomicResponse::new(Box::pin(
            async move { answer(sent.await) }.into_actor(self).map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}

impl Handler<Drain> for Validator {
    type Result = AtomicResponse<Self, Result<(), LaneError>>;

    fn handle(&mut self, drain: Drain, _: &mut Context<Self>) -> Self::Result {
        let sent = self.windower.send(drain);
        AtomicResponse::new(Box::pin(
            async move { answer(sent.await) }.into_actor(self).map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}
