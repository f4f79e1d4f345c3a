//! The first stage: owns the poll thread and its lanes. What becomes of a lane is decided in `lanes.rs`; this tells it what
//! happens, and does what it decides.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, StreamHandler,
    WrapFuture as _,
};
use futures_util::Stream;
use futures_util::stream::poll_fn;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::confirm::Confirm;
use super::control::Requests;
use super::ending::{Close, Done};
use super::lanes::{Action, Draining, LOST, LaneId, Lanes, Then, Why};
use super::poll_thread::{Command, Event, PollThread, Setup, Sizes};
use super::quiet;
use super::quiet::quiet;
use super::statistics;
use super::trouble::Checking;
use super::untold::Untold;
use crate::base::panics;
use crate::base::words::chain;
use crate::flow::lane::{Lane, LaneEnded, MakeLane, answer};
use crate::flow::messages::{Committed, Drain, Idle, RawBatch};
use crate::flow::run::Run;
use crate::kafka::client::{Bounds, Broker, Rebalance};
use crate::kafka::membership::Membership;
use crate::ledger::Others;
use crate::model::Partition;
use crate::model::Reason;

/// A log line of a lane: level, run, partition, and then as tracing's.
macro_rules! log {
    ($level:ident, $run:expr, $of:expr, $($rest:tt)+) => {
        tracing::$level!(pipeline = %$run.pipeline.name, topic = %$of.topic, partition = $of.partition, $($rest)+)
    };
}

pub(super) use log;

/// How often Kafka is told how far the ledger is, and the group is looked at.
const TELL_KAFKA: Duration = Duration::from_secs(1);
/// How long an end may wait for Kafka to take over the last positions. What it refuses for longer,
/// the next start tells.
pub(super) const TELL_AT_END: Duration = Duration::from_secs(3);
/// How often a source that ends looks whether its last lanes have drained.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the consumer may take to leave its group.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is made sure that a topic wasn't deleted and made again: the client reads on in the new one.
const CHECK_TOPICS: Duration = Duration::from_secs(5);

/// Reads partitions of a pipeline with one consumer.
pub struct Source {
    pub(super) run: Arc<Run>,
    /// Taken when the source ends.
    pub(super) broker: Option<Broker>,
    pub(super) confirm: Arc<Confirm>,
    pub(super) make_lane: MakeLane,
    /// What quiet lanes know of other partitions' windows; none while they are looked for.
    others: Option<Others>,
    pub(super) number: usize,
    commands: Sender<Command>,
    pub(super) lanes: Lanes<Lane>,
    /// Positions that Kafka hasn't been told yet.
    pub(super) untold: Untold,
    /// Its place in the group; that of a run until the end waits for nothing.
    pub(super) membership: Membership,
    pub(super) checking: HashSet<Checking>,
    pub(super) checking_topics: bool,
    /// By when the poll thread is to be told to end, whatever Kafka answers.
    pub(super) closes_by: Option<Instant>,
    /// Whether it was told.
    pub(super) closing: bool,
    /// What people asked for.
    pub(super) requests: Requests,
    finished: Option<oneshot::Sender<Finished>>,
    failure: Option<String>,
}

/// How a source ended: the reason, where it wasn't asked to.
pub type Finished = Result<(), String>;

/// What a source is started with.
pub struct Launch {
    /// Its consumer.
    pub broker: Broker,
    /// Its number among those of the pipeline.
    pub number: usize,
    /// For a run until the end: what it reads, and up to where.
    pub until: Option<BTreeMap<Partition, Bounds>>,
    /// What lanes ask before they commit.
    pub confirm: Arc<Confirm>,
    /// Makes its lanes.
    pub lanes: MakeLane,
}

impl Source {
    /// Starts a source on the current arbiter: one consumer, one poll thread. The receiver gets the end of it.
    ///
    /// # Errors
    /// When its thread can't be made.
    pub fn launch(run: &Arc<Run>, launch: Launch) -> std::io::Result<(Addr<Source>, oneshot::Receiver<Finished>)> {
        let Launch { broker, number, until, confirm, lanes: make_lane } = launch;
        let (commands, told) = std::sync::mpsc::channel();
        let (tell, events) = mpsc::unbounded_channel();
        let sizes = Sizes { collecting_bytes: run.collecting_bytes, columns: run.pipeline.columns.len() };
        broker.share(run.credits.clone(), run.consumers);
        let setup = Setup {
            consumer: broker.consumer(),
            commands: told,
            events: tell,
            credits: run.credits.clone(),
            meters: run.meters.clone(),
            mark: run.dataset_id().to_owned(),
            sizes,
        };
        PollThread::spawn(setup, &run.pipeline.name, number)?;
        let ends = until.map(|until| until.into_iter().map(|(partition, bounds)| (partition, bounds.end)).collect());
        let (finished, end) = oneshot::channel();
        let source = Source {
            run: run.clone(),
            broker: Some(broker),
            confirm,
            make_lane,
            others: Some(Others::default()),
            number,
            commands,
            lanes: Lanes::new(run.restarts, ends),
            untold: Untold::default(),
            membership: Membership::default(),
            checking: HashSet::new(),
            checking_topics: false,
            closes_by: None,
            closing: false,
            requests: Requests::default(),
            finished: Some(finished),
            failure: None,
        };
        let address = Source::create(|ctx| {
            ctx.add_stream(stream(events));
            let mut source = source;
            if source.lanes.ends().is_none() {
                source.membership.waits(Instant::now());
                source.look_at_group();
            }
            source
        });
        Ok((address, end))
    }

    pub(super) fn command(&self, command: Command) {
        // The thread ends only after it was told to close; what is told after that has no one to act on it.
        let _ = self.commands.send(command);
    }

    pub(super) fn broker(&self) -> Broker {
        self.broker.clone().expect("it is taken only when the source has ended, and then nobody asks it")
    }

    /// Does what was decided.
    pub(super) fn perform(&mut self, actions: impl IntoIterator<Item = Action<Lane>>, ctx: &mut Context<Self>) {
        for action in actions {
            match action {
                Action::ReadLedgers { lanes, answers } => self.read_ledgers(lanes, answers, ctx),
                Action::Command(command) => self.command(command),
                Action::Drain { lanes, then } => self.drain(lanes, then, ctx),
                Action::RestartAfter { lane, after, reason } => {
                    let (partition, restart_ms) = (&lane.partition, after.as_millis());
                    log!(warn, self.run, partition, reason, restart_ms, "lane ended, it starts again from its ledger");
                    self.run.progress.restarts();
                    self.run.progress.fails(partition, &reason);
                    ctx.run_later(after, move |source, ctx| {
                        let actions = source.lanes.wait_is_over(&lane, Instant::now());
                        source.perform(actions, ctx);
                    });
                }
                Action::SayParked { partition, reason } => {
                    log!(error, self.run, partition, reason, "lane is parked; the others run on");
                    self.run.progress.parks(&partition, &reason);
                }
                Action::SayAskedAgain { partition } => log!(warn, self.run, partition, "{LOST}: asking again"),
                Action::SayOvertaken { partition, reason } => {
                    let words = "lane did not commit what it had, because another one did";
                    log!(warn, self.run, partition, reason, "{words}");
                }
                Action::SayFailedAtEnd { partition, reason } => self.failed_at_end(&partition, &reason),
                Action::Close => self.close(TELL_AT_END),
            }
        }
    }

    fn batch(&mut self, lane: &LaneId, batch: RawBatch) {
        let (to, last) = (batch.range.to, batch.records.offsets.last().copied());
        if let Some(lane) = self.lanes.handed(lane, to, last, Instant::now()) {
            self.run.progress.reads(batch.records.len(), batch.records.values.len());
            // Bounded by the credit that the batch carries, not by the mailbox; an error comes as LaneEnded.
            lane.batches.do_send(batch);
        }
    }

    /// Asks lanes to commit everything they have. What follows does when each has answered or is gone. They are kept until
    /// then: a lane whose addresses are dropped ends, and reports that it did.
    fn drain(&mut self, lanes: Vec<Draining<Lane>>, then: Then, ctx: &mut Context<Self>) {
        let ask = |lane: Draining<Lane>| (lane.lane.drain.send(Drain { reason: Reason::Drain }), lane);
        let draining: Vec<_> = lanes.into_iter().map(ask).collect();
        let (deadline, waits) = (self.run.drain, !matches!(then, Then::GiveBack(_)));
        let until = Instant::now() + deadline;
        let all = async move {
            let mut drained = Vec::new();
            for (reply, lane) in draining {
                // One that failed has said so itself, as any lane that ends does.
                if answer(reply.await).is_ok() {
                    drained.push(lane);
                }
            }
            drained
        };
        let drained = async move {
            match waits {
                true => all.await,
                // The group waits for its answer.
                false => tokio::time::timeout(deadline, all).await.unwrap_or_default(),
            }
        };
        ctx.spawn(drained.into_actor(self).map(move |drained, source, ctx| {
            source.lanes.drained(drained.iter().map(|lane| &lane.id));
            drop(drained);
            let actions = match then {
                // After the lanes' last Committed, which are in the mailbox by now.
                Then::LookWhetherDone => return ctx.notify(Done),
                Then::Close => return ctx.notify(Close),
                Then::GiveBack(partitions) => return source.give_back(partitions, until, ctx),
                Then::Restart { lane, reason } => source.lanes.restart_drained(&lane, &reason),
                Then::Park { lane, reason } => source.lanes.park_drained(&lane, &reason),
            };
            source.perform(actions, ctx);
        }));
    }

    fn rebalance(&mut self, rebalance: Rebalance, ctx: &mut Context<Self>) {
        self.run.progress.rebalances();
        let pipeline = &*self.run.pipeline.name;
        match rebalance {
            Rebalance::Assigned(partitions) => {
                tracing::info!(pipeline, partitions = partitions.len(), source = self.number, "partitions assigned");
                self.joined();
                let actions = self.lanes.start(partitions, true, Instant::now());
                self.perform(actions, ctx);
            }
            Rebalance::Revoked(partitions, true) => {
                tracing::warn!(
                    pipeline,
                    partitions = partitions.len(),
                    source = self.number,
                    "partitions lost, their lanes are dropped"
                );
                self.membership.waits(Instant::now());
                self.look_at_group();
                self.release(&partitions, false);
            }
            Rebalance::Revoked(partitions, false) => {
                tracing::info!(
                    pipeline,
                    partitions = partitions.len(),
                    source = self.number,
                    "partitions revoked, their lanes drain"
                );
                let actions = self.lanes.revoked(partitions);
                self.perform(actions, ctx);
            }
        }
    }

    /// Gives partitions back once no lane of theirs commits any more, at the latest at `until`.
    fn give_back(&mut self, partitions: Vec<Partition>, until: Instant, ctx: &mut Context<Self>) {
        if Instant::now() < until && self.lanes.any_drains_of(&partitions) {
            ctx.run_later(LOOK_AGAIN, move |source, ctx| source.give_back(partitions, until, ctx));
        } else {
            self.release(&partitions, true);
        }
    }

    /// Gives partitions back. What Kafka doesn't know of them is told while they are `ours`; if
    /// that is refused, whoever has them next tells it.
    fn release(&mut self, partitions: &[Partition], ours: bool) {
        let mut told = Vec::new();
        for partition in partitions {
            self.lanes.remove(partition);
            self.run.progress.leaves(partition);
            told.extend(self.untold.leaves(partition).filter(|_| ours).map(|position| (partition.clone(), position)));
        }
        self.command(Command::Commit(told));
        self.command(Command::Stop(partitions.to_vec()));
    }

    /// Memory is used up: the lane that holds the most commits.
    fn relieve(&mut self) {
        if let Some(lane) = self.lanes.relieve(|lane| lane.held.get()) {
            lane.commit.do_send(Drain { reason: Reason::Memory });
        }
    }

    /// Lanes that were handed no record for `idle`, and for which Kafka has none, close their windows.
    fn look_for_quiet(&mut self, idle: Duration, ctx: &mut Context<Self>) {
        let Some(others) = self.others.take_if(|_| !self.lanes.is_stopping()) else {
            return; // It is with the look before this one.
        };
        let lanes = self.lanes.idle(idle, Instant::now());
        if lanes.is_empty() {
            self.others = Some(others);
            return;
        }
        let (run, broker) = (self.run.clone(), self.broker());
        let asked = tokio::task::spawn_blocking(move || quiet(&run, &broker, others, lanes));
        ctx.spawn(asked.into_actor(self).map(|found, source, _| {
            let (found, others) = found.unwrap_or_else(|panic| {
                let why = panics::blame();
                tracing::error!(%panic, why, "looking for quiet partitions panicked");
                Default::default()
            });
            source.others = Some(others);
            for (lane, to) in found {
                if let Some(running) = source.lanes.still_idle(&lane) {
                    running.idle.do_send(Idle { to });
                }
            }
        }));
    }
}

/// The events of a poll thread as a stream.
fn stream(mut events: mpsc::UnboundedReceiver<Event>) -> impl Stream<Item = Event> {
    poll_fn(move |ctx| events.poll_recv(ctx))
}

impl Actor for Source {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TELL_KAFKA, |source, _| {
            source.tell_kafka();
            source.close_if_told();
            if !source.lanes.is_stopping() {
                source.look_at_group();
                source.say_what_is_untold(false);
            }
        });
        ctx.run_interval(CHECK_TOPICS, Self::check_topics);
        if let Some(idle) = self.run.pipeline.window.kind().idle() {
            ctx.run_interval(quiet::often(idle), move |source, ctx| source.look_for_quiet(idle, ctx));
        }
        match self.lanes.ends() {
            Some(ends) => {
                let partitions = ends.keys().cloned().collect();
                let actions = self.lanes.start(partitions, true, Instant::now());
                self.perform(actions, ctx);
            }
            None => self.command(Command::Subscribe(self.run.pipeline.source.topics.clone())),
        }
    }
}

impl StreamHandler<Event> for Source {
    fn handle(&mut self, event: Event, ctx: &mut Context<Self>) {
        match event {
            Event::Batch { partition, generation, batch } => self.batch(&LaneId { partition, generation }, batch),
            Event::Rebalance(rebalance) => self.rebalance(rebalance, ctx),
            Event::End { partition, generation } => {
                let actions = self.lanes.end_reached(&LaneId { partition, generation });
                self.perform(actions, ctx);
            }
            Event::HandedOn => self.handed_on(ctx),
            Event::Told(answer) => self.told(answer),
            Event::NotJoined(refusal) => {
                // A run until the end joins no group; that Kafka refuses its offsets is said where
                // it is told of them.
                if self.lanes.ends().is_none() && !self.lanes.is_stopping() {
                    self.membership.refused(refusal, Instant::now());
                    self.look_at_group();
                }
            }
            // A client that fetches nothing does not hear where logs end.
            Event::Statistics(said) => {
                if self.lanes.is_empty() && !self.lanes.is_stopping() && statistics::joins(&said) {
                    // A member without partitions that is thrown out of its group is told nothing.
                    self.membership.waits(Instant::now());
                }
                statistics::tell(&self.run.progress, self.number, &said, !self.requests.paused);
            }
            Event::Full => self.relieve(),
            Event::Suspect(error, partition) => self.suspect(&error, partition, ctx),
            Event::Cut { start, how } => {
                let actions = self.lanes.cut(&start, how, Instant::now());
                self.perform(actions, ctx);
            }
            Event::Short { partition, generation } => {
                let lane = LaneId { partition, generation };
                if self.lanes.is_running(&lane) {
                    self.suspect(&KafkaError::PartitionEOF(lane.partition.partition), Some(lane.partition), ctx);
                }
            }
            Event::Damaged { partition, generation, reason } => {
                self.damaged(LaneId { partition, generation }, &reason, ctx);
            }
            Event::TooLarge { partition, generation, reason } => {
                self.too_large(LaneId { partition, generation }, &reason, ctx);
            }
            Event::Broken { partition, generation, reason } => {
                let actions = self.lanes.broken(&LaneId { partition, generation }, &reason);
                self.perform(actions, ctx);
            }
            Event::Fatal(error) => {
                tracing::error!(pipeline = %self.run.pipeline.name, %error, "the Kafka client can't go on");
                let hint = match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::FencedInstanceId) => {
                        "; another member has this group.instance.id: give each instance a serve.instance of its own"
                    }
                    _ => "",
                };
                self.failure.get_or_insert_with(|| format!("the Kafka client can't go on: {error}{hint}"));
                // It takes no commits any more.
                self.close(Duration::ZERO);
            }
        }
    }

    /// The poll thread has ended.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        if !self.lanes.is_stopping() {
            tracing::error!(pipeline = %self.run.pipeline.name, "the poll thread ended by itself");
            self.failure.get_or_insert_with(|| format!("the poll thread ended by itself; {}", panics::blame()));
            // From here on nobody asks the broker, which goes now.
            self.lanes.stop();
        }
        // Closing leaves the group, and waits for brokers that may be gone: neither the other pipelines nor the process do.
        let broker = self.broker.take();
        let (closed, close) = oneshot::channel();
        std::thread::spawn(move || {
            if let Some(broker) = broker {
                broker.close();
            }
            let _ = closed.send(());
        });
        let close = async move { drop(tokio::time::timeout(CLOSE_WITHIN, close).await) };
        ctx.spawn(close.into_actor(self).map(|(), source, ctx| {
            if let Some(finished) = source.finished.take() {
                let _ = finished.send(source.failure.take().map_or(Ok(()), Err));
            }
            ctx.stop();
        }));
    }
}

impl Handler<LaneEnded> for Source {
    type Result = ();

    fn handle(&mut self, ended: LaneEnded, ctx: &mut Context<Self>) {
        let LaneEnded { partition, generation, error } = ended;
        let actions = self.lanes.ended(&LaneId { partition, generation }, Why::from(&error), &chain(&error));
        self.perform(actions, ctx);
    }
}

impl Handler<Committed> for Source {
    type Result = ();

    fn handle(&mut self, committed: Committed, _: &mut Context<Self>) {
        let lane = LaneId { partition: committed.partition.clone(), generation: committed.generation };
        let current = self.lanes.committed(&lane);
        self.run.progress.commits(&committed, current);
        if current {
            self.untold.commits(&committed.partition, committed.to);
        }
    }
}
