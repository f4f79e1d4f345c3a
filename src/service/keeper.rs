//! One pipeline's life: it is started, held, drained and started again, as people want it and as its failures allow.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture,
    SpawnHandle, WrapFuture as _,
};

use super::board::{Board, Phase, Status};
use super::fleet::{Fleet, Left};
use super::step::{Is, Step, Wanted, step};
use crate::base::codes::{Code, Coded as _};
use crate::base::panics;
use crate::base::words::{chain, cut};
use crate::engine::topology;
use crate::engine::topology::{Arbiters, Running};
use crate::engine::{Limits, RunError, RunOptions, share};
use crate::flow::run::Numbers;
use crate::flow::supervisor::{Decision, Failures};
use crate::model::{Pipeline, Restart};

/// A run that lasted so long has not failed to start: its failures before are over.
const SETTLED: Duration = Duration::from_secs(60);

/// Bytes of a reason at the most: it is in every event and answer, and in the log.
const REASON_BYTES_MAX: usize = 16 << 10;

/// What all keepers share.
pub(super) struct Shared {
    pub(super) board: Board,
    pub(super) arbiters: Arbiters,
    pub(super) restarts: Restart,
    pub(super) drain: Duration,
    /// What one pipeline may use of the process's memory.
    pub(super) memory: AtomicUsize,
    /// This instance's name in consumer groups, where it has one.
    pub(super) instance: Option<String>,
}

/// Keeps one pipeline as it is wanted.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    fleet: Addr<Fleet>,
    file: PathBuf,
    /// The definition that is to run.
    pipeline: Arc<Pipeline>,
    wanted: Wanted,
    /// Whether its file is gone, or the service ends: that outranks what is wanted.
    leaving: bool,
    state: State,
    failures: Failures,
    reason: Option<String>,
    run: Option<Numbers>,
    starts: u64,
    /// How often it was held: tells the answer to one hold from that to another.
    holds: u64,
    /// Whether its last run ended before everything was committed that was read.
    left_uncommitted: bool,
}

enum State {
    Down,
    Waiting(SpawnHandle),
    Starting,
    Up {
        running: Running,
        flow: Flow,
        fingerprint: String,
    },
    /// Its sources end only while somebody has their addresses.
    Draining {
        _running: Running,
    },
}

/// Whether a pipeline that is up reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Reads,
    /// It reads no more, and commits what it has.
    Holding,
    /// It has committed all that it read.
    Held,
}

/// A pipeline's definition, as it is to be from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Define {
    pub(super) file: PathBuf,
    pub(super) pipeline: Pipeline,
}

/// What a person wants of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It is to run, from its ledger; at once, if it waits after a failure.
    Start,
    /// It is to commit what it has, leave its group, and stay down.
    Stop,
    /// It is to commit what was read, and read no more, but stay in its group.
    Pause,
    /// It is to read on.
    Resume,
}

impl From<Command> for Wanted {
    fn from(command: Command) -> Wanted {
        match command {
            Command::Start | Command::Resume => Wanted::Running,
            Command::Stop => Wanted::Stopped,
            Command::Pause => Wanted::Paused,
        }
    }
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Want(pub(super) Command);

/// The pipeline's file is gone, or the service ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

/// Commit everything that was read; whether all lanes did, or why nothing runs that could.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, Phase>")]
pub(super) struct FlushPipeline;

/// The number of pipelines has changed, and so each one's share of memory.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ShareMemory;

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        fleet: Addr<Fleet>,
        Define { file, pipeline }: Define,
        wanted: Option<Command>,
    ) -> Self {
        Keeper {
            shared,
            fleet,
            file,
            pipeline: Arc::new(pipeline),
            wanted: wanted.map_or(Wanted::Running, Wanted::from),
            leaving: false,
            state: State::Down,
            failures: Failures::default(),
            reason: None,
            run: None,
            starts: 0,
            holds: 0,
            left_uncommitted: false,
        }
    }

    /// Does what is to be done next.
    fn step(&mut self, ctx: &mut Context<Self>) {
        let is = match &self.state {
            State::Down => Is::Down,
            State::Waiting(_) => Is::Waiting,
            State::Starting => Is::Starting,
            State::Up { flow, fingerprint, .. } => {
                Is::Up { held: *flow != Flow::Reads, changed: *fingerprint != self.pipeline.fingerprint }
            }
            State::Draining { .. } => Is::Draining,
        };
        match step(is, if self.leaving { Wanted::Gone } else { self.wanted }) {
            Step::Rest => {}
            Step::Start => self.start(ctx),
            Step::Hold => self.hold(ctx),
            Step::Release => self.release(),
            Step::Drain => self.drain(),
            Step::Leave => {
                ctx.stop();
                return;
            }
        }
        self.show();
    }

    /// What it waits for after a failure may have changed: it need not wait any longer.
    fn wait_no_longer(&mut self, ctx: &mut Context<Self>) {
        if let State::Waiting(timer) = self.state {
            ctx.cancel_future(timer);
            self.state = State::Down;
        }
    }

    fn start(&mut self, ctx: &mut Context<Self>) {
        self.state = State::Starting;
        self.starts += 1;
        let mut pipeline = (*self.pipeline).clone();
        if let Some(instance) = &self.shared.instance {
            let name = format!("{instance}-{}", pipeline.name);
            pipeline.source.client.entry("group.instance.id".to_owned()).or_insert(name);
        }
        let limits = Limits { memory: self.shared.memory.load(Ordering::Relaxed), drain: self.shared.drain };
        let (shared, fingerprint) = (self.shared.clone(), pipeline.fingerprint.clone());
        let options = RunOptions { limits, restarts: shared.restarts, until_end: false };
        let started = async move { topology::start(pipeline, options, &shared.arbiters).await };
        ctx.spawn(started.into_actor(self).map(|started, keeper, ctx| keeper.started(started, fingerprint, ctx)));
    }

    fn started(&mut self, started: Result<Running, RunError>, fingerprint: String, ctx: &mut Context<Self>) {
        match started {
            Ok(mut running) => {
                let name = &self.pipeline.name;
                tracing::info!(pipeline = %name, dataset = %running.run.folder().display(), "pipeline runs");
                let (ends, run) = (running.take_ends(), running.run.clone());
                share(&run, self.shared.memory.load(Ordering::Relaxed));
                self.run = Some(run.numbers());
                self.reason = None;
                ctx.spawn(ends.into_actor(self).map(|reasons, keeper, ctx| keeper.ended(reasons, ctx)));
                let starts = self.starts;
                ctx.run_later(SETTLED, move |keeper, _| {
                    if keeper.starts == starts && matches!(keeper.state, State::Up { .. }) {
                        keeper.failures.committed();
                    }
                });
                self.state = State::Up { running, flow: Flow::Reads, fingerprint };
                self.step(ctx);
            }
            Err(error) => self.failed(chain(&error), Some(error.code()), ctx),
        }
    }

    /// Its sources have ended: because they were asked to, or for these reasons.
    fn ended(&mut self, reasons: Vec<String>, ctx: &mut Context<Self>) {
        let asked = matches!(self.state, State::Draining { .. });
        let lanes_left = self.run.as_ref().is_some_and(|run| run.progress.snapshot().uncommitted);
        self.left_uncommitted = lanes_left || !reasons.is_empty();
        match reasons.into_iter().next() {
            Some(reason) if !asked => self.failed(reason, None, ctx),
            None if !asked => self.failed(format!("it ended by itself; {}", panics::blame()), None, ctx),
            _ => {
                tracing::info!(pipeline = %self.pipeline.name, "pipeline has stopped");
                self.state = State::Down;
                self.step(ctx);
            }
        }
    }

    fn failed(&mut self, reason: String, code: Option<Code>, ctx: &mut Context<Self>) {
        let reason = cut(&reason, REASON_BYTES_MAX).into_owned();
        let again = match self.failures.failed(&self.shared.restarts) {
            Decision::Restart(after) => after,
            Decision::Park => unreachable!("a service's restarts are for ever"),
        };
        if self.reason.as_ref() != Some(&reason) {
            let code = code.map(Code::id);
            tracing::error!(pipeline = %self.pipeline.name, code, reason, retry_ms = again.as_millis(), "pipeline failed, it is tried again");
        }
        self.reason = Some(reason);
        let timer = ctx.run_later(again, |keeper, ctx| {
            if matches!(keeper.state, State::Waiting(_)) {
                keeper.state = State::Down;
                keeper.step(ctx);
            }
        });
        self.state = State::Waiting(timer);
        self.step(ctx);
    }

    fn hold(&mut self, ctx: &mut Context<Self>) {
        let State::Up { running, flow, .. } = &mut self.state else { return };
        *flow = Flow::Holding;
        self.holds += 1;
        let (held, hold) = (running.pause(), self.holds);
        ctx.spawn(held.into_actor(self).map(move |committed, keeper, ctx| {
            let State::Up { flow: flow @ Flow::Holding, .. } = &mut keeper.state else { return };
            if keeper.holds != hold {
                return;
            }
            if committed {
                *flow = Flow::Held;
                keeper.show();
            } else {
                // A lane is just starting, or failed and starts again from its ledger.
                ctx.run_later(keeper.shared.restarts.backoff_min, move |keeper, ctx| {
                    if keeper.holds == hold {
                        keeper.hold(ctx);
                    }
                });
            }
        }));
    }

    fn release(&mut self) {
        if let State::Up { running, flow, .. } = &mut self.state {
            *flow = Flow::Reads;
            self.holds += 1;
            running.resume();
        }
    }

    fn drain(&mut self) {
        if let State::Up { running, .. } = std::mem::replace(&mut self.state, State::Down) {
            running.stop();
            self.state = State::Draining { _running: running };
        }
    }

    fn phase(&self) -> Phase {
        match (&self.state, self.wanted) {
            (State::Down, _) => Phase::Stopped,
            (State::Waiting(_), Wanted::Stopped) => Phase::Stopped,
            (State::Waiting(_), _) => Phase::Failed,
            (State::Starting, _) => Phase::Starting,
            (State::Up { flow: Flow::Reads, .. }, _) => Phase::Running,
            (State::Up { flow: Flow::Holding, .. }, _) => Phase::Pausing,
            (State::Up { flow: Flow::Held, .. }, _) => Phase::Paused,
            (State::Draining { .. }, _) => Phase::Stopping,
        }
    }

    fn show(&self) {
        let status = Status {
            file: self.file.clone(),
            pipeline: self.pipeline.clone(),
            phase: self.phase(),
            reason: self.reason.clone(),
            run: self.run.clone(),
            starts: self.starts,
        };
        self.shared.board.show(&self.pipeline.name, status);
    }
}

/// However it ends: as it was told to, or by a panic.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.board.remove(&self.pipeline.name);
        let committed = matches!(self.state, State::Down | State::Waiting(_)) && !self.left_uncommitted;
        self.fleet.do_send(Left { pipeline: self.pipeline.name.clone(), committed });
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(ctx);
    }
}

impl Handler<Define> for Keeper {
    type Result = ();

    fn handle(&mut self, define: Define, ctx: &mut Context<Self>) {
        self.file = define.file;
        let changed = self.pipeline.fingerprint != define.pipeline.fingerprint;
        self.pipeline = Arc::new(define.pipeline);
        self.leaving = false;
        if changed {
            self.wait_no_longer(ctx);
        }
        self.step(ctx);
    }
}

impl Handler<Want> for Keeper {
    type Result = ();

    fn handle(&mut self, Want(command): Want, ctx: &mut Context<Self>) {
        self.wanted = command.into();
        if command == Command::Start {
            self.wait_no_longer(ctx);
        }
        self.step(ctx);
    }
}

impl Handler<Leave> for Keeper {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        self.leaving = true;
        self.step(ctx);
    }
}

impl Handler<FlushPipeline> for Keeper {
    type Result = ResponseFuture<Result<bool, Phase>>;

    fn handle(&mut self, _: FlushPipeline, _: &mut Context<Self>) -> Self::Result {
        match &self.state {
            State::Up { running, .. } => {
                let flushed = running.flush();
                Box::pin(async move { Ok(flushed.await) })
            }
            _ => {
                let phase = self.phase();
                Box::pin(async move { Err(phase) })
            }
        }
    }
}

impl Handler<ShareMemory> for Keeper {
    type Result = ();

    fn handle(&mut self, _: ShareMemory, _: &mut Context<Self>) {
        if let State::Up { running, .. } = &self.state {
            share(&running.run, self.shared.memory.load(Ordering::Relaxed));
        }
    }
}
