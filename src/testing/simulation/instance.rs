//! What a process of weir does, from its start on: the real dataset, committer and lanes. Only the source is played: it hands
//! batches of the log to the lane, and what the actors would pass on is passed on here.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Violation;
use super::disk::{EIO, ENOSPC, SimulatedDisk};
use super::oracle::Event;
use super::random::Random;
use super::tasks;
use super::world::{ROOT, TOPIC, TOPIC_ID, World};
use crate::base::background;
use crate::base::credits::Credits;
use crate::flow::lane::{Held, LaneError};
use crate::flow::messages::{WindowedBatch, WindowedPart};
use crate::flow::meters::{Meter, Stage};
use crate::ledger::{Chain, ColumnIdentity, Committer, Dataset, Definition, Identity, LedgerError, Tip};
use crate::model::Reason;
use crate::model::schema::data_schema;
use crate::model::{Partition, Range};
use crate::sink::{Begin, ConfirmTopic, TellSource, Work};
use crate::store::{Local, StoreError};
use crate::validate::Checker;
use crate::window::resume;

/// A process's first task.
pub(super) const MAIN: &str = "main";

/// How often in a row a lane of one process may fail before it is left alone.
const FAILURES_MAX: u32 = 6;

/// A process's first task: opens the dataset and starts the committer and the lanes, which are `calm` where nobody takes their
/// partition away.
pub(super) fn start(world: &Arc<World>, seed: u64, calm: bool) {
    let dataset = match open(world) {
        Ok(dataset) => dataset,
        Err(error) => return judge(world, &error.into()),
    };
    let (committer, work) = Committer::new(dataset.clone());
    tasks::spawn("committer", Box::new(work));
    for partition in 0..world.config.partitions {
        let lane = Lane {
            world: world.clone(),
            number: partition,
            partition: World::partition(partition),
            chain: dataset.chain(TOPIC, TOPIC_ID, partition),
            dataset: dataset.clone(),
            committer: committer.clone(),
            calm,
            failures: Arc::default(),
            random: Random::of(&[seed, 3, u64::try_from(partition).unwrap_or_default()]),
        };
        tasks::spawn_for("lane", partition, || lane.run());
    }
}

fn open(world: &World) -> Result<Dataset, LedgerError> {
    let pipeline = &world.pipeline;
    let identity = Identity {
        name: pipeline.name.clone(),
        cluster_id: "cluster".to_owned(),
        columns: ColumnIdentity::of(&data_schema(pipeline)),
        partition_by: pipeline.sink.partition_by.clone(),
        window: "simulated".to_owned(),
    };
    let definition = Definition::of(pipeline);
    let store = Local::on(Arc::new(world.disk.for_a_process()), ROOT.into());
    let dataset = Dataset::open_in(Arc::new(store), &identity, definition, world.config.every)?;
    dataset.topic(TOPIC, TOPIC_ID, world.config.partitions)?;
    Ok(dataset)
}

/// Only being fenced is part of the game, and what follows from a fault that the disk had.
fn judge(world: &World, error: &LaneError) {
    if matches!(error, LaneError::Ledger(LedgerError::Fenced { .. })) {
        world.disk.state().fenced += 1;
        return;
    }
    let text = format!("{error:?}");
    let injected = matches!(error, LaneError::Ledger(LedgerError::Store(StoreError::NotDurable { .. })))
        || [EIO, ENOSPC].iter().any(|number| text.contains(&format!("code: {number},")));
    let state = world.disk.state();
    // A disk that refuses everything also says that nothing is there.
    if !(injected && state.injured || state.is_down()) {
        drop(state);
        let text = format!("a lane fails, and no fault explains it: {:#}", anyhow::anyhow!("{error}: {text}"));
        std::panic::resume_unwind(Box::new(Violation(text)));
    }
}

struct Lane {
    world: Arc<World>,
    number: i32,
    partition: Partition,
    dataset: Dataset,
    chain: Chain,
    committer: Committer,
    calm: bool,
    /// How often it has failed since it last committed something.
    failures: Arc<AtomicU32>,
    random: Random,
}

impl Lane {
    /// Lane after lane, as a source starts them.
    fn run(mut self) {
        while self.failures.load(Relaxed) < FAILURES_MAX {
            match self.once() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    judge(&self.world, &error);
                    self.failures.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn recover(&self) -> Result<Tip, LaneError> {
        let tip = match self.chain.recover()? {
            Some(tip) => tip,
            None => {
                let entry = self.chain.first_entry(0, self.world.pipeline.window.kind().first_state());
                let reply = background::wait(self.committer.commit(entry));
                self.chain.adopt(reply.map_err(|_| LaneError::Panicked("commit"))?)?
            }
        };
        report(&self.world.disk, self.number, tip.to);
        Ok(tip)
    }

    /// A lane from its start to the end of the log, or until it is dropped.
    fn once(&mut self) -> Result<bool, LaneError> {
        let (world, tip) = (self.world.clone(), self.recover()?);
        let (log, mut position) = (world.log(self.number), tip.to);
        let mut windows = resume(&world.pipeline.window, Some(tip.window.clone()));
        let mut checker = Checker::new(&world.pipeline);
        let mut work = self.work(tip);
        while position < log.end {
            let count = 1 + self.random.below(world.config.batch_max);
            let (range, records) = log.read(position, count, self.random.chance(500));
            position = range.to;
            let parts = windows.assign(range, checker.check(&self.partition, &records));
            self.write(&mut work, range, parts)?;
            if self.random.chance(world.config.age) {
                let begun = work.commit(Reason::Age);
                settled(&mut work, begun)?;
            }
            if !self.calm && self.random.chance(world.config.abandon) {
                // Lost the partition, and was given it again.
                return Ok(false);
            }
            tasks::step();
        }
        let ended = work.commit(Reason::Drain).and_then(|()| work.settle());
        settled(&mut work, ended)?;
        Ok(true)
    }

    fn work(&self, tip: Tip) -> Work {
        let confirm: ConfirmTopic = Arc::new(|_| Ok(()));
        let (disk, number, failures) = (self.world.disk.clone(), self.number, self.failures.clone());
        let tell: TellSource = Arc::new(move |committed| {
            failures.store(0, Relaxed);
            report(&disk, number, committed.to);
        });
        Work::new(Begin {
            pipeline: &self.world.pipeline,
            partition: &self.partition,
            generation: 1,
            root: self.dataset.folder(),
            chain: self.chain.clone(),
            tip,
            committer: self.committer.clone(),
            confirm,
            tell,
            meter: Meter::new(&Arc::default(), Stage::Sink),
            credit: Credits::new(1 << 30).take(0),
            held: Held::default(),
            bytes_max: 1 << 30,
        })
    }

    fn write(&self, work: &mut Work, range: Range, parts: Vec<WindowedPart>) -> Result<(), LaneError> {
        let credit = Credits::new(1 << 30).take(0);
        let batch = WindowedBatch { range, last: None, read_at: Instant::now(), parts, credit };
        let result = work.write(batch);
        settled(work, result)
    }
}

/// As the sink's jobs do: what is under way ends before the lane does.
fn settled(work: &mut Work, result: Result<(), LaneError>) -> Result<(), LaneError> {
    if result.is_err() {
        let _ = work.settle();
    }
    result
}

/// From here on Kafka may be told.
fn report(disk: &SimulatedDisk, partition: i32, to: i64) {
    disk.state().events.push(Event::Reported { partition, to });
}
