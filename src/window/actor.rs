//! The third stage of a lane: checked batches in, batches by window out.

use std::time::Instant;

use actix::{Actor, ActorFutureExt as _, AtomicResponse, Context, Handler, WrapFuture as _};

use super::Windows;
use crate::base::credits::Credit;
use crate::flow::lane::{Next, Reply, Start, Watch, answer, pass_on};
use crate::flow::messages::{CheckedBatch, Drain, Idle, WindowedBatch};
use crate::flow::meters::Meter;
use crate::model::Range;
use crate::model::Reason;
use crate::model::window::ClosedBy;

/// Gives each row of one partition its window.
pub struct Windower {
    windows: Box<dyn Windows>,
    /// The range of the batch before; the next one follows it.
    range: Range,
    next: Next<WindowedBatch>,
    meter: Meter,
    /// Reports the end of this stage when it is dropped.
    _watch: Watch,
}

impl Windower {
    /// A windower of a lane that starts at `position` with the windows as they were there.
    pub fn new(lane: Start<Box<dyn Windows>>, next: Next<WindowedBatch>) -> Self {
        let Start { of, position, watch, meter } = lane;
        Windower { windows: of, range: Range { from: position, to: position }, next, meter, _watch: watch }
    }
}

impl Actor for Windower {
    type Context = Context<Self>;
}

impl Handler<CheckedBatch> for Windower {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, checked: CheckedBatch, _: &mut Context<Self>) -> Self::Result {
        self.range = self.range.follow(checked.range);
        let CheckedBatch { range, last, read_at, records, credit } = checked;
        let parts = self.meter.busy(|| self.windows.assign(range, records));
        let sent = self.next.batches.send(WindowedBatch { range, last, read_at, parts, credit });
        let meter = self.meter.clone();
        AtomicResponse::new(Box::pin(
            async move { answer(meter.back_pressured(sent).await) }
                .into_actor(self)
                .map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}

impl Handler<Idle> for Windower {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, idle: Idle, _: &mut Context<Self>) -> Self::Result {
        let position = self.range.to;
        let closed = self.windows.close(position, idle.to, ClosedBy::Idle).map(|part| WindowedBatch {
            range: part.range,
            last: None,
            read_at: Instant::now(),
            parts: vec![part],
            credit: Credit::none(),
        });
        let Next { batches, drain } = self.next.clone();
        let passed = async move {
            let Some(batch) = closed else { return Ok(()) };
            // An entry of its own: the ledger tells windows that rows have closed from those that quiet closed.
            answer(drain.send(Drain { reason: Reason::Idle }).await)?;
            answer(batches.send(batch).await)?;
            answer(drain.send(Drain { reason: Reason::Idle }).await)
        };
        AtomicResponse::new(Box::pin(passed.into_actor(self).map(|reply, _, ctx| pass_on(reply, ctx))))
    }
}

impl Handler<Drain> for Windower {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, drain: Drain, _: &mut Context<Self>) -> Self::Result {
        let sent = self.next.drain.send(drain);
        AtomicResponse::new(Box::pin(
            async move { answer(sent.await) }.into_actor(self).map(|reply, _, ctx| pass_on(reply, ctx)),
        ))
    }
}
