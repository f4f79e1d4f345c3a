//! The first stage: owns the poll thread, makes a lane for each partition it is given, and keeps the lanes alive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, StreamHandler,
    WrapFuture as _,
};
use futures_util::Stream;
use futures_util::stream::poll_fn;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::confirm::Confirm;
use super::control::Requests;
use super::place::StartAt;
use super::poll_thread::{Command, Event, PollThread, Sizes};
use super::quiet;
use super::quiet::{Handed, quiet};
use super::start::{Known, SameTopics, StartError, read_ledger, transient};
use super::statistics;
use super::trouble::Checking;
use super::untold::Untold;
use crate::base::codes::Coded as _;
use crate::base::panics;
use crate::base::words::chain;
use crate::flow::lane::{Lane, LaneEnded, LaneError, MakeLane, NewLane, answer};
use crate::flow::messages::{Committed, Drain, Idle, RawBatch};
use crate::flow::progress::Waiting;
use crate::flow::run::Run;
use crate::flow::supervisor::{Decision, Failures};
use crate::kafka::client::{Bounds, Broker, Rebalance};
use crate::kafka::ffi::Answer;
use crate::kafka::membership::{Membership, NotJoined};
use crate::ledger::{LedgerError, Others};
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
const TELL_AT_END: Duration = Duration::from_secs(3);
/// How long the answer to an assignment may wait for ledgers; lanes that are later start one by one.
const ANSWER_GROUP_WITHIN: Duration = Duration::from_secs(5);
/// How often a source that ends looks whether its last lanes have drained.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the consumer may take to leave its group.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is made sure that a topic wasn't deleted and made again: the client reads on in the new one.
const CHECK_TOPICS: Duration = Duration::from_secs(5);

/// Reads partitions of a pipeline with one consumer.
pub struct Source {
    pub(super) run: Arc<Run>,
    /// Taken when the source ends.
    broker: Option<Broker>,
    confirm: Arc<Confirm>,
    make_lane: MakeLane,
    /// What quiet lanes know of other partitions' windows; none while they are looked for.
    others: Option<Others>,
    pub(super) number: usize,
    /// For a run until the end: what this source reads, and up to where. None: what the group assigns, without end.
    pub(super) until: Option<BTreeMap<Partition, Bounds>>,
    commands: Sender<Command>,
    pub(super) lanes: HashMap<Partition, Slot>,
    generations: u64,
    /// Positions that Kafka hasn't been told yet.
    untold: Untold,
    /// Its place in the group; that of a run until the end waits for nothing.
    membership: Membership,
    pub(super) checking: HashSet<Checking>,
    pub(super) checking_topics: bool,
    pub(super) stopping: bool,
    /// By when the poll thread is to be told to end, whatever Kafka answers.
    closes_by: Option<Instant>,
    /// Whether it was told.
    closing: bool,
    /// What people asked for.
    pub(super) requests: Requests,
    finished: Option<oneshot::Sender<Finished>>,
    failure: Option<String>,
}

/// A partition of this source.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) state: State,
    failures: Failures,
    /// Whether the brokers were found not to have the ledger's last record, and nothing was read since.
    pub(super) cut: bool,
    /// Whether the lane was asked to commit because memory is short, and hasn't yet.
    relieving: bool,
    /// The position after what it was handed last.
    position: i64,
    /// The position after the last record that any lane of the partition was handed, since this source has it. 0 where another
    /// instance has gone on with the partition.
    read_to: i64,
    /// When it was last handed a record, or asked whether it is quiet.
    quiet_since: Instant,
}

#[derive(Debug)]
pub(super) enum State {
    /// Its ledger is being read, now or after a wait.
    Starting,
    Running(Lane),
    /// It commits what is left; nothing more reaches it.
    Draining,
    /// Everything that this run wants of it is committed.
    Done,
    /// It was given up.
    Parked,
}

/// How a source ended: the reason, where it wasn't asked to.
pub type Finished = Result<(), String>;

/// Ask a source to commit everything, leave the group and end. [`Finished`] tells when that is
/// done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A lane that has committed everything it was given.
pub(super) struct Drained {
    partition: Partition,
    generation: u64,
    /// Keeps it from ending.
    _lane: Lane,
}

/// A partition whose ledger is being read.
struct Reading {
    partition: Partition,
    generation: u64,
    read: JoinHandle<Result<Known, StartError>>,
}

/// A partition whose ledger was read.
type Started = (Partition, u64, Result<Known, StartError>);

impl Reading {
    fn started(self, known: Result<Result<Known, StartError>, JoinError>) -> Started {
        let known = known.unwrap_or_else(|panic| Err(StartError::Panicked(panic.to_string())));
        (self.partition, self.generation, known)
    }
}

/// Lanes are to start (again).
struct Ready {
    started: Vec<Started>,
    /// Whether the group waits for an answer to its assignment.
    answers: bool,
}

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
        let (memory, mark) = ((run.credits.clone(), run.meters.clone()), run.dataset_id().to_owned());
        PollThread::spawn((&run.pipeline.name, number), broker.consumer(), (told, tell), memory, mark, sizes)?;
        let (finished, end) = oneshot::channel();
        let source = Source {
            run: run.clone(),
            broker: Some(broker),
            confirm,
            make_lane,
            others: Some(Others::default()),
            number,
            until,
            commands,
            lanes: HashMap::new(),
            generations: 0,
            untold: Untold::default(),
            membership: Membership::default(),
            checking: HashSet::new(),
            checking_topics: false,
            stopping: false,
            closes_by: None,
            closing: false,
            requests: Requests::default(),
            finished: Some(finished),
            failure: None,
        };
        let address = Source::create(|ctx| {
            ctx.add_stream(stream(events));
            let mut source = source;
            if source.until.is_none() {
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

    fn end_of(&self, partition: &Partition) -> Option<i64> {
        self.until.as_ref().and_then(|until| until.get(partition)).map(|bounds| bounds.end)
    }

    /// Reads the ledgers of some partitions, all at once, and then starts their lanes together.
    pub(super) fn start(&mut self, partitions: Vec<Partition>, answers: bool, ctx: &mut Context<Self>) {
        let (mut reading, topics) = (Vec::new(), Arc::new(SameTopics::default()));
        for partition in partitions {
            self.generations += 1;
            let generation = self.generations;
            let before = self.lanes.get(&partition);
            let (failures, cut, read_to) =
                before.map(|slot| (slot.failures, slot.cut, slot.read_to)).unwrap_or_default();
            let (position, quiet_since) = (0, Instant::now());
            let state = State::Starting;
            let slot = Slot { generation, state, failures, cut, relieving: false, position, read_to, quiet_since };
            self.lanes.insert(partition.clone(), slot);
            let (run, broker, of, topics) = (self.run.clone(), self.broker(), partition.clone(), topics.clone());
            let read = tokio::task::spawn_blocking(move || read_ledger(&run, &broker, &of, &topics));
            reading.push(Reading { partition, generation, read });
        }
        let all = async move {
            // While the group waits for its answer nothing is fetched: a partition without a leader must not hold the others.
            let give_up_at = tokio::time::Instant::now() + ANSWER_GROUP_WITHIN;
            let (mut started, mut late) = (Vec::new(), Vec::new());
            for mut reading in reading {
                match tokio::time::timeout_at(give_up_at, &mut reading.read).await {
                    Ok(tip) => started.push(reading.started(tip)),
                    Err(_) => late.push(reading),
                }
            }
            (Ready { started, answers }, late)
        };
        ctx.spawn(all.into_actor(self).map(|(ready, late), source, ctx| {
            Self::ready(ready, source, ctx);
            for mut reading in late {
                let one = async move {
                    let tip = (&mut reading.read).await;
                    Ready { started: vec![reading.started(tip)], answers: false }
                };
                ctx.spawn(one.into_actor(source).map(Self::ready));
            }
        }));
    }

    fn ready(ready: Ready, source: &mut Self, ctx: &mut Context<Self>) {
        let mut starts = Vec::new();
        for (partition, generation, known) in ready.started {
            let current = source.lanes.get(&partition).is_some_and(|slot| slot.generation == generation);
            if !current || source.stopping {
                continue; // Revoked in the meantime.
            }
            match known {
                Ok(Known { tip, committed }) => {
                    source.untold.starts(&partition, tip.to, committed);
                    let end = source.end_of(&partition).map(|end| end.max(tip.to));
                    source.run.progress.starts(&partition, tip.to, end);
                    log!(info, source.run, partition, position = tip.to, sequence = tip.sequence, "lane starts");
                    if tip.lost > 0 {
                        let lost = tip.lost;
                        log!(warn, source.run, partition, lost, "lane goes on after offsets that a person gave up");
                        source.run.progress.loses(&partition, tip.to, tip.lost);
                    }
                    starts.push(StartAt {
                        partition: partition.clone(),
                        generation,
                        position: tip.to,
                        last: tip.last,
                        end,
                    });
                    let (position, address) = (tip.to, ctx.address());
                    let lane = (source.make_lane)(NewLane {
                        partition: partition.clone(),
                        generation,
                        tip,
                        committed: address.clone().recipient(),
                        ended: address.recipient(),
                    });
                    if let Some(slot) = source.lanes.get_mut(&partition) {
                        slot.state = State::Running(lane);
                        (slot.position, slot.quiet_since) = (position, Instant::now());
                    }
                }
                Err(error) if transient(&error) => source.failed(&partition, &chain(&error), ctx),
                Err(error) => source.park(&partition, &chain(&error)),
            }
        }
        match (ready.answers, starts.pop()) {
            (false, Some(start)) => source.command(Command::Restart(start)),
            (false, None) => {}
            (true, last) => {
                starts.extend(last);
                source.command(Command::Start(starts));
            }
        }
        source.finish_if_done();
    }

    /// A lane ended though it shouldn't have.
    pub(super) fn failed(&mut self, partition: &Partition, reason: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.lanes.get_mut(partition) else { return };
        slot.state = State::Starting;
        self.generations += 1;
        slot.generation = self.generations;
        match slot.failures.failed(&self.run.restarts) {
            Decision::Restart(after) => {
                let restart_ms = after.as_millis();
                log!(warn, self.run, partition, reason, restart_ms, "lane ended, it starts again from its ledger");
                self.run.progress.restarts();
                self.run.progress.fails(partition, reason);
                let (partition, generation) = (partition.clone(), slot.generation);
                ctx.run_later(after, move |source, ctx| {
                    if source.lanes.get(&partition).is_some_and(|slot| slot.generation == generation)
                        && !source.stopping
                    {
                        source.start(vec![partition], false, ctx);
                    }
                });
            }
            Decision::Park => {
                let times = self.run.restarts.failures_until_parked;
                self.park(
                    partition,
                    &format!("it failed {times} times in a row without a commit, the last time because: {reason}"),
                );
            }
        }
    }

    pub(super) fn park(&mut self, partition: &Partition, reason: &str) {
        log!(error, self.run, partition, reason, "lane is parked; the others run on");
        self.run.progress.parks(partition, reason);
        if let Some(slot) = self.lanes.get_mut(partition) {
            slot.state = State::Parked;
        }
        self.command(Command::Park(partition.clone()));
        self.finish_if_done();
    }

    fn batch(&mut self, partition: &Partition, generation: u64, batch: RawBatch) {
        if let Some(slot) = self.lanes.get_mut(partition)
            && let State::Running(lane) = &slot.state
            && slot.generation == generation
        {
            slot.position = batch.range.to;
            slot.cut = false;
            if let Some(last) = batch.records.offsets.last() {
                slot.quiet_since = Instant::now();
                slot.read_to = slot.read_to.max(last + 1);
            }
            self.run.progress.reads(batch.records.len(), batch.records.values.len());
            // Bounded by the credit that the batch carries, not by the mailbox; an error comes as LaneEnded.
            lane.batches.do_send(batch);
        }
    }

    /// Asks lanes to commit everything they have; the future ends when each has answered or is gone, and gives those that
    /// have committed. They are kept until then: a lane whose addresses are dropped ends, and reports that it did.
    pub(super) fn drain(&mut self, partitions: &[Partition]) -> impl Future<Output = Vec<Drained>> + 'static {
        let mut draining = Vec::new();
        for partition in partitions {
            if let Some(slot) = self.lanes.get_mut(partition)
                && matches!(slot.state, State::Running(_))
                && let State::Running(lane) = std::mem::replace(&mut slot.state, State::Draining)
            {
                let reply = lane.drain.send(Drain { reason: Reason::Drain });
                draining
                    .push((reply, Drained { partition: partition.clone(), generation: slot.generation, _lane: lane }));
            }
        }
        async move {
            let mut drained = Vec::new();
            for (reply, lane) in draining {
                // One that failed has said so itself, as any lane that ends does.
                if answer(reply.await).is_ok() {
                    drained.push(lane);
                }
            }
            drained
        }
    }

    /// Lanes have committed everything: from here on their end is none that needs a restart.
    pub(super) fn drained(&mut self, drained: Vec<Drained>) {
        for lane in &drained {
            if let Some(slot) = self.lanes.get_mut(&lane.partition)
                && slot.generation == lane.generation
            {
                slot.state = State::Done;
            }
        }
    }

    fn rebalance(&mut self, rebalance: Rebalance, ctx: &mut Context<Self>) {
        self.run.progress.rebalances();
        let pipeline = &*self.run.pipeline.name;
        match rebalance {
            Rebalance::Assigned(partitions) => {
                tracing::info!(pipeline, partitions = partitions.len(), source = self.number, "partitions assigned");
                self.joined();
                self.start(partitions, true, ctx);
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
                let drained = self.drain(&partitions);
                let deadline = self.run.drain;
                let until = Instant::now() + deadline;
                let drained = async move { tokio::time::timeout(deadline, drained).await.unwrap_or_default() };
                ctx.spawn(drained.into_actor(self).map(move |drained, source, ctx| {
                    source.drained(drained);
                    source.release_drained(partitions, until, ctx);
                }));
            }
        }
    }

    /// Gives partitions back once no lane of theirs commits any more, at the latest at `until`. A stop,
    /// or the end of a partition, may have made a lane drain before the group wanted it back.
    fn release_drained(&mut self, partitions: Vec<Partition>, until: Instant, ctx: &mut Context<Self>) {
        let drains = |partition| self.lanes.get(partition).is_some_and(|slot| matches!(slot.state, State::Draining));
        if Instant::now() < until && partitions.iter().any(drains) {
            ctx.run_later(LOOK_AGAIN, move |source, ctx| source.release_drained(partitions, until, ctx));
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

    /// A partition's end is reached: its lane commits and is done.
    fn end(&mut self, partition: Partition, generation: u64, ctx: &mut Context<Self>) {
        if self.lanes.get(&partition).is_none_or(|slot| slot.generation != generation) {
            return;
        }
        let drained = self.drain(std::slice::from_ref(&partition));
        ctx.spawn(drained.into_actor(self).map(move |drained, source, ctx| {
            source.drained(drained);
            // After the lane's last Committed, which is in the mailbox by now.
            ctx.notify(Done);
        }));
    }

    /// The lanes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter_map(|slot| match &slot.state {
            State::Running(lane) => Some(lane),
            _ => None,
        })
    }

    /// Whether no lane is starting or ending.
    pub(super) fn all_settled(&self) -> bool {
        !self.lanes.values().any(|slot| matches!(slot.state, State::Starting | State::Draining))
    }

    /// Memory is used up: the lane that holds the most commits.
    fn relieve(&mut self) {
        let running = self.lanes.values_mut().filter_map(|slot| match &slot.state {
            State::Running(lane) => Some((lane.held.get(), lane.clone(), &mut slot.relieving)),
            _ => None,
        });
        if let Some((bytes, lane, relieving)) = running.max_by_key(|(held, _, _)| *held)
            && bytes > 0
            && !*relieving
        {
            *relieving = true;
            lane.commit.do_send(Drain { reason: Reason::Memory });
        }
    }

    /// Lanes that were handed no record for `idle`, and for which Kafka has none, close their windows.
    fn look_for_quiet(&mut self, idle: Duration, ctx: &mut Context<Self>) {
        let Some(others) = self.others.take_if(|_| !self.stopping) else {
            return; // It is with the look before this one.
        };
        let (mut lanes, now) = (Vec::new(), Instant::now());
        for (partition, slot) in &mut self.lanes {
            if matches!(slot.state, State::Running(_)) && now - slot.quiet_since >= idle {
                slot.quiet_since = now;
                lanes.push(Handed {
                    partition: partition.clone(),
                    generation: slot.generation,
                    position: slot.position,
                });
            }
        }
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
                if let Some(slot) = source.lanes.get(&lane.partition)
                    && let State::Running(running) = &slot.state
                    && (slot.generation, slot.position) == (lane.generation, lane.position)
                {
                    running.idle.do_send(Idle { to });
                }
            }
        }));
    }

    fn tell_kafka(&mut self) {
        let due = self.untold.due(Instant::now());
        if !due.is_empty() {
            self.command(Command::Commit(due));
        }
    }

    /// Kafka's answer to what it was told.
    fn told(&mut self, answer: Answer) {
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
    fn say_what_is_untold(&mut self, ends: bool) {
        let Some((partitions, reason)) = self.untold.what_to_say(ends, Instant::now()) else { return };
        let (pipeline, group) = (&*self.run.pipeline.name, &*self.run.pipeline.source.group);
        let words = match (ends, &self.until) {
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
    fn joined(&mut self) {
        if let Some(waited) = self.membership.assigned(Instant::now()) {
            let (pipeline, seconds) = (&*self.run.pipeline.name, waited.as_secs());
            tracing::info!(pipeline, source = self.number, seconds, "the group has given an assignment");
        }
        self.look_at_group();
    }

    fn finish_if_done(&mut self) {
        let over = |slot: &Slot| matches!(slot.state, State::Done | State::Parked);
        if self.until.is_some() && !self.stopping && self.lanes.values().all(over) {
            self.close(TELL_AT_END);
        }
    }

    /// Says which records of a partition were read and not committed, once; whether there are any.
    fn tell_uncommitted(&mut self, partition: &Partition) -> bool {
        let Some(slot) = self.lanes.get_mut(partition) else { return false };
        let now = self.run.progress.lane(partition).unwrap_or_default();
        let (from, to) = (now.position, std::mem::take(&mut slot.read_to));
        if to <= from {
            return false;
        }
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

    /// Also lanes that have failed and wait for their next start have left records behind. One that is done has not.
    fn tell_all_uncommitted(&mut self) {
        let left = self.lanes.iter().filter(|(_, slot)| !matches!(slot.state, State::Done));
        let left: Vec<Partition> = left.map(|(partition, _)| partition.clone()).collect();
        for partition in &left {
            self.tell_uncommitted(partition);
        }
    }

    /// Tells Kafka the last positions, and leaves the group once it has taken them over, or after
    /// `patience`.
    fn close(&mut self, patience: Duration) {
        self.stopping = true;
        self.tell_all_uncommitted();
        self.run.progress.waits_for_group(self.number, None);
        self.closes_by.get_or_insert(Instant::now() + patience);
        self.tell_kafka();
        self.close_if_told();
    }

    fn close_if_told(&mut self) {
        let Some(by) = self.closes_by else { return };
        let over = self.untold.is_empty() || Instant::now() >= by;
        if over && !std::mem::replace(&mut self.closing, true) {
            self.say_what_is_untold(true);
            self.command(Command::Close);
        }
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
            if !source.stopping {
                source.look_at_group();
                source.say_what_is_untold(false);
            }
        });
        ctx.run_interval(CHECK_TOPICS, Self::check_topics);
        if let Some(idle) = self.run.pipeline.window.kind().idle() {
            ctx.run_interval(quiet::often(idle), move |source, ctx| source.look_for_quiet(idle, ctx));
        }
        match &self.until {
            Some(until) => self.start(until.keys().cloned().collect(), true, ctx),
            None => self.command(Command::Subscribe(self.run.pipeline.source.topics.clone())),
        }
    }
}

impl StreamHandler<Event> for Source {
    fn handle(&mut self, event: Event, ctx: &mut Context<Self>) {
        match event {
            Event::Batch { partition, generation, batch } => self.batch(&partition, generation, batch),
            Event::Rebalance(rebalance) => self.rebalance(rebalance, ctx),
            Event::End { partition, generation } => self.end(partition, generation, ctx),
            Event::HandedOn => self.handed_on(ctx),
            Event::Told(answer) => self.told(answer),
            Event::NotJoined(refusal) => {
                // A run until the end joins no group; that Kafka refuses its offsets is said where
                // it is told of them.
                if self.until.is_none() && !self.stopping {
                    self.membership.refused(refusal, Instant::now());
                    self.look_at_group();
                }
            }
            // A client that fetches nothing does not hear where logs end.
            Event::Statistics(said) => {
                if self.lanes.is_empty() && !self.stopping && statistics::joins(&said) {
                    // A member without partitions that is thrown out of its group is told nothing.
                    self.membership.waits(Instant::now());
                }
                statistics::tell(&self.run.progress, self.number, &said, !self.requests.paused);
            }
            Event::Full => self.relieve(),
            Event::Suspect(error, partition) => self.suspect(&error, partition, ctx),
            Event::Cut { start, how } => self.cut(&start, how, ctx),
            Event::Short { partition, generation } => {
                if self.is_running(&partition, generation) {
                    self.suspect(&KafkaError::PartitionEOF(partition.partition), Some(partition), ctx);
                }
            }
            Event::Damaged { partition, generation, reason } => self.damaged(partition, generation, reason, ctx),
            Event::TooLarge { partition, generation, reason } => self.too_large(partition, generation, reason, ctx),
            Event::Broken { partition, generation, reason } => {
                if self.is_running(&partition, generation) {
                    self.failed(&partition, &reason, ctx);
                }
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
        if !self.stopping {
            tracing::error!(pipeline = %self.run.pipeline.name, "the poll thread ended by itself");
            self.failure.get_or_insert_with(|| format!("the poll thread ended by itself; {}", panics::blame()));
            // From here on nobody asks the broker, which goes now.
            self.stopping = true;
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
        let Some(slot) = self.lanes.get(&ended.partition) else { return };
        if slot.generation != ended.generation || matches!(slot.state, State::Done | State::Parked) {
            return; // Another stage of the same lane has said so before, or it was done.
        }
        let (reason, code) = (chain(&ended.error), ended.error.code());
        // Whoever has written the entry goes on from there; nothing is left for this process to do.
        let fenced = matches!(ended.error, LaneError::Ledger(LedgerError::Fenced { .. }));
        if let Some(slot) = self.lanes.get_mut(&ended.partition).filter(|_| fenced) {
            slot.read_to = 0;
        }
        if self.stopping {
            if let Some(slot) = self.lanes.get_mut(&ended.partition) {
                slot.state = if fenced { State::Done } else { State::Parked };
            }
            if fenced {
                log!(
                    warn,
                    self.run,
                    ended.partition,
                    %code,
                    reason,
                    "lane did not commit what it had, because another one did"
                );
                return;
            }
            self.run.progress.fails(&ended.partition, &reason);
            if !self.tell_uncommitted(&ended.partition) {
                log!(error, self.run, ended.partition, %code, reason, "lane failed at its end, though no record was left");
                self.run.progress.ends_uncommitted();
                self.run.progress.parks(&ended.partition, &format!("it failed at its end: {reason}"));
            }
            return;
        }
        match &ended.error {
            // To start again would not help.
            LaneError::Unconfirmed { may_pass: false, .. } => self.park(&ended.partition, &reason),
            LaneError::Ledger(error) if error.needs_a_person() => self.park(&ended.partition, &reason),
            _ => self.failed(&ended.partition, &reason, ctx),
        }
    }
}

impl Handler<Committed> for Source {
    type Result = ();

    fn handle(&mut self, committed: Committed, _: &mut Context<Self>) {
        let current = self.lanes.get_mut(&committed.partition).filter(|slot| slot.generation == committed.generation);
        self.run.progress.commits(&committed, current.is_some());
        if let Some(slot) = current {
            slot.failures.committed();
            slot.relieving = false;
            self.untold.commits(&committed.partition, committed.to);
        }
    }
}

impl Handler<Stop> for Source {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.stopping = true;
        self.confirm.stop();
        let partitions: Vec<Partition> = self.lanes.keys().cloned().collect();
        let drained = self.drain(&partitions);
        ctx.spawn(drained.into_actor(self).map(|drained, source, ctx| {
            source.drained(drained);
            // After the lanes' last Committed, which are in the mailbox by now.
            ctx.notify(Close);
        }));
    }
}

/// A lane has come to its end: close the consumer, if all have.
#[derive(Message)]
#[rtype(result = "()")]
struct Done;

impl Handler<Done> for Source {
    type Result = ();

    fn handle(&mut self, _: Done, _: &mut Context<Self>) {
        self.finish_if_done();
    }
}

/// The lanes have drained: close the consumer.
#[derive(Message)]
#[rtype(result = "()")]
struct Close;

impl Handler<Close> for Source {
    type Result = ();

    fn handle(&mut self, close: Close, ctx: &mut Context<Self>) {
        // Lanes that the group took back commit what they have, too; their end is told like all others'.
        if self.lanes.values().any(|slot| matches!(slot.state, State::Draining)) {
            ctx.notify_later(close, LOOK_AGAIN);
            return;
        }
        self.close(TELL_AT_END);
    }
}
