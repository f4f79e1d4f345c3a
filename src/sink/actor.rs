//! The last stage of a lane: batches by window in, files and ledger entries out.
//!
//! The actor is thin: [`Work`] does what a message asks on a blocking thread (encoding), one job at a time; commits go
//! on beside the jobs, and one that fails ends the lane at the next batch, drain or tick. A batch is answered as soon as
//! its job has started, so that the next batch is decoded beside it; whoever comes next waits for the job, and an error in
//! it ends the lane then, or at the next tick.

use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, AtomicResponse, Context,
    ContextFutureSpawner as _, Handler, WrapFuture as _,
};
use tokio::task::{JoinHandle, spawn_blocking};

use super::work::Work;
use crate::flow::lane::{Abandon, Ended, LaneError, Reply, Watch};
use crate::flow::messages::{Drain, WindowedBatch};
use crate::model::Range;
use crate::model::Reason;

/// How often the age of what is uncommitted is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Writes one partition's rows and commits them.
pub struct Sink {
    lane: State,
    /// The range of the batch before; the next one follows it.
    range: Range,
    watch: Watch,
}

/// What a job gives back: the lane's files, if the lane can go on.
type Outcome = Result<Box<Work>, LaneError>;

/// Where the lane's files are.
enum State {
    /// Here: nothing is being done.
    Idle(Box<Work>),
    /// With a job on a blocking thread.
    Busy(JoinHandle<Outcome>),
    /// With a future of this actor, which keeps every other message out until it puts them back.
    Taken,
}

impl State {
    /// The lane's files, once the job is done.
    async fn settle(self) -> Result<Box<Work>, LaneError> {
        match self {
            State::Idle(work) => Ok(work),
            State::Busy(job) => job.await.map_err(|_| LaneError::Panicked("sink"))?,
            State::Taken => unreachable!("the actor's future keeps other messages out while it has the lane's files"),
        }
    }
}

impl Sink {
    /// A sink of a lane that starts at `position`.
    pub fn new(work: Work, position: i64, watch: Watch) -> Self {
        Sink { lane: State::Idle(Box::new(work)), range: Range { from: position, to: position }, watch }
    }

    /// Puts the lane's files back, or ends the lane.
    fn settled(&mut self, state: Result<State, LaneError>, ctx: &mut Context<Self>) -> Reply {
        match state {
            Ok(state) => {
                self.lane = state;
                Ok(())
            }
            Err(error) => {
                self.watch.report(error);
                ctx.stop();
                Err(Ended)
            }
        }
    }

    /// Notices a job that failed, and commits what is old enough.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        // A tick also comes while a future of this actor has the lane's files.
        if matches!(self.lane, State::Taken) || matches!(&self.lane, State::Busy(job) if !job.is_finished()) {
            return;
        }
        let before = std::mem::replace(&mut self.lane, State::Taken);
        async move {
            let mut work = before.settle().await?;
            work.look()?;
            Ok(match work.due() {
                Some(reason) => State::Busy(spawn_blocking(move || Job::Commit(reason).run(work))),
                None => State::Idle(work),
            })
        }
        .into_actor(self)
        .map(|state, actor, ctx| {
            // Why is told by the watch.
            let _ = actor.settled(state, ctx);
        })
        .wait(ctx);
    }
}

/// What a job is to do.
enum Job {
    /// Write a batch, and begin commits where the roll rules say.
    Write(WindowedBatch),
    /// Begin to commit everything.
    Commit(Reason),
    /// Commit everything, and wait until that is done.
    Finish(Reason),
}

impl Job {
    fn run(self, mut work: Box<Work>) -> Outcome {
        match work.timed(|work| self.act(work)) {
            Ok(()) => Ok(work),
            Err(error) => {
                // What is under way ends before the lane does, so that its next start doesn't race it.
                let _ = work.settle();
                Err(error)
            }
        }
    }

    fn act(self, work: &mut Work) -> Result<(), LaneError> {
        match self {
            Job::Write(batch) => work.write(batch),
            Job::Commit(reason) => work.commit(reason),
            Job::Finish(reason) => {
                work.commit(reason)?;
                work.settle()
            }
        }
    }
}

impl Actor for Sink {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, Self::tick);
    }
}

impl Handler<WindowedBatch> for Sink {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, batch: WindowedBatch, _: &mut Context<Self>) -> Self::Result {
        self.range = self.range.follow(batch.range);
        let before = std::mem::replace(&mut self.lane, State::Taken);
        let start = async move {
            let work = before.settle().await?;
            Ok(State::Busy(spawn_blocking(move || Job::Write(batch).run(work))))
        };
        AtomicResponse::new(Box::pin(start.into_actor(self).map(|state, actor, ctx| actor.settled(state, ctx))))
    }
}

impl Handler<Abandon> for Sink {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Drain> for Sink {
    type Result = AtomicResponse<Self, Reply>;

    fn handle(&mut self, drain: Drain, _: &mut Context<Self>) -> Self::Result {
        let before = std::mem::replace(&mut self.lane, State::Taken);
        let commit = async move {
            let work = before.settle().await?;
            let commit = State::Busy(spawn_blocking(move || Job::Finish(drain.reason).run(work)));
            commit.settle().await.map(State::Idle)
        };
        AtomicResponse::new(Box::pin(commit.into_actor(self).map(|state, actor, ctx| actor.settled(state, ctx))))
    }
}
