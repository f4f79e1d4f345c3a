//! The wiring: the only place that knows which actor talks to which.
//!
//! ```text
//!            one lane per assigned partition, lanes spread over arbiter threads
//! Source ──► Validator ──► Windower ──► Sink ──► ledger
//!    ▲           Committed, LaneEnded     │
//!    └────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor as _, Addr, Arbiter, ArbiterHandle, MailboxError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::consumers::{consumers_for, shares};
use super::limits::RunOptions;
use super::open::{Opened, RunError, open};
use crate::base::memory;
use crate::base::panics;
use crate::flow::lane::{End, Held, Lane, MakeLane, NewLane, Next, Start, Watch};
use crate::flow::messages::CheckedBatch;
use crate::flow::meters::{Meter, Stage};
use crate::flow::run::Run;
use crate::model::Pipeline;
use crate::sink::{Begin, ConfirmTopic, Sink, Work};
use crate::source::{Confirm, Finished, Flush, Launch, PauseReading, ResumeReading, Source, Stop};
use crate::validate::{Checker, Validator};
use crate::window::{Windower, resume};

/// The threads that a process's lanes are spread over. Cheap to clone; the threads last as long as the process.
#[derive(Clone)]
pub struct Arbiters {
    handles: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
}

impl Arbiters {
    /// As many as there are cores, on the current actix system.
    pub fn start() -> Self {
        let handles = (0..cores()).map(|_| Arbiter::new().handle()).collect();
        Arbiters { handles, next: Arc::default() }
    }

    fn next(&self) -> &ArbiterHandle {
        &self.handles[self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len()]
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A pipeline that runs.
pub struct Running {
    /// What its parts share.
    pub run: Arc<Run>,
    sources: Vec<Addr<Source>>,
    ends: Vec<oneshot::Receiver<Finished>>,
}

impl Running {
    /// Reads nothing more and commits what was read; whether every lane did.
    pub fn pause(&self) -> impl Future<Output = bool> + 'static {
        all(self.sources.iter().map(|source| source.send(PauseReading)).collect())
    }

    /// Reads on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.sources.iter().for_each(|source| source.do_send(ResumeReading));
    }

    /// Commits everything that was read so far; whether every lane did.
    pub fn flush(&self) -> impl Future<Output = bool> + 'static {
        all(self.sources.iter().map(|source| source.send(Flush)).collect())
    }

    /// Asks every source to commit everything and to leave the group. [`Running::take_ends`] tells when that is done.
    pub fn stop(&self) {
        for source in &self.sources {
            source.do_send(Stop);
        }
    }

    /// Waits until every source has ended, and gives the reasons of those that were not asked to. To be called once.
    pub fn take_ends(&mut self) -> impl Future<Output = Vec<String>> + 'static {
        let mut ends: FuturesUnordered<_> = std::mem::take(&mut self.ends).into_iter().collect();
        let sources = self.sources.clone();
        async move {
            let mut reasons = Vec::new();
            while let Some(end) = ends.next().await {
                let end = end.unwrap_or_else(|_| Err(format!("a source panicked; {}", panics::blame())));
                if let Err(reason) = end {
                    // The others would run on with a part of the partitions.
                    sources.iter().for_each(|source| source.do_send(Stop));
                    reasons.push(reason);
                }
            }
            reasons
        }
    }
}

/// Whether all answer yes.
async fn all(asked: Vec<impl Future<Output = Result<bool, MailboxError>>>) -> bool {
    let mut all = true;
    for answer in asked {
        // A source that is gone has ended its lanes.
        all &= answer.await.unwrap_or(false);
    }
    all
}

/// Starts a pipeline on the current actix system.
///
/// # Errors
/// When Kafka or the dataset can't be opened; nothing has been read then.
pub async fn start(pipeline: Pipeline, options: RunOptions, arbiters: &Arbiters) -> Result<Running, RunError> {
    let sources = pipeline.source.consumers.unwrap_or_else(|| consumers_for(cores()));
    let opened = tokio::task::spawn_blocking(move || open(pipeline, options, sources));
    let Opened { run, brokers, confirm } = opened.await.map_err(|panic| RunError::Panicked(panic.to_string()))??;
    let lanes = lanes(&run, &confirm, arbiters);
    let shares = match options.until_end {
        true => shares(&run, &brokers[0], sources).await?,
        false => vec![None; sources],
    };
    let (mut addresses, mut ends) = (Vec::new(), Vec::new());
    for (number, (broker, until)) in brokers.into_iter().zip(shares).enumerate() {
        let (confirm, lanes) = (confirm.clone(), lanes.clone());
        match Source::launch(&run, Launch { broker, number, until, confirm, lanes }) {
            Ok((address, end)) => {
                addresses.push(address);
                ends.push(end);
            }
            Err(error) => {
                addresses.iter().for_each(|source: &Addr<Source>| source.do_send(Stop));
                return Err(error.into());
            }
        }
    }
    Ok(Running { run, sources: addresses, ends })
}

/// Makes the lanes of a run, each on one of the arbiter threads.
fn lanes(run: &Arc<Run>, confirm: &Arc<Confirm>, arbiters: &Arbiters) -> MakeLane {
    let (run, confirm, arbiters) = (run.clone(), confirm.clone(), arbiters.clone());
    Arc::new(move |new| lane(&run, &confirm, arbiters.next(), new))
}

/// Makes a lane, last stage first.
fn lane(run: &Run, confirm: &Arc<Confirm>, arbiter: &ArbiterHandle, new: NewLane) -> Lane {
    let NewLane { partition, generation, tip, committed, ended } = new;
    let watch = |stage| Watch::new(partition.clone(), generation, stage, ended.clone());
    let meter = |stage| Meter::new(&run.meters, stage);
    let position = tip.to;
    let held = Held::default();
    let windows = resume(&run.pipeline.window, Some(tip.window.clone()));
    let (confirm, topic) = (confirm.clone(), partition.topic.clone());
    let confirm: ConfirmTopic = Arc::new(move |read_by| Ok(confirm.topic(&topic, read_by)?));
    let work = Work::new(Begin {
        pipeline: &run.pipeline,
        partition: &partition,
        generation,
        root: run.dataset.folder(),
        chain: run.chain(&partition),
        tip,
        committer: run.committer.clone(),
        confirm,
        tell: Arc::new(move |news| committed.do_send(news)),
        meter: meter(Stage::Sink),
        credit: run.credits.take(0),
        held: held.clone(),
        bytes_max: memory::lane_bytes(run.credits.limit()),
    });

    let watched = watch("sink");
    let sink = Sink::start_in_arbiter(arbiter, move |_| Sink::new(work, position, watched));
    let begin = Start { of: windows, position, watch: watch("window"), meter: meter(Stage::Window) };
    let next = Next::to(&sink);
    let windower = Windower::start_in_arbiter(arbiter, move |_| Windower::new(begin, next));
    let of = Checker::new(&run.pipeline);
    let begin = Start { of, position, watch: watch("validate"), meter: meter(Stage::Validate) };
    let (next, idle) = (Next::<CheckedBatch>::to(&windower), windower.recipient());
    let validator = Validator::start_in_arbiter(arbiter, move |_| Validator::new(begin, next, idle));
    Lane {
        batches: validator.clone().recipient(),
        idle: validator.clone().recipient(),
        drain: validator.recipient(),
        commit: sink.clone().recipient(),
        held,
        end: Arc::new(End(sink.recipient())),
    }
}
