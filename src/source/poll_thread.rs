//! The thread that polls a consumer, for as long as the consumer lives.
//!
//! It never waits for anything but Kafka: what it reads goes out as events, what it is to do comes in as commands, and
//! memory is bounded by pausing partitions, never by not polling (a consumer that doesn't poll is thrown out of its
//! group).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::batch::Collecting;
use super::client::{Consumer, Rebalance, names, positions};
use crate::pipeline::credits::Credits;
use crate::pipeline::messages::{Partition, RawBatch};

/// How long a poll waits for a record: the longest that a command waits, too.
const POLL: Duration = Duration::from_millis(20);
/// How often half-full batches are handed on, and gaps are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long nothing may come of a partition of which a batch may be unreadable.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// How long a seek may take; longer means that the client is stuck.
const SEEK_WITHIN: Duration = Duration::from_secs(10);
/// How many records are taken, while they keep coming, before commands, group events and the clock are looked at.
const RECORDS_PER_ROUND: u32 = 256;
/// A batch of one partition is handed on at this size, or at less where there are many partitions.
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_BYTES_MIN: usize = 16 << 10;

/// Where a partition is to be read from.
#[derive(Debug, Clone)]
pub(crate) struct StartAt {
    pub(crate) partition: Partition,
    pub(crate) generation: u64,
    pub(crate) position: i64,
    pub(crate) end: Option<i64>,
}

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
    /// Tell Kafka how far the ledger is.
    Commit(Vec<(Partition, i64)>),
    /// Commit, leave the group and end.
    Close(Vec<(Partition, i64)>),
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
    /// Nothing came of a partition since the client couldn't read a batch of it or of another: unless it is at its end, it
    /// is the one.
    Stalled { partition: Partition, generation: u64, reason: String },
    /// Memory is used up and partitions are paused: the largest lane should commit.
    Full,
    /// A position may be gone, or a topic: look. With what the client couldn't read before that, if there was something.
    Suspect(KafkaError, Option<String>),
    /// The consumer can't go on.
    Fatal(KafkaError),
}

/// The thread's state.
pub(crate) struct PollThread {
    consumer: Arc<Consumer>,
    commands: Receiver<Command>,
    events: UnboundedSender<Event>,
    credits: Credits,
    /// Marks the offsets that are committed to Kafka as this dataset's.
    mark: String,
    /// Bytes that all half-full batches together may have.
    collecting_bytes: usize,
    open: Vec<(Partition, Collecting)>,
    index: HashMap<Partition, usize>,
    /// The entry of `open` that the last record went to: records come in runs.
    last: usize,
    paused: bool,
    /// Whether a record came since the last tick.
    received: bool,
}

impl PollThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub(crate) fn spawn(
        name: &str,
        consumer: Arc<Consumer>,
        commands: Receiver<Command>,
        events: UnboundedSender<Event>,
        credits: Credits,
        mark: String,
        collecting_bytes: usize,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let mut thread = PollThread {
            consumer,
            commands,
            events,
            credits,
            mark,
            collecting_bytes,
            open: Vec::new(),
            index: HashMap::new(),
            last: 0,
            paused: false,
            received: false,
        };
        std::thread::Builder::new().name(format!("weir-poll-{name}")).spawn(move || thread.run())
    }

    fn run(&mut self) {
        let consumer = self.consumer.clone();
        let mut ticked = Instant::now();
        loop {
            match self.commands.try_recv() {
                Ok(Command::Close(offsets)) => break self.close(&offsets),
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break self.close(&[]),
            }
            // A poll that serves a group event gives no record, so that the event is looked at before the next poll.
            for _ in 0..RECORDS_PER_ROUND {
                match consumer.poll(POLL) {
                    Some(Ok(message)) => self.collect(&message),
                    Some(Err(error)) => {
                        self.error(error);
                        break;
                    }
                    None => break,
                }
            }
            self.rebalances();
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
    }

    fn collect(&mut self, message: &BorrowedMessage<'_>) {
        self.received = true;
        let Some(at) = self.find(message.topic(), message.partition()) else {
            return; // Of a partition that was just given back: its next owner reads it.
        };
        if let Some(reason) = self.open[at].1.damaged_before(message.offset()) {
            return self.broken(at, &reason);
        }
        match self.open[at].1.push(message) {
            Some(bytes) if bytes < self.batch_bytes() => {}
            Some(_) => self.hand_on(at),
            None => self.broken(at, &format!("the client went back to offset {}", message.offset())),
        }
    }

    /// A partition can't be read on as it is: its lane starts again from its ledger.
    fn broken(&mut self, at: usize, reason: &str) {
        let (partition, generation) = (self.open[at].0.clone(), self.open[at].1.generation);
        self.forget(&partition);
        let _ = self.events.send(Event::Broken { partition, generation, reason: reason.to_owned() });
    }

    fn find(&mut self, topic: &str, partition: i32) -> Option<usize> {
        if let Some((known, _)) = self.open.get(self.last)
            && known.partition == partition
            && &*known.topic == topic
        {
            return Some(self.last);
        }
        let at = *self.index.get(&Partition { topic: topic.into(), partition })?;
        self.last = at;
        Some(at)
    }

    fn batch_bytes(&self) -> usize {
        (self.collecting_bytes / self.open.len().max(1)).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX)
    }

    fn hand_on(&mut self, at: usize) {
        let (partition, collecting) = &mut self.open[at];
        if collecting.waiting() {
            let (range, leader_epoch, records) = collecting.take();
            let credit = self.credits.take(records.bytes());
            let batch = RawBatch { range, leader_epoch, records, credit };
            let generation = collecting.generation;
            let _ = self.events.send(Event::Batch { partition: partition.clone(), generation, batch });
        }
        if collecting.at_end() && !collecting.ended {
            collecting.ended = true;
            let _ = self.events.send(Event::End { partition: partition.clone(), generation: collecting.generation });
        }
        if self.credits.exhausted() && !self.paused {
            self.pause();
        }
    }

    /// Hands on what waits, passes gaps, and goes on reading when memory is free again.
    fn tick(&mut self) {
        if std::mem::take(&mut self.received) {
            self.consumer.context().alive();
        }
        self.pass_gaps();
        for at in 0..self.open.len() {
            self.hand_on(at);
            let (partition, collecting) = &mut self.open[at];
            if let Some(reason) = collecting.stalled(STALLED_AFTER) {
                let (partition, generation) = (partition.clone(), collecting.generation);
                let _ = self.events.send(Event::Stalled { partition, generation, reason });
            }
        }
        if self.paused {
            if self.credits.recovered() {
                self.resume();
            } else {
                let _ = self.events.send(Event::Full);
            }
        }
    }

    /// A consumer's position moves past markers and aborted records, for which no record comes.
    fn pass_gaps(&mut self) {
        let Ok(list) = self.consumer.position() else { return };
        for element in list.elements() {
            if let Offset::Offset(position) = element.offset()
                && let Some(at) = self.find(element.topic(), element.partition())
            {
                match self.open[at].1.damaged_before(position) {
                    Some(reason) => self.broken(at, &reason),
                    None => self.open[at].1.pass(position),
                }
            }
        }
    }

    fn error(&mut self, error: KafkaError) {
        match error {
            KafkaError::PartitionEOF(partition) => {
                self.consumer.context().alive();
                self.pass_to_end(partition);
            }
            KafkaError::MessageConsumptionFatal(_) => drop(self.events.send(Event::Fatal(error))),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => {
                let damage = self.open.iter().find_map(|(_, collecting)| collecting.damage()).map(str::to_owned);
                drop(self.events.send(Event::Suspect(error, damage)));
            }
            KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::BadCompression
                | RDKafkaErrorCode::NotImplemented
                | RDKafkaErrorCode::Underflow
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::MessageSizeTooLarge),
            ) => {
                let damage = format!("Kafka's client can't read a batch of records: {code}");
                if !self.open.is_empty() && self.open.iter().all(|(_, collecting)| collecting.damage().is_none()) {
                    tracing::warn!(error = %code, "Kafka's client can't read a batch of records; no partition goes on past it");
                }
                self.open.iter_mut().for_each(|(_, collecting)| collecting.doubt(&damage));
            }
            // Lost connections and leader changes: librdkafka retries, and the context has said it once.
            error => tracing::debug!(%error, "while polling"),
        }
    }

    /// The client has reached the end of a partition: of this run's end, too, even if nothing that was aborted before it moved
    /// its position. The event doesn't tell the topic, so this is known only where there is one.
    fn pass_to_end(&mut self, partition: i32) {
        let one_topic = self.open.windows(2).all(|pair| pair[0].0.topic == pair[1].0.topic);
        let at = self.open.iter().position(|(open, _)| one_topic && open.partition == partition);
        if let Some(at) = at
            && let Some(end) = self.open[at].1.end
        {
            match self.open[at].1.damaged_before(end) {
                Some(reason) => self.broken(at, &reason),
                None => self.open[at].1.pass(end),
            }
        }
    }

    fn rebalances(&mut self) {
        for rebalance in self.consumer.context().take_rebalances() {
            if let Rebalance::Revoked(partitions, lost) = &rebalance {
                for partition in partitions {
                    if let Some(at) = self.index.get(partition).copied()
                        && !lost
                    {
                        self.hand_on(at);
                    }
                    self.forget(partition);
                }
            }
            let _ = self.events.send(Event::Rebalance(rebalance));
        }
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
            Command::Commit(offsets) => self.commit(&offsets, CommitMode::Async),
            Command::Close(_) => unreachable!("the loop ends with it"),
        }
    }

    fn start(&mut self, starts: &[StartAt]) {
        for start in starts {
            self.open(start);
        }
        // Also when the list is empty: the group waits for this answer to its assignment.
        let list = positions(starts.iter().map(|start| (&start.partition, Offset::Offset(start.position))));
        self.report(self.consumer.incremental_assign(&list));
        self.set_flow();
    }

    /// An assigned partition seeks: to unassign and assign it again would also answer a group event that is under way.
    fn restart(&mut self, start: &StartAt) {
        if !self.assigned().contains(&start.partition) {
            return self.start(std::slice::from_ref(start));
        }
        self.open(start);
        let list = positions([(&start.partition, Offset::Offset(start.position))]);
        let sought = self.consumer.seek_partitions(list, SEEK_WITHIN);
        let failed = sought.and_then(|list| list.elements().iter().try_for_each(|element| element.error())).err();
        if let Some(error) = failed {
            // The client has given the partition up, after an error of its own: it is taken anew.
            tracing::debug!(partition = %start.partition, %error, "seek failed, assigning again");
            self.report(self.consumer.incremental_unassign(&positions([(&start.partition, Offset::Invalid)])));
            self.report(
                self.consumer.incremental_assign(&positions([(&start.partition, Offset::Offset(start.position))])),
            );
        }
        self.set_flow();
    }

    fn open(&mut self, start: &StartAt) {
        self.forget(&start.partition);
        self.index.insert(start.partition.clone(), self.open.len());
        let collecting = Collecting::new(start.generation, start.position, start.end);
        self.open.push((start.partition.clone(), collecting));
    }

    /// The client remembers a pause of a partition that went and came back, so that both ways are said.
    fn set_flow(&mut self) {
        if self.paused {
            self.pause();
        } else {
            self.resume();
        }
    }

    /// Stops collecting for a partition; what was collected and not handed on is read again by whoever comes next.
    fn forget(&mut self, partition: &Partition) {
        if let Some(at) = self.index.remove(partition) {
            self.open.swap_remove(at);
            if let Some((moved, _)) = self.open.get(at) {
                self.index.insert(moved.clone(), at);
            }
        }
    }

    fn assigned(&self) -> Vec<Partition> {
        self.consumer.assignment().map(|list| names(&list)).unwrap_or_default()
    }

    fn pause(&mut self) {
        self.paused = true;
        if let Ok(list) = self.consumer.assignment() {
            self.report(self.consumer.pause(&list));
        }
        let _ = self.events.send(Event::Full);
    }

    fn resume(&mut self) {
        self.paused = false;
        if let Ok(list) = self.consumer.assignment() {
            self.report(self.consumer.resume(&list));
        }
    }

    fn commit(&self, offsets: &[(Partition, i64)], mode: CommitMode) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(*position)).expect("a position in a ledger is not below 0");
            element.set_metadata(&self.mark);
        }
        if let Err(error) = self.consumer.commit(&list, mode) {
            // Advisory only: the ledger has the truth.
            tracing::debug!(%error, "the group's offsets were not committed");
        }
    }

    fn close(&mut self, offsets: &[(Partition, i64)]) {
        self.commit(offsets, CommitMode::Async);
        self.consumer.context().close();
        // A group event that was not answered would hold the consumer's close for ever.
        let _ = self.consumer.incremental_assign(&TopicPartitionList::new());
        if let Ok(assigned) = self.consumer.assignment() {
            let _ = self.consumer.incremental_unassign(&assigned);
        }
    }

    fn report(&self, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            let _ = self.events.send(Event::Fatal(error));
        }
    }
}
