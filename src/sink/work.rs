//! What a lane's jobs do, on a blocking thread: write batches, and make what was written one entry
//! of the ledger.
//!
//! A commit is begun and not waited for: the next files are written while it is under way. The next
//! commit waits for it, as everything does that must know where the ledger ends. So there may be
//! staged files of two sequence numbers.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::encoders::Encoder;
use super::under_way::{Attempt, ConfirmTopic, TellSource, UnderWay, Untried};
use super::{Discard, LaneWriter, Pending, Roller, Step};
use crate::base::allocator;
use crate::base::credits::Credit;
use crate::flow::lane::{Held, LaneError};
use crate::flow::messages::{Committed, WindowedBatch};
use crate::flow::meters::{Meter, Stage};
use crate::ledger::{Chain, Committer, NextEntry, Tip};
use crate::model::Partition;
use crate::model::Pipeline;
use crate::model::Reason;
use crate::model::schema::{data_schema, rejects_schema};

/// Windows of time that one entry may speak of: it is read as a whole.
const TALLIES_MAX: usize = 100_000;

/// What a window of time keeps in memory until it is committed, about.
const TALLY_BYTES: usize = 128;

/// What a file of an entry keeps in memory while it is committed, about: its texts, in the entry
/// and as JSON, and its paths in the lists of what is to be fsynced.
const COMMITTED_FILE_BYTES: usize = 3 << 10;

/// What a commit for want of memory must free for it to be worth giving back: that goes through all
/// that is free.
const GIVE_BACK_BYTES: usize = 8 << 20;

/// A lane's open files, what they hold, and the chain that they will be part of.
pub struct Work {
    /// The pipeline's name.
    pipeline: String,
    partition: Partition,
    generation: u64,
    writer: LaneWriter,
    roller: Roller,
    pending: Pending,
    chain: Chain,
    /// The chain's end, but for the commit that is under way.
    tip: Tip,
    under_way: Option<UnderWay>,
    /// The entry that comes next: part of its files' names and footers.
    next: Arc<Mutex<Next>>,
    committer: Committer,
    /// Removes files that become no part of an entry.
    discard: Discard,
    confirm: ConfirmTopic,
    tell: TellSource,
    /// When the newest batch came: all records in it were read before.
    received: Instant,
    /// What the open files hold, taken from the pipeline's budget and shown to the source.
    credit: Credit,
    held: Held,
    meter: Meter,
    /// How long the job has waited for commits.
    waited: Duration,
}

/// An entry of which only its place is known.
struct Next {
    /// Its number.
    sequence: u64,
    /// The checksum of the entry before it.
    previous: String,
}

/// What a lane's work begins with.
pub struct Begin<'a> {
    /// The definition.
    pub pipeline: &'a Pipeline,
    /// Whose lane.
    pub partition: &'a Partition,
    /// Which of the lanes that this partition had.
    pub generation: u64,
    /// The dataset's folder.
    pub root: &'a Path,
    /// The partition's chain.
    pub chain: Chain,
    /// Where the chain ends.
    pub tip: Tip,
    /// Makes entries of the ledger.
    pub committer: Committer,
    /// Is asked before each commit.
    pub confirm: ConfirmTopic,
    /// Is told of each commit.
    pub tell: TellSource,
    /// Counts its time.
    pub meter: Meter,
    /// What it takes from the pipeline's budget.
    pub credit: Credit,
    /// Shows the source what open files hold.
    pub held: Held,
    /// Bytes of rows that may wait before files end row groups.
    pub bytes_max: usize,
}

impl Work {
    /// A lane that goes on from the chain's tip.
    pub fn new(begin: Begin<'_>) -> Self {
        let Begin {
            pipeline,
            partition,
            generation,
            root,
            chain,
            tip,
            committer,
            confirm,
            tell,
            meter,
            credit,
            held,
            bytes_max,
        } = begin;
        let next = Next { sequence: tip.sequence + 1, previous: tip.sha256.clone() };
        let next = Arc::new(Mutex::new(next));
        let (named, made, place, mut files) = (chain.clone(), chain.clone(), next.clone(), 0);
        let names = Box::new(move |side, hive_path: &str| {
            files += 1;
            let Next { sequence, ref previous } = *lock(&place);
            (named.name(sequence, side, hive_path, files), named.receipt(sequence, previous))
        });
        let (rows, removed) = (data_schema(pipeline), chain.clone());
        let discard: Discard = Arc::new(move |staged| removed.discard(staged));
        let writer = LaneWriter::new(pipeline, partition, &rows, &rejects_schema(), root, names)
            .expect("the pipeline was checked: its hive keys are columns, and of types that a path can hold")
            .with_ids(|side, schema| chain.with_ids(side, schema))
            .making_files(Box::new(move |staged| made.create(staged)))
            .discarding(discard.clone())
            .within(bytes_max);
        Work {
            pipeline: pipeline.name.clone(),
            partition: partition.clone(),
            generation,
            writer,
            roller: Roller::new(pipeline.sink.roll),
            pending: Pending::new(tip.to, tip.window.clone(), tip.last),
            chain,
            tip,
            under_way: None,
            next,
            committer,
            discard,
            confirm,
            tell,
            received: Instant::now(),
            credit,
            held,
            meter,
            waited: Duration::ZERO,
        }
    }

    /// Does a job, and counts its time.
    pub(super) fn timed<T>(&mut self, job: impl FnOnce(&mut Self) -> T) -> T {
        let began = Instant::now();
        let done = job(self);
        let waited = std::mem::take(&mut self.waited);
        self.meter.run.busy(Stage::Sink, began.elapsed().saturating_sub(waited));
        self.meter.run.back_pressured(Stage::Sink, waited);
        done
    }

    /// Writes a batch, and begins a commit where the roll rules say.
    ///
    /// # Errors
    /// When a file can't be written or the ledger refuses; the lane can't go on then.
    pub fn write(&mut self, batch: WindowedBatch) -> Result<(), LaneError> {
        self.received = Instant::now();
        for step in self.roller.plan(&batch.parts) {
            match step {
                Step::Write(parts) => {
                    let parts = &batch.parts[parts];
                    let place = Encoder::wait();
                    self.writer.write(parts)?;
                    drop(place);
                    let now = Instant::now();
                    parts.iter().for_each(|part| self.pending.add(part, batch.last, now));
                }
                Step::EndFiles => {
                    let _place = Encoder::wait();
                    self.writer.end_files()?;
                }
                Step::Commit(reason) => self.begin(reason)?,
            }
        }
        if let Some(reason) = self.due() {
            self.commit(reason)?;
        }
        self.look()?;
        self.measure();
        self.meter.run.batch_seconds.observe(batch.read_at.elapsed().as_secs_f64());
        Ok(())
    }

    /// Why to commit now, if there is a reason.
    pub fn due(&self) -> Option<Reason> {
        if self.pending.tallies.len() >= TALLIES_MAX {
            return Some(Reason::Memory);
        }
        self.roller.due(self.writer.is_full(), self.pending.age(Instant::now()))
    }

    /// Begins a commit of everything written.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn commit(&mut self, reason: Reason) -> Result<(), LaneError> {
        self.roller.restart();
        self.begin(reason)?;
        self.measure();
        Ok(())
    }

    /// Looks whether the commit that is under way has ended. Does not block.
    ///
    /// # Errors
    /// When it failed.
    pub fn look(&mut self) -> Result<(), LaneError> {
        match self.under_way.take().map(UnderWay::look) {
            None => {}
            Some(Ok(end)) => self.ended(end?),
            Some(Err(still)) => self.under_way = Some(still),
        }
        Ok(())
    }

    /// Waits for the commit that is under way, if one is: then the ledger has all that was
    /// committed. Blocks.
    ///
    /// # Errors
    /// When it failed.
    pub fn settle(&mut self) -> Result<(), LaneError> {
        let began = Instant::now();
        let end = self.under_way.take().map(UnderWay::wait);
        self.waited += began.elapsed();
        if let Some(tip) = end {
            self.ended(tip?);
        }
        Ok(())
    }

    fn ended(&mut self, tip: Tip) {
        self.tip = tip;
        self.measure();
    }

    /// Begins to make everything written the chain's next entry, once the one before it is durable.
    fn begin(&mut self, reason: Reason) -> Result<(), LaneError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let place = Encoder::wait();
        let held = self.writer.memory();
        let files = self.writer.finish()?;
        drop(place);
        if reason == Reason::Memory && held >= GIVE_BACK_BYTES {
            // Each arena would keep the most that ever was in it, and the next lane's thread may
            // have another one.
            allocator::give_back();
        }
        if let Err(error) = self.settle() {
            files.iter().for_each(|file| (self.discard)(&file.staged));
            return Err(error);
        }
        let pending = self.pending.take();
        pending.assert_files(&files);
        // **Invariant:** an entry starts where the one before it ended.
        assert_eq!(pending.range.from, self.tip.to, "{}: what was written does not follow the ledger", self.partition);
        let committed = Committed {
            partition: self.partition.clone(),
            generation: self.generation,
            to: pending.range.to,
            counts: pending.counts,
            rejected_by: pending.rejected_by,
            newest_us: pending.newest_us,
            watermark_us: pending.window.time().and_then(|state| state.watermark),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
        };
        let next = NextEntry {
            to: pending.range.to,
            last: pending.last,
            counts: pending.counts,
            window: pending.window,
            tallies: pending.tallies.into_values().collect(),
            reason,
            files,
        };
        let entry = self.chain.entry(&self.tip, next);
        let previous = entry.sha256.clone().expect("an entry that was made here is sealed");
        *lock(&self.next) = Next { sequence: entry.sequence + 1, previous };
        let (confirm, committer) = (self.confirm.clone(), self.committer.clone());
        let attempt = Attempt {
            pipeline: self.pipeline.clone(),
            received: self.received,
            committed,
            confirm,
            committer,
            tell: self.tell.clone(),
            meters: self.meter.run.clone(),
        };
        self.under_way = Some(UnderWay::begin(attempt, Untried::new(entry, self.discard.clone()))?);
        Ok(())
    }

    /// Takes what the open files and the commit under way hold from the budget. To commit would
    /// free the first only.
    fn measure(&mut self) {
        let bytes = self.writer.memory() + self.pending.tallies.len() * TALLY_BYTES;
        let under_way = self.under_way.as_ref().map_or(0, |commit| commit.files) * COMMITTED_FILE_BYTES;
        self.credit.resize(bytes + under_way);
        self.held.set(bytes);
    }
}

/// What is in it is replaced as a whole, so a panic elsewhere does not make it wrong.
fn lock(next: &Mutex<Next>) -> MutexGuard<'_, Next> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tempfile::TempDir;

    use super::*;
    use crate::base::credits::Credits;
    use crate::ledger::{ColumnIdentity, Dataset, Definition, Identity};
    use crate::model::pipeline::Roll;
    use crate::model::{Range, RawRecords};
    use crate::validate::Checker;
    use crate::window::{Windows, resume};

    const ROWS: i64 = 100;

    /// A lane of the shipped pipeline that commits each window of 100 rows, and batches of such a
    /// window each.
    struct Lane {
        work: Work,
        chain: Chain,
        windows: Box<dyn Windows>,
        checker: Checker,
        next: i64,
        /// The positions that commits went to.
        told: Receiver<i64>,
        _folder: TempDir,
    }

    impl Lane {
        fn new(confirm: ConfirmTopic) -> Lane {
            let text = include_str!("../../pipelines/air_quality.toml").replace("windows = 100,", "windows = 1,");
            let pipeline = Pipeline::parse("air_quality.toml", &text, &|_| None).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let identity = Identity {
                name: pipeline.name.clone(),
                cluster_id: "cluster".to_owned(),
                columns: ColumnIdentity::of(&data_schema(&pipeline)),
                partition_by: pipeline.sink.partition_by.clone(),
                window: "count".to_owned(),
            };
            let dataset = Dataset::open(folder.path(), &identity, Definition::of(&pipeline)).unwrap();
            dataset.topic("readings", "id", 1).unwrap();
            let chain = dataset.chain("readings", "id", 0);
            let tip = chain.start(0, pipeline.window.kind().first_state()).unwrap();
            let (tell, told) = channel();
            let work = Work::new(Begin {
                pipeline: &pipeline,
                partition: &partition(),
                generation: 1,
                root: folder.path(),
                chain: chain.clone(),
                tip,
                committer: Committer::start(dataset),
                confirm,
                tell: Arc::new(move |committed| tell.send(committed.to).unwrap()),
                meter: Meter::new(&Arc::default(), Stage::Sink),
                credit: Credits::new(1 << 30).take(0),
                held: Held::default(),
                bytes_max: 1 << 30,
            });
            let (windows, checker) = (resume(&pipeline.window, None), Checker::new(&pipeline));
            Lane { work, chain, windows, checker, next: 0, told, _folder: folder }
        }

        /// A lane whose commits wait until they are let go, and then have that answer about the
        /// topic.
        fn held(answer: fn() -> Result<(), LaneError>) -> (Sender<()>, Lane) {
            let (let_go, held) = channel();
            let held = Mutex::new(held);
            let lane = Lane::new(Arc::new(move |_| {
                held.lock().unwrap().recv().unwrap();
                answer()
            }));
            (let_go, lane)
        }

        /// Writes the next window.
        fn write(&mut self) {
            let range = Range { from: self.next, to: self.next + ROWS };
            self.next = range.to;
            let mut records = RawRecords::default();
            for offset in range.from..range.to {
                let value = format!(r#"{{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00","co_gt":0.{offset}}}"#);
                records.push(offset, Some(0), None, Some(value.as_bytes()));
            }
            let parts = self.windows.assign(range, self.checker.check(&partition(), &records));
            let batch = WindowedBatch { range, last: None, read_at: Instant::now(), parts, credit: Credit::none() };
            self.work.write(batch).unwrap();
        }

        /// The positions that the source was told of since it was asked last.
        fn told(&self) -> Vec<i64> {
            self.told.try_iter().collect()
        }
    }

    fn partition() -> Partition {
        Partition { topic: "readings".into(), partition: 0 }
    }

    #[test]
    fn files_are_written_while_a_commit_is_under_way() {
        let (answer, mut lane) = Lane::held(|| Ok(()));
        lane.write();
        lane.work.look().unwrap();
        assert_eq!((lane.told(), lane.chain.recover().unwrap().unwrap().to), (vec![], 0));
        answer.send(()).unwrap();
        // The next commit begins when the one before it is done, and not before.
        lane.write();
        assert_eq!((lane.told(), lane.chain.recover().unwrap().unwrap().to), (vec![100], 100));
        answer.send(()).unwrap();
        lane.work.settle().unwrap();
        assert_eq!(lane.told(), [200]);
        lane.work.settle().unwrap();
        assert_eq!(lane.told(), [0; 0]);
        let tip = lane.chain.recover().unwrap().unwrap();
        assert_eq!((tip.sequence, tip.to), (2, 200));
    }

    #[test]
    fn a_commit_that_fails_ends_the_lane_later_and_commits_nothing() {
        let (answer, mut lane) = Lane::held(|| Err(LaneError::Panicked("confirm")));
        lane.write();
        answer.send(()).unwrap();
        assert!(matches!(lane.work.settle(), Err(LaneError::Panicked("confirm"))));
        assert_eq!((lane.told(), lane.chain.recover().unwrap().unwrap().to), (vec![], 0));
    }

    impl Lane {
        /// How many files are in `staging/`.
        fn staged(&self) -> usize {
            std::fs::read_dir(self._folder.path().join("staging")).unwrap().count()
        }
    }

    #[test]
    fn a_lane_that_is_dropped_leaves_no_files() {
        let mut lane = Lane::new(Arc::new(|_| Ok(())));
        let never = Roll { windows: 100, rows: None, bytes: 1 << 30, age: Duration::from_secs(3600) };
        lane.work.roller = Roller::new(never);
        lane.write();
        lane.work.writer.end_files().unwrap();
        lane.write();
        assert!(lane.staged() > 0);
        let Lane { work, _folder, .. } = lane;
        drop(work);
        assert_eq!(std::fs::read_dir(_folder.path().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn a_commit_that_is_not_confirmed_leaves_no_files() {
        let (answer, mut lane) = Lane::held(|| Err(LaneError::Panicked("confirm")));
        lane.write();
        assert!(lane.staged() > 0);
        answer.send(()).unwrap();
        assert!(lane.work.settle().is_err());
        assert_eq!(lane.staged(), 0);
    }

    #[test]
    fn a_staging_folder_that_is_gone_comes_back() {
        let mut lane = Lane::new(Arc::new(|_| Ok(())));
        lane.write();
        lane.work.settle().unwrap();
        std::fs::remove_dir_all(lane._folder.path().join("staging")).unwrap();
        lane.write();
        lane.work.settle().unwrap();
        assert_eq!(lane.told(), [100, 200]);
        assert_eq!(lane.chain.recover().unwrap().unwrap().to, 200);
        assert_eq!(lane.staged(), 0);
    }

    #[test]
    fn the_source_is_told_of_a_commit_whose_lane_is_gone() {
        let (answer, mut lane) = Lane::held(|| Ok(()));
        lane.write();
        let Lane { work, told, chain, _folder, .. } = lane;
        drop(work);
        answer.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), 100);
        assert_eq!(chain.recover().unwrap().unwrap().to, 100);
    }
}
