//! What becomes of a source's partitions: a pure state machine, without actors, threads and clocks.
//!
//! The source tells it what happens, with the time where that matters. It answers with [`Action`]s, which the source performs in
//! their order. Of each running lane it keeps something, `L`, that it knows nothing about. To drop that ends the lane.
//!
//! ```text
//!    given        its ledger is read          it is to commit           it has
//! ─────────► Starting ──────────► Running ──────────────────► Draining ────────► Done
//!              ▲   │                 │                           │
//!              └───┴── it failed ────┴───────────────────────────┤
//!                  └── no new start would help ──────────────────┴─────────────► Parked
//! ```
//!
//! **Invariant:** each start of a partition has a generation of its own. What is said of an older one changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::place::StartAt;
use super::poll_thread::{Command, Cut};
use super::quiet::Handed;
use super::start::{StartError, transient};
use crate::base::words::chain;
use crate::flow::lane::LaneError;
use crate::flow::supervisor::{Decision, Failures};
use crate::ledger::{LedgerError, Tip};
use crate::model::{Partition, Restart};

/// The partitions of a source.
#[derive(Debug)]
pub(super) struct Lanes<L> {
    slots: HashMap<Partition, Slot<L>>,
    /// The newest one.
    generations: u64,
    restarts: Restart,
    /// For a run until the end: what is read, and up to where. None: what the group assigns, without end.
    ends: Option<BTreeMap<Partition, i64>>,
    stopping: bool,
}

/// A partition of a source.
#[derive(Debug)]
struct Slot<L> {
    generation: u64,
    state: State<L>,
    failures: Failures,
    /// Whether the brokers were found not to have the ledger's last record, and nothing was read since.
    cut: bool,
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
enum State<L> {
    /// Its ledger is being read, now or after a wait.
    Starting,
    Running(L),
    /// It commits what is left; nothing more reaches it.
    Draining,
    /// Everything that this run wants of it is committed.
    Done,
    /// It was given up.
    Parked,
}

/// One of the lanes that a partition had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneId {
    pub(super) partition: Partition,
    pub(super) generation: u64,
}

/// What the source is to do.
#[derive(Debug)]
pub(super) enum Action<L> {
    /// Read the ledgers of these lanes, all at once. Then start them together.
    ReadLedgers {
        lanes: Vec<LaneId>,
        /// Whether the group waits for an answer to its assignment.
        answers: bool,
    },
    /// Tell the poll thread.
    Command(Command),
    /// Have these lanes commit everything. Then this follows.
    Drain { lanes: Vec<Draining<L>>, then: Then },
    /// Say that a lane ended, and call [`Lanes::wait_is_over`] after a while.
    RestartAfter { lane: LaneId, after: Duration, reason: String },
    /// Say that a lane is parked.
    SayParked { partition: Partition, reason: String },
    /// Say that the brokers lost records, and are asked once more.
    SayAskedAgain { partition: Partition },
    /// Say that another instance has committed what a lane had at its end.
    SayOvertaken { partition: Partition, reason: String },
    /// Say that a lane failed at its end, and which records it leaves behind.
    SayFailedAtEnd { partition: Partition, reason: String },
    /// Everything that this run wants is committed, or given up: end.
    Close,
}

/// A lane that is to commit everything.
#[derive(Debug)]
pub(super) struct Draining<L> {
    pub(super) id: LaneId,
    pub(super) lane: L,
}

/// What follows when lanes have drained.
#[derive(Debug)]
pub(super) enum Then {
    /// This run's end of the partition is reached: look whether that was the last one.
    LookWhetherDone,
    /// The group gets them back.
    GiveBack(Vec<Partition>),
    /// Start again from the ledger: what comes next can't be read now.
    Restart { lane: LaneId, reason: String },
    /// Leave it: what comes next needs a person.
    Park { lane: LaneId, reason: String },
    /// The source ends.
    Close,
}

/// What the error of an ended lane means for the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Another instance has written the entry, and goes on from there. Nothing is left for this one to do.
    Overtaken,
    /// To start again would not help.
    NeedsAPerson,
    /// It may not happen again.
    MayPass,
}

impl From<&LaneError> for Why {
    fn from(error: &LaneError) -> Self {
        match error {
            LaneError::Ledger(LedgerError::Fenced { .. }) => Why::Overtaken,
            LaneError::Unconfirmed { may_pass: false, .. } => Why::NeedsAPerson,
            LaneError::Ledger(error) if error.needs_a_person() => Why::NeedsAPerson,
            _ => Why::MayPass,
        }
    }
}

/// Says that the brokers no longer have what they showed.
pub(super) const LOST: &str = "the brokers lost records that they had shown, and that may have been read";

impl<L> Lanes<L> {
    /// None yet. `ends`: what a run until the end reads, and up to where.
    pub(super) fn new(restarts: Restart, ends: Option<BTreeMap<Partition, i64>>) -> Self {
        Lanes { slots: HashMap::new(), generations: 0, restarts, ends, stopping: false }
    }

    /// Whether no lane starts any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// From here on no lane starts.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// What a run until the end reads, and up to where.
    pub(super) fn ends(&self) -> Option<&BTreeMap<Partition, i64>> {
        self.ends.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn current(&mut self, lane: &LaneId) -> Option<&mut Slot<L>> {
        self.slots.get_mut(&lane.partition).filter(|slot| slot.generation == lane.generation)
    }

    /// Whether a lane is the newest one of its partition.
    fn is_current(&self, lane: &LaneId) -> bool {
        self.slots.get(&lane.partition).is_some_and(|slot| slot.generation == lane.generation)
    }

    /// Whether this lane runs, and is to run on.
    pub(super) fn is_running(&self, lane: &LaneId) -> bool {
        let running = |slot: &Slot<L>| matches!(slot.state, State::Running(_));
        !self.stopping && self.is_current(lane) && self.slots.get(&lane.partition).is_some_and(running)
    }

    /// The lanes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &L> {
        self.slots.values().filter_map(|slot| match &slot.state {
            State::Running(lane) => Some(lane),
            _ => None,
        })
    }

    /// Those that run: of one partition, or of all.
    pub(super) fn running_of(&self, of: Option<&Partition>) -> Vec<LaneId> {
        let running = self.slots.iter().filter(|(partition, slot)| {
            matches!(slot.state, State::Running(_)) && of.is_none_or(|of| of == *partition)
        });
        let id = |(partition, slot): (&Partition, &Slot<L>)| LaneId {
            partition: partition.clone(),
            generation: slot.generation,
        };
        running.map(id).collect()
    }

    /// The newest lane of a partition; generation 0 where there is none.
    pub(super) fn newest(&self, partition: &Partition) -> LaneId {
        let generation = self.slots.get(partition).map_or(0, |slot| slot.generation);
        LaneId { partition: partition.clone(), generation }
    }

    /// Whether no lane is starting or ending.
    pub(super) fn all_settled(&self) -> bool {
        !self.slots.values().any(|slot| matches!(slot.state, State::Starting | State::Draining))
    }

    /// Whether a lane still commits.
    pub(super) fn any_drains(&self) -> bool {
        self.slots.values().any(|slot| matches!(slot.state, State::Draining))
    }

    /// Whether a lane of these partitions still commits: a stop, or the end of a partition, may have made it drain before the
    /// group wanted it back.
    pub(super) fn any_drains_of(&self, partitions: &[Partition]) -> bool {
        let drains = |partition| self.slots.get(partition).is_some_and(|slot| matches!(slot.state, State::Draining));
        partitions.iter().any(drains)
    }

    // How lanes start.

    /// Partitions are given to this source, or start again.
    pub(super) fn start(&mut self, partitions: Vec<Partition>, answers: bool, now: Instant) -> Vec<Action<L>> {
        let lanes = partitions.into_iter().map(|partition| self.starting(partition, now)).collect();
        vec![Action::ReadLedgers { lanes, answers }]
    }

    fn starting(&mut self, partition: Partition, now: Instant) -> LaneId {
        self.generations += 1;
        let generation = self.generations;
        let before = self.slots.get(&partition);
        let (failures, cut, read_to) = before.map(|slot| (slot.failures, slot.cut, slot.read_to)).unwrap_or_default();
        let slot = Slot {
            generation,
            state: State::Starting,
            failures,
            cut,
            relieving: false,
            position: 0,
            read_to,
            quiet_since: now,
        };
        self.slots.insert(partition.clone(), slot);
        LaneId { partition, generation }
    }

    /// A lane's ledger was read: from where the partition is to be read, unless it is another lane's by now.
    pub(super) fn known(&self, lane: &LaneId, tip: &Tip) -> Option<StartAt> {
        if !self.is_current(lane) || self.stopping {
            return None; // Revoked in the meantime.
        }
        let end = self.ends.as_ref().and_then(|ends| ends.get(&lane.partition));
        Some(StartAt {
            partition: lane.partition.clone(),
            generation: lane.generation,
            position: tip.to,
            last: tip.last,
            end: end.map(|end| *end.max(&tip.to)),
        })
    }

    /// The lane was made that starts there.
    pub(super) fn made(&mut self, start: &StartAt, lane: L, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&start.partition) {
            slot.state = State::Running(lane);
            (slot.position, slot.quiet_since) = (start.position, now);
        }
    }

    /// A lane's ledger can't be read, or Kafka can't be asked, or hasn't what the ledger needs.
    pub(super) fn not_known(&mut self, lane: &LaneId, error: &StartError) -> Vec<Action<L>> {
        if !self.is_current(lane) || self.stopping {
            return Vec::new(); // Revoked in the meantime.
        }
        self.refused(&lane.partition, error)
    }

    /// A lane can't start, or go on.
    fn refused(&mut self, partition: &Partition, error: &StartError) -> Vec<Action<L>> {
        match transient(error) {
            true => self.failed(partition, &chain(error)),
            false => self.park(partition, &chain(error)),
        }
    }

    /// Lanes that were started together were made, where they could be.
    pub(super) fn started(&mut self, mut starts: Vec<StartAt>, answers: bool) -> Vec<Action<L>> {
        let command = match answers {
            true => Some(Command::Start(starts)),
            false => starts.pop().map(Command::Restart),
        };
        command.map(Action::Command).into_iter().chain(self.close_if_done()).collect()
    }

    // What running lanes do.

    /// Records came for a lane, up to `to`; gives it, if it runs. `last` is the last one's offset, if there is one.
    pub(super) fn handed(&mut self, lane: &LaneId, to: i64, last: Option<i64>, now: Instant) -> Option<&L> {
        let slot = self.current(lane)?;
        let State::Running(lane) = &slot.state else { return None };
        slot.position = to;
        slot.cut = false;
        if let Some(last) = last {
            slot.quiet_since = now;
            slot.read_to = slot.read_to.max(last + 1);
        }
        Some(lane)
    }

    /// A lane has committed; whether it is the newest one of its partition.
    pub(super) fn committed(&mut self, lane: &LaneId) -> bool {
        let Some(slot) = self.current(lane) else { return false };
        slot.failures.committed();
        slot.relieving = false;
        true
    }

    /// Memory is used up: gives the lane that holds the most, which is to commit, unless it was asked to and hasn't yet.
    pub(super) fn relieve(&mut self, held: impl Fn(&L) -> usize) -> Option<&L> {
        let running = self.slots.values_mut().filter_map(|slot| match &slot.state {
            State::Running(lane) => Some((held(lane), lane, &mut slot.relieving)),
            _ => None,
        });
        let (bytes, lane, relieving) = running.max_by_key(|(held, ..)| *held)?;
        if bytes == 0 || std::mem::replace(relieving, true) {
            return None;
        }
        Some(lane)
    }

    /// The lanes that were handed no record for `idle`, and weren't asked for as long whether they are quiet.
    pub(super) fn idle(&mut self, idle: Duration, now: Instant) -> Vec<Handed> {
        let mut lanes = Vec::new();
        for (partition, slot) in &mut self.slots {
            if matches!(slot.state, State::Running(_)) && now - slot.quiet_since >= idle {
                slot.quiet_since = now;
                let (partition, generation) = (partition.clone(), slot.generation);
                lanes.push(Handed { partition, generation, position: slot.position });
            }
        }
        lanes
    }

    /// A lane was found to be quiet: gives it, if it was handed nothing since.
    pub(super) fn still_idle(&self, lane: &Handed) -> Option<&L> {
        let slot = self.slots.get(&lane.partition)?;
        let same = (slot.generation, slot.position) == (lane.generation, lane.position);
        match &slot.state {
            State::Running(lane) if same => Some(lane),
            _ => None,
        }
    }

    // How lanes end.

    /// These of the partitions that run are to commit everything; nothing more reaches them.
    fn drain(&mut self, partitions: &[Partition]) -> Vec<Draining<L>> {
        let mut draining = Vec::new();
        for partition in partitions {
            if let Some(slot) = self.slots.get_mut(partition)
                && matches!(slot.state, State::Running(_))
                && let State::Running(lane) = std::mem::replace(&mut slot.state, State::Draining)
            {
                let id = LaneId { partition: partition.clone(), generation: slot.generation };
                draining.push(Draining { id, lane });
            }
        }
        draining
    }

    /// The source is to end: all lanes commit what they have.
    pub(super) fn stop_all(&mut self) -> Vec<Action<L>> {
        self.stopping = true;
        let partitions: Vec<Partition> = self.slots.keys().cloned().collect();
        let lanes = self.drain(&partitions);
        vec![Action::Drain { lanes, then: Then::Close }]
    }

    /// The group wants partitions back.
    pub(super) fn revoked(&mut self, partitions: Vec<Partition>) -> Vec<Action<L>> {
        let lanes = self.drain(&partitions);
        vec![Action::Drain { lanes, then: Then::GiveBack(partitions) }]
    }

    /// This source has a partition no more.
    pub(super) fn remove(&mut self, partition: &Partition) {
        self.slots.remove(partition);
    }

    /// This run's end of a partition is reached: its lane commits and is done.
    pub(super) fn end_reached(&mut self, lane: &LaneId) -> Vec<Action<L>> {
        if !self.is_current(lane) {
            return Vec::new();
        }
        let lanes = self.drain(std::slice::from_ref(&lane.partition));
        vec![Action::Drain { lanes, then: Then::LookWhetherDone }]
    }

    /// What comes next can't be read: what came before it is committed, and the lane tries again.
    pub(super) fn damaged(&mut self, lane: LaneId, reason: String) -> Vec<Action<L>> {
        self.drain_one(lane, |lane| Then::Restart { lane, reason })
    }

    /// There is no memory for what comes next: what came before it is committed, and the lane is parked. To try again would not
    /// help before a person has given the process more.
    pub(super) fn too_large(&mut self, lane: LaneId, reason: String) -> Vec<Action<L>> {
        self.drain_one(lane, |lane| Then::Park { lane, reason })
    }

    fn drain_one(&mut self, lane: LaneId, then: impl FnOnce(LaneId) -> Then) -> Vec<Action<L>> {
        // One that has everything that this run wants of it needn't read what comes after that.
        if !self.is_running(&lane) {
            return Vec::new();
        }
        let lanes = self.drain(std::slice::from_ref(&lane.partition));
        vec![Action::Drain { lanes, then: then(lane) }]
    }

    /// Lanes have committed everything: from here on their end is none that needs a restart.
    pub(super) fn drained<'a>(&mut self, drained: impl IntoIterator<Item = &'a LaneId>) {
        for lane in drained {
            if let Some(slot) = self.current(lane) {
                slot.state = State::Done;
            }
        }
    }

    /// What is to follow on [`Then::Restart`].
    pub(super) fn restart_drained(&mut self, lane: &LaneId, reason: &str) -> Vec<Action<L>> {
        match !self.stopping && self.is_current(lane) {
            true => self.failed(&lane.partition, reason),
            false => Vec::new(),
        }
    }

    /// What is to follow on [`Then::Park`].
    pub(super) fn park_drained(&mut self, lane: &LaneId, reason: &str) -> Vec<Action<L>> {
        match !self.stopping && self.is_current(lane) {
            true => self.park(&lane.partition, reason),
            false => Vec::new(),
        }
    }

    /// For a run until the end: whether all lanes are over, and it with them.
    pub(super) fn close_if_done(&mut self) -> Option<Action<L>> {
        let over = |slot: &Slot<L>| matches!(slot.state, State::Done | State::Parked);
        if self.ends.is_none() || self.stopping || !self.slots.values().all(over) {
            return None;
        }
        self.stopping = true;
        Some(Action::Close)
    }

    // What goes wrong.

    /// A lane has ended, though it shouldn't have.
    pub(super) fn ended(&mut self, lane: &LaneId, why: Why, reason: &str) -> Vec<Action<L>> {
        let (partition, stopping) = (lane.partition.clone(), self.stopping);
        let Some(slot) = self.current(lane).filter(|slot| !matches!(slot.state, State::Done | State::Parked)) else {
            return Vec::new(); // Another stage of the same lane has said so before, or it was done.
        };
        if why == Why::Overtaken {
            slot.read_to = 0;
        }
        match (stopping, why) {
            (true, Why::Overtaken) => {
                slot.state = State::Done;
                vec![Action::SayOvertaken { partition, reason: reason.to_owned() }]
            }
            (true, _) => {
                slot.state = State::Parked;
                vec![Action::SayFailedAtEnd { partition, reason: reason.to_owned() }]
            }
            (false, Why::NeedsAPerson) => self.park(&partition, reason),
            (false, _) => self.failed(&partition, reason),
        }
    }

    /// The client can't read a partition on as it is.
    pub(super) fn broken(&mut self, lane: &LaneId, reason: &str) -> Vec<Action<L>> {
        match self.is_running(lane) {
            true => self.failed(&lane.partition, reason),
            false => Vec::new(),
        }
    }

    /// The brokers no longer have what they showed. What isn't committed is read again as it is now; where it is what the ledger
    /// has, nothing can be read on. It is asked twice: the client may have fetched, and not handed on, what was lost.
    pub(super) fn cut(&mut self, start: &StartAt, how: Cut, now: Instant) -> Vec<Action<L>> {
        let StartAt { partition, generation, position, last, .. } = start;
        let lane = LaneId { partition: partition.clone(), generation: *generation };
        if !self.is_running(&lane) {
            return Vec::new();
        }
        let Some(slot) = self.current(&lane) else { return Vec::new() };
        let asked_before = std::mem::replace(&mut slot.cut, how != Cut::Ahead);
        let (partition, position) = (partition.clone(), *position);
        match (how, *last) {
            (Cut::Behind | Cut::Between(_), Some(_)) if !asked_before => {
                let mut actions = vec![Action::SayAskedAgain { partition: partition.clone() }];
                actions.extend(self.start(vec![partition], false, now));
                actions
            }
            (Cut::Behind, Some(last)) => {
                let error = StartError::Cut { partition: partition.clone(), position, last };
                self.park(&partition, &chain(&error))
            }
            (Cut::Between(found), Some(last)) => {
                let error = StartError::Replaced { partition: partition.clone(), position, last, found };
                self.park(&partition, &chain(&error))
            }
            (Cut::Ahead, _) | (_, None) => self.failed(&partition, LOST),
        }
    }

    /// The brokers were asked whether a lane can go on. `lost_its_place`: the client has stopped reading the partition.
    pub(super) fn judged(
        &mut self,
        lane: &LaneId,
        verdict: Result<(), StartError>,
        lost_its_place: bool,
    ) -> Vec<Action<L>> {
        if !self.is_current(lane) {
            return Vec::new();
        }
        match verdict {
            Err(error) => self.refused(&lane.partition, &error),
            Ok(()) if lost_its_place => self.failed(&lane.partition, "the client lost its place"),
            Ok(()) => Vec::new(),
        }
    }

    /// Whether this source has a partition of a topic.
    pub(super) fn has_of(&self, topic: &str) -> bool {
        self.slots.keys().any(|partition| *partition.topic == *topic)
    }

    /// A topic is another one now, or can't be read.
    pub(super) fn topic_gone(&mut self, topic: &str, reason: &str) -> Vec<Action<L>> {
        let left = self
            .slots
            .iter()
            .filter(|(partition, slot)| *partition.topic == *topic && !matches!(slot.state, State::Parked));
        let left: Vec<Partition> = left.map(|(partition, _)| partition.clone()).collect();
        left.iter().flat_map(|partition| self.park(partition, reason)).collect()
    }

    /// A lane ended though it shouldn't have: it starts again after a while, or is parked.
    fn failed(&mut self, partition: &Partition, reason: &str) -> Vec<Action<L>> {
        let Some(slot) = self.slots.get_mut(partition) else { return Vec::new() };
        slot.state = State::Starting;
        self.generations += 1;
        slot.generation = self.generations;
        match slot.failures.failed(&self.restarts) {
            Decision::Restart(after) => {
                let lane = LaneId { partition: partition.clone(), generation: slot.generation };
                vec![Action::RestartAfter { lane, after, reason: reason.to_owned() }]
            }
            Decision::Park => {
                let times = self.restarts.failures_until_parked;
                let words =
                    format!("it failed {times} times in a row without a commit, the last time because: {reason}");
                self.park(partition, &words)
            }
        }
    }

    /// A lane has waited since it failed.
    pub(super) fn wait_is_over(&mut self, lane: &LaneId, now: Instant) -> Vec<Action<L>> {
        match self.is_current(lane) && !self.stopping {
            true => self.start(vec![lane.partition.clone()], false, now),
            false => Vec::new(),
        }
    }

    fn park(&mut self, partition: &Partition, reason: &str) -> Vec<Action<L>> {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.state = State::Parked;
        }
        let said = Action::SayParked { partition: partition.clone(), reason: reason.to_owned() };
        let command = Action::Command(Command::Park(partition.clone()));
        [said, command].into_iter().chain(self.close_if_done()).collect()
    }

    // What is left at the end.

    /// All partitions: of any of them, records may have been read and not committed. Also where the
    /// lane has committed all that it was handed: the one before it may have been handed more, and
    /// failed.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.slots.keys().cloned().collect()
    }

    /// Up to where a partition was read, past what is committed, if it was. Tells it once.
    pub(super) fn uncommitted(&mut self, partition: &Partition, committed: i64) -> Option<i64> {
        let read_to = std::mem::take(&mut self.slots.get_mut(partition)?.read_to);
        (read_to > committed).then_some(read_to)
    }
}

#[cfg(test)]
mod tests;
