//! The thread that polls a consumer, for as long as the consumer lives.
//!
//! What it reads goes out as events, what it is to do comes in as commands. Where it is faster than the lanes it waits for them,
//! and takes nothing but what the client says of itself and its group: a consumer that doesn't poll is thrown out of it. When
//! memory is used up and stays so, it pauses its partitions; that drops what was fetched, so that it isn't done at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext as _, Offset, Statistics, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::batch::{Collecting, Refused};
use super::place::StartAt;
use crate::base::credits::Credits;
use crate::base::memory::batch_bytes;
use crate::flow::messages::RawBatch;
use crate::flow::meters::{Meters, Stage};
use crate::kafka::bulk::{Message, Messages};
use crate::kafka::client::{Rebalance, names, positions};
use crate::kafka::consumer::Consumer;
use crate::kafka::damage::{is_damage, is_too_large};
use crate::kafka::ffi::{Answer, Polled, Queue, Trouble, words};
use crate::kafka::membership::NotJoined;
use crate::model::Partition;

/// How long a poll waits for a record: the longest that a command waits, too. Where nothing is read, a command is what it waits for.
const POLL: Duration = Duration::from_millis(20);
/// How often half-full batches are handed on, and gaps are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long memory may be used up before partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether there is room.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(1);
/// How many records are taken at once, before commands, group events and the clock are looked at: as many as have about so
/// many bytes, since whoever has taken them has to have room for them.
const TAKEN_MAX: usize = 1_024;
const TAKEN_BYTES: usize = 256 << 10;
/// How many of the client's other words are listened to before.
const TOLD_PER_ROUND: usize = 64;
/// How long a small batch may wait for more while records come fast.
const COLLECT_FOR: Duration = Duration::from_millis(500);
/// They do when there are that many bytes between two ticks.
const FAST_BYTES: usize = 1 << 20;
/// A batch has no more records than this: columns and windows grow with their number, however small they are.
const BATCH_RECORDS_MOST: usize = 32_768;
/// Their columns may take so many times what the batch has: records that lack most columns are small as they come,
const COLUMNS_PART: usize = 4;
/// and a value takes this much, with what says that it is null.
const VALUE_BYTES: usize = 9;
/// When all half-full batches together have their bytes, each is handed on at this size.
const BATCH_BYTES_MIN: usize = 16 << 10;

/// What the poll thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Join the group for these topics.
    Subscribe(Vec<String>),
    /// Read these partitions from here on: the answer to an assignment, also when there is none to read.
    Start(Vec<StartAt>),
    /// Read a partition again from where its ledger ends.
    Restart(StartAt),
    /// Stop reading this partition, but keep it.
    Park(Partition),
    /// Stop reading these partitions and give them back.
    Stop(Vec<Partition>),
    /// Hand on everything that was read.
    HandOn,
    /// Read nothing more, and hand on what was read; stay in the group.
    Pause,
    /// Read on after [`Command::Pause`].
    Resume,
    /// Tell Kafka how far the ledger is.
    Commit(Vec<(Partition, i64)>),
    /// Leave the group and end.
    Close,
}

/// How a log was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the newest record that the ledger knows.
    Behind,
    /// After it: there is a record at this offset, and there was none.
    Between(i64),
    /// Before what was read since.
    Ahead,
}

/// What the poll thread tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// Records of one lane.
    Batch { partition: Partition, generation: u64, batch: RawBatch },
    /// The group's assignment changed.
    Rebalance(Rebalance),
    /// This run's end of a partition is reached; all batches before it were sent.
    End { partition: Partition, generation: u64 },
    /// Reading a partition failed.
    Broken { partition: Partition, generation: u64, reason: String },
    /// The brokers no longer have what they showed.
    Cut { start: StartAt, how: Cut },
    /// The log ends before this run's end.
    Short { partition: Partition, generation: u64 },
    /// A batch of records can't be read; all batches before it were sent.
    Damaged { partition: Partition, generation: u64, reason: String },
    /// There is not enough memory for a batch of records; all batches before it were sent.
    TooLarge { partition: Partition, generation: u64, reason: String },
    /// Everything that was read before a [`Command::HandOn`] or [`Command::Pause`] was sent.
    HandedOn,
    /// What the client says of itself, every few seconds.
    Statistics(Box<Statistics>),
    /// Memory is used up, and still is after a moment: the largest lane should commit.
    Full,
    /// A position may be gone, or a topic: look at this partition, or at all.
    Suspect(KafkaError, Option<Partition>),
    /// The group's answer to a [`Command::Commit`].
    Told(Answer),
    /// The group refuses this consumer, which asks again.
    NotJoined(NotJoined),
    /// The consumer can't go on.
    Fatal(KafkaError),
}

/// The thread's state.
pub(crate) struct PollThread {
    /// The consumer's; so it goes before the consumer does.
    queue: Queue,
    /// As above.
    pub(super) messages: Messages,
    taken: Vec<Message>,
    /// How many are taken at once.
    at_once: usize,
    pub(super) consumer: Arc<Consumer>,
    commands: Receiver<Command>,
    events: UnboundedSender<Event>,
    credits: Credits,
    /// Marks the offsets that are committed to Kafka as this dataset's.
    mark: String,
    sizes: Sizes,
    /// Bytes at which a batch is handed on before a tick.
    batch_bytes: usize,
    pub(super) open: Vec<(Partition, Collecting)>,
    /// Partitions to which the client hasn't gone yet: until then nothing of them is taken.
    pub(super) unsought: Vec<StartAt>,
    /// Since when there are some.
    pub(super) unsought_since: Option<Instant>,
    pub(super) index: HashMap<Partition, usize>,
    /// The entry of `open` that the last record went to, if any: records come in runs.
    last: Option<usize>,
    /// Since when memory is used up.
    full_since: Option<Instant>,
    paused: bool,
    /// Whether a person wants nothing to be read.
    paused_by_hand: bool,
    meters: Arc<Meters>,
    /// Bytes of all half-full batches.
    collected: usize,
    /// Bytes of the records that came since the last tick.
    received: usize,
}

/// What a thread is started with.
pub(crate) struct Setup {
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) credits: Credits,
    pub(crate) meters: Arc<Meters>,
    /// Marks the offsets that are committed to Kafka as this dataset's.
    pub(crate) mark: String,
    pub(crate) sizes: Sizes,
}

/// What bounds the batches of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Bytes that all half-full batches together may have.
    pub(crate) collecting_bytes: usize,
    /// How many columns a row has.
    pub(crate) columns: usize,
}

impl Sizes {
    /// How many records a batch has at the most that is handed on at so many bytes.
    fn records_most(self, batch_bytes: usize) -> usize {
        let by_columns = batch_bytes * COLUMNS_PART / (self.columns.max(1) * VALUE_BYTES);
        by_columns.clamp(1, BATCH_RECORDS_MOST)
    }
}

impl PollThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub(crate) fn spawn(setup: Setup, pipeline: &str, source: usize) -> std::io::Result<std::thread::JoinHandle<()>> {
        let mut thread = PollThread::new(setup);
        // What the client says is said by this thread: of which pipeline it is, stands on each line.
        let span = tracing::error_span!("source", pipeline, source);
        std::thread::Builder::new()
            .name(format!("weir-poll-{pipeline}-{source}"))
            .spawn(move || span.in_scope(|| thread.run()))
    }

    fn new(setup: Setup) -> Self {
        let Setup { consumer, commands, events, credits, meters, mark, sizes } = setup;
        PollThread {
            batch_bytes: batch_bytes(credits.limit()),
            queue: Queue::of(&consumer),
            messages: Messages::new(&consumer),
            taken: Vec::new(),
            at_once: 1,
            consumer,
            commands,
            events,
            credits,
            mark,
            sizes,
            open: Vec::new(),
            unsought: Vec::new(),
            unsought_since: None,
            index: HashMap::new(),
            last: None,
            full_since: None,
            paused: false,
            paused_by_hand: false,
            meters,
            collected: 0,
            received: 0,
        }
    }

    fn run(&mut self) {
        let mut ticked = Instant::now();
        loop {
            let (for_commands, for_records) =
                if self.reads() { (Duration::ZERO, POLL) } else { (POLL, Duration::ZERO) };
            match self.commands.recv_timeout(for_commands) {
                Ok(Command::Close) => break self.close(),
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break self.close(),
            }
            let (began, room) = (Instant::now(), self.has_room());
            self.listen();
            if room {
                self.round(for_records);
            } else {
                std::thread::sleep(if self.paused { POLL } else { LOOK_FOR_ROOM });
            }
            if !room || self.paused {
                self.meters.back_pressured(Stage::Source, began.elapsed());
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
    }

    /// Whether a partition is open that isn't at this run's end.
    fn reads(&self) -> bool {
        !self.open.iter().all(|(_, collecting)| collecting.ended)
    }

    /// Takes what the client says of itself and its group.
    fn listen(&mut self) {
        for _ in 0..TOLD_PER_ROUND {
            let Some(polled) = self.queue.poll(Duration::ZERO) else { break };
            self.told(polled);
        }
    }

    /// Takes what Kafka has, or the first of what comes in this time. Also what is of no partition that is read: it would wait for the
    /// next one that is.
    fn round(&mut self, wait: Duration) {
        let mut taken = std::mem::take(&mut self.taken);
        self.messages.take(&mut taken, self.at_once, Duration::ZERO);
        if taken.is_empty() && !wait.is_zero() {
            // To wait for more than one is to wait for all of them.
            self.messages.take(&mut taken, 1, wait);
            if taken.is_empty() {
                self.end_what_is_at_its_end();
            }
        }
        let (began, received) = (Instant::now(), self.received);
        let mut before: Option<&Message> = None;
        for message in &taken {
            if let Some(trouble) = message.trouble() {
                (before, self.last) = (None, None);
                self.error(trouble);
                continue;
            }
            if self.last.is_none() || before.is_none_or(|before| !message.is_beside(before)) {
                self.last = self.find(message);
            }
            self.collect(message);
            before = Some(message);
        }
        // Records may get larger: not more than twice as many as now.
        if let Some(messages) = (TAKEN_BYTES * taken.len()).checked_div(self.received - received) {
            self.at_once = messages.clamp(1, TAKEN_MAX).min(2 * self.at_once);
        }
        taken.clear();
        self.taken = taken;
        self.meters.busy(Stage::Source, began.elapsed());
    }

    /// Whether to take what partitions have: not too many batches are on their way, and there is memory, or there was none for so
    /// long that partitions are paused.
    fn has_room(&mut self) -> bool {
        if self.paused || !self.credits.exhausted() {
            self.full_since = None;
        } else if self.full_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER {
            self.pause();
        } else {
            return false;
        }
        !self.credits.crowded()
    }

    /// Adds a record to its partition's batch.
    fn collect(&mut self, record: &Message) {
        let Some(at) = self.last else {
            return; // Of a partition that was just given back: its next owner reads it.
        };
        let before = self.open[at].1.bytes();
        match self.open[at].1.push(record) {
            Ok(bytes) => {
                self.received += bytes - before;
                self.collected += bytes - before;
                let enough =
                    if self.collected < self.sizes.collecting_bytes { self.batch_bytes } else { BATCH_BYTES_MIN };
                if bytes >= enough || self.open[at].1.records() >= self.sizes.records_most(self.batch_bytes) {
                    self.hand_on(at);
                }
            }
            Err(Refused::Back) => self.broken(at, &format!("the client went back to offset {}", record.offset())),
            Err(Refused::Cut) => self.cut(at, Cut::Between(record.offset())),
        }
    }

    /// What the client says of itself and its group.
    fn told(&mut self, told: Polled) {
        match told {
            Polled::Error(trouble) => self.error(trouble),
            Polled::Rebalance(code, partitions) => {
                match code {
                    RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                        let _ = self.events.send(Event::Rebalance(Rebalance::Assigned(partitions)));
                    }
                    // Answered by an incremental_unassign when the lanes have drained.
                    _ => self.revoked(partitions),
                }
                self.keep_places();
            }
            Polled::Committed(answer) => {
                if answer.error == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
                    self.consumer.context().denied_group();
                }
                let _ = self.events.send(Event::Told(answer));
            }
            Polled::Log(level, facility, line) => {
                self.consumer.context().logged(level, &facility, &line);
                // A partition or a topic that is gone: where records are taken in bulk, that is but a line.
                if facility == "ERROR" {
                    self.consumer.context().error(KafkaError::Global(RDKafkaErrorCode::Fail), &line);
                    let _ = self.events.send(Event::Suspect(KafkaError::Global(RDKafkaErrorCode::Fail), None));
                }
            }
            Polled::Statistics(text) => match serde_json::from_str(&text) {
                Ok(statistics) => drop(self.events.send(Event::Statistics(Box::new(statistics)))),
                // Only numbers for people come of them: what is read, and from where, does not.
                Err(error) => tracing::debug!(%error, "the client's statistics can't be read"),
            },
            Polled::Stray(partition) => {
                self.messages.follow(&self.consumer, &partition);
                if let Some(at) = self.index.get(&partition) {
                    self.broken(*at, "a record came out of the wrong queue; this is a bug in weir");
                }
            }
            Polled::Nothing => {}
        }
    }

    /// A partition can't be read on as it is: its lane starts again from its ledger.
    pub(super) fn broken(&mut self, at: usize, reason: &str) {
        let (partition, generation) = (self.open[at].0.clone(), self.open[at].1.start.generation);
        self.forget(&partition);
        let _ = self.events.send(Event::Broken { partition, generation, reason: reason.to_owned() });
    }

    fn cut(&mut self, at: usize, how: Cut) {
        let start = self.open[at].1.start.clone();
        self.forget(&start.partition);
        let _ = self.events.send(Event::Cut { start, how });
    }

    fn find(&self, record: &Message) -> Option<usize> {
        let again = |at: &usize| record.is_of(&self.open[*at].0);
        self.last.filter(again).or_else(|| self.index.get(&record.partition()).copied())
    }

    fn hand_on(&mut self, at: usize) {
        let (partition, collecting) = &mut self.open[at];
        if collecting.waiting() {
            let (range, last, records) = collecting.take();
            self.collected -= records.bytes();
            let credit = self.credits.take_on_the_way(records.bytes());
            let batch = RawBatch { range, last, read_at: Instant::now(), records, credit };
            let generation = collecting.start.generation;
            let _ = self.events.send(Event::Batch { partition: partition.clone(), generation, batch });
        }
        if collecting.at_end() && !collecting.ended {
            collecting.ended = true;
            let _ =
                self.events.send(Event::End { partition: partition.clone(), generation: collecting.start.generation });
        }
    }

    /// Hands on what waits, passes gaps, and goes on reading when memory is free again.
    fn tick(&mut self) {
        // Pipelines of a service come and go, and share the memory.
        self.batch_bytes = batch_bytes(self.credits.limit());
        let received = std::mem::take(&mut self.received);
        if received > 0 {
            self.consumer.context().alive();
        }
        self.seek_unsought();
        self.follow_unheard();
        self.pass_gaps();
        for at in 0..self.open.len() {
            // A batch costs a lane as much as some hundred records do: while records come fast, of many partitions, or lanes are
            // behind, each gets a moment to have some.
            let collecting = &self.open[at].1;
            let may_wait = (received >= FAST_BYTES || self.credits.crowded())
                && collecting.bytes() < BATCH_BYTES_MIN
                && !collecting.at_end()
                && collecting.since().is_some_and(|since| since.elapsed() < COLLECT_FOR);
            if !may_wait {
                self.hand_on(at);
            }
        }
        if self.paused && !self.credits.exhausted() {
            self.resume();
        } else if self.paused || self.full_since.is_some_and(|since| since.elapsed() >= TICK) {
            let _ = self.events.send(Event::Full);
        }
    }

    /// When nothing came for a moment: hands on what is at this run's end, without waiting for a tick, or for the client to tell of the log's
    /// end, which takes it another fetch.
    fn end_what_is_at_its_end(&mut self) {
        if self.open.iter().any(|(_, collecting)| collecting.start.end.is_some() && !collecting.ended) {
            self.pass_gaps();
            for at in 0..self.open.len() {
                if self.open[at].1.at_end() {
                    self.hand_on(at);
                }
            }
        }
    }

    fn hand_on_all(&mut self) {
        self.pass_gaps();
        for at in 0..self.open.len() {
            self.hand_on(at);
        }
    }

    /// The ends that the client tells pass gaps, too, but it tells of none while aborted transactions keep coming.
    fn pass_gaps(&mut self) {
        for (partition, position) in self.client_positions() {
            if let Some(at) = self.index.get(&partition) {
                self.open[*at].1.is_at(position);
            }
        }
    }

    fn error(&mut self, Trouble { code, fatal, reason, place }: Trouble) {
        use RDKafkaErrorCode::*;
        let (partition, offset) = place.map_or((None, None), |(partition, offset)| (Some(partition), offset));
        let open = partition.as_ref().and_then(|partition| self.index.get(partition).copied());
        if let Some(at) = open {
            self.open[at].1.counts(offset);
        }
        if let (TopicAuthorizationFailed, Some(at)) = (code, open) {
            // The brokers may still answer questions about it, so that to ask them would find nothing wrong.
            let reason = self.consumer.context().unreadable(&self.open[at].0);
            return self.unreadable(at, &reason);
        }
        // The client gives its reason in a text only.
        if let (AutoOffsetReset, Some(at)) = (code, open)
            && reason.contains(&words(RespErr::RD_KAFKA_RESP_ERR__LOG_TRUNCATION))
        {
            let how = if self.open[at].1.is_confirmed() { Cut::Ahead } else { Cut::Behind };
            return self.cut(at, how);
        }
        if !fatal && let Some(refusal) = NotJoined::of(self.consumer.context().claim(), code, &reason) {
            if matches!(refusal, NotJoined::Denied(_)) {
                self.consumer.context().denied_group();
            }
            return drop(self.events.send(Event::NotJoined(refusal)));
        }
        match code {
            PartitionEOF => {
                self.consumer.context().alive();
                if let (Some(at), Some(offset)) = (open, offset) {
                    self.ends(at, offset);
                }
            }
            _ if fatal => drop(self.events.send(Event::Fatal(KafkaError::MessageConsumptionFatal(code)))),
            AutoOffsetReset
            | OffsetOutOfRange
            | UnknownTopicOrPartition
            | UnknownTopic
            | UnknownPartition
            | TopicAuthorizationFailed => {
                // That a partition is gone matters to those that are read.
                if open.is_some() || partition.is_none() {
                    let _ = self.events.send(Event::Suspect(KafkaError::MessageConsumption(code), partition));
                }
            }
            // One without a partition is a connection's: the context says it.
            code if partition.is_some() && is_too_large(code) => {
                if let Some(at) = open {
                    let offset = offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
                    self.too_large(
                        at,
                        &format!("there is not enough memory for the batch of records{offset}: {reason}"),
                    );
                }
            }
            code if partition.is_some() && is_damage(code) => {
                if let Some(at) = open {
                    self.unreadable(at, &format!("Kafka's client can't read a batch of records ({code}): {reason}"));
                }
            }
            // Lost connections, and whatever else librdkafka retries: the context says it, each
            // minute at the most.
            _ => self.consumer.context().error(KafkaError::Global(code), &reason),
        }
    }

    /// The client has come to the end of a log: to this run's end, too, unless the log has become shorter, or its leader is new
    /// and doesn't know yet where it ends.
    fn ends(&mut self, at: usize, offset: i64) {
        let (partition, collecting) = &mut self.open[at];
        collecting.reached(offset);
        if collecting.start.end.is_some() && !collecting.at_end() {
            let (partition, generation) = (partition.clone(), collecting.start.generation);
            let _ = self.events.send(Event::Short { partition, generation });
        }
    }

    /// The client couldn't read a batch: it asks for it again and again, or leaves it out. Or it may not.
    ///
    /// **Invariant:** what can't be read is never taken for a gap. What came before it is handed on, what comes after it isn't.
    fn unreadable(&mut self, at: usize, reason: &str) {
        let (partition, generation) = self.give_up(at);
        let _ = self.events.send(Event::Damaged { partition, generation, reason: reason.to_owned() });
    }

    /// There is no memory for a batch.
    fn too_large(&mut self, at: usize, reason: &str) {
        let (partition, generation) = self.give_up(at);
        let _ = self.events.send(Event::TooLarge { partition, generation, reason: reason.to_owned() });
    }

    /// Reads no more of a partition, and hands on what was read of it.
    fn give_up(&mut self, at: usize) -> (Partition, u64) {
        self.hand_on(at);
        let (partition, generation) = (self.open[at].0.clone(), self.open[at].1.start.generation);
        self.forget(&partition);
        let _ = self.consumer.pause(&positions([(&partition, Offset::Invalid)]));
        (partition, generation)
    }

    fn revoked(&mut self, partitions: Vec<Partition>) {
        let lost = self.consumer.assignment_lost();
        for partition in &partitions {
            if let Some(at) = self.index.get(partition).copied()
                && !lost
            {
                self.hand_on(at);
            }
            self.forget(partition);
        }
        let _ = self.events.send(Event::Rebalance(Rebalance::Revoked(partitions, lost)));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe(topics) => {
                let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                self.report(self.consumer.subscribe(&topics));
            }
            Command::Start(starts) => self.start(&starts),
            Command::Restart(start) => self.restart(&start),
            Command::Park(partition) => {
                self.forget(&partition);
                let _ = self.consumer.pause(&positions([(&partition, Offset::Invalid)]));
            }
            Command::Stop(partitions) => {
                for partition in &partitions {
                    self.forget(partition);
                }
                let assigned = self.assigned();
                let ours = partitions.iter().filter(|partition| assigned.contains(partition));
                let list = positions(ours.map(|partition| (partition, Offset::Invalid)));
                self.report(self.consumer.incremental_unassign(&list));
            }
            Command::HandOn => {
                self.hand_on_all();
                let _ = self.events.send(Event::HandedOn);
            }
            Command::Pause => {
                self.paused_by_hand = true;
                self.set_flow();
                self.hand_on_all();
                let _ = self.events.send(Event::HandedOn);
            }
            Command::Resume => {
                self.paused_by_hand = false;
                self.set_flow();
            }
            Command::Commit(offsets) => self.commit(&offsets),
            Command::Close => unreachable!("the loop ends with it"),
        }
    }

    /// The client remembers a pause of a partition that went and came back, so that both ways are said.
    pub(super) fn set_flow(&mut self) {
        if self.paused || self.paused_by_hand {
            let Ok(list) = self.consumer.assignment() else { return };
            self.report(self.consumer.pause(&list));
            self.keep_places();
        } else {
            // Not those that were given up: what is fetched of them would be thrown away.
            let read = positions(self.open.iter().map(|(partition, _)| (partition, Offset::Invalid)));
            self.report(self.consumer.resume(&read));
        }
    }

    /// Stops collecting for a partition; what was collected and not handed on is read again by whoever comes next.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.last = None;
        self.unsought.retain(|start| start.partition != *partition);
        if let Some(at) = self.index.remove(partition) {
            self.collected -= self.open.swap_remove(at).1.bytes();
            if let Some((moved, _)) = self.open.get(at) {
                self.index.insert(moved.clone(), at);
            }
        }
    }

    pub(super) fn assigned(&self) -> Vec<Partition> {
        self.consumer.assignment().map(|list| names(&list)).unwrap_or_default()
    }

    fn pause(&mut self) {
        self.paused = true;
        self.credits.hold_back();
        self.set_flow();
        let _ = self.events.send(Event::Full);
    }

    fn resume(&mut self) {
        self.paused = false;
        self.set_flow();
    }

    fn commit(&self, offsets: &[(Partition, i64)]) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(*position)).expect("a position in a ledger is not below 0");
            element.set_metadata(&self.mark);
        }
        if let Err(error) = self.queue.commit(&self.consumer, &list) {
            let refused = |(partition, position): &(Partition, i64)| (partition.clone(), *position, false);
            let positions = offsets.iter().map(refused).collect();
            let _ = self.events.send(Event::Told(Answer { positions, error: Some(error) }));
        }
    }

    fn close(&mut self) {
        // Not only when its last owner goes: whoever still asks it something may take a while.
        self.consumer.leave();
    }

    pub(super) fn report(&self, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            let _ = self.events.send(Event::Fatal(error));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
