//! The second stage of a lane: raw batches in, checked batches out.

use actix::dev::ToEnvelope;
use actix::{Actor, ActorFutureExt as _, Addr, AtomicResponse, Context, Handler, Message, WrapFuture as _};

use super::Checker;
use crate::flow::lane::{LaneError, Watch, answer, pass_on};
use crate::flow::messages::{CheckedBatch, Drain, Idle, RawBatch};
use crate::flow::meters::Meter;
use crate::model::Range;
use crate::window::Windower;

/// Decodes and checks one partition's records.
pub struct Validator {
    checker: Checker,
    /// The range of the batch before; the next one follows it.
    range: Range,
    windower: Addr<Windower>,
    watch: Watch,
    meter: Meter,
}

impl Validator {
    /// A validator of a lane that starts at `position`.
    pub fn new(checker: Checker, position: i64, windower: Addr<Windower>, (watch, meter): (Watch, Meter)) -> Self {
        Validator { checker, range: Range { from: position, to: position }, windower, watch, meter }
    }
}

impl Actor for Validator {
    type Context = Context<Self>;
}

impl Handler<RawBatch> for Validator {
    type Result = AtomicResponse<Self, Result<(), LaneError>>;

    fn handle(&mut self, raw: RawBatch, _: &mut Context<Self>) -> Self::Result {
        self.range = self.range.follow(raw.range);
        let RawBatch { range, last, read_at, records, credit } = raw;
        let records = self.meter.busy(|| self.checker.check(&self.watch.partition, &records));
        self.pass(CheckedBatch { range, last, read_at, records, credit })
    }
}

impl Validator {
    /// Passes on what this stage has no part in, in its place among the batches.
    fn pass<M>(&mut self, message: M) -> AtomicResponse<Self, Result<(), LaneError>>
    where
        M: Message<Result = Result<(), LaneError>> + Send + 'static,
        Windower: Handler<M>,
        Context<Windower>: ToEnvelope<Windower, M>,
    {
        let sent = self.windower.send(message);
        let meter = self.meter.clone();
        AtomicResponse::new(Box::pin(
            async move { answer(meter.back_pressured(sent).await) }
                .into_actor(self)
                .map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}

impl Handler<Idle> for Validator {
    type Result = AtomicResponse<Self, Result<(), LaneError>>;

    fn handle(&mut self, idle: Idle, _: &mut Context<Self>) -> Self::Result {
        self.pass(idle)
    }
}

impl Handler<Drain> for Validator {
    type Result = AtomicResponse<Self, Result<(), LaneError>>;

    fn handle(&mut self, drain: Drain, _: &mut Context<Self>) -> Self::Result {
        self.pass(drain)
    }
}
