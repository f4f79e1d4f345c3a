//! The wiring: the only place that knows which actor talks to which.
//!
//! ```text
//!            one lane per assigned partition, lanes spread over arbiter threads
//! Source ──► Validator ──► Windower ──► Sink ──► ledger
//!    ▲           Committed, LaneEnded     │
//!    └────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor as _, Addr, Arbiter, ArbiterHandle, MailboxError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rdkafka::config::ClientConfig;
use tokio::sync::oneshot;

use super::memory::{Limits, lane_bytes};
use crate::base::codes::{Code, Coded};
use crate::base::credits::Credits;
use crate::base::panics;
use crate::flow::lane::{End, Held, Lane, MakeLane, NewLane, Next, Start, Watch};
use crate::flow::messages::CheckedBatch;
use crate::flow::meters::{Meter, Stage};
use crate::flow::run::{Run, Topic};
use crate::kafka::{Bounds, Broker, BrokerError, client_config};
use crate::ledger::{ColumnIdentity, Committer, Dataset, Definition, Identity, LedgerError};
use crate::model::schema::data_schema;
use crate::model::{Partition, Pipeline};
use crate::settings::service::Restart;
use crate::sink::{ConfirmTopic, Sink, TellSource, Work};
use crate::source::{Confirm, Finished, Flush, Launch, PauseReading, ResumeReading, Source, Stop};
use crate::validate::{Checker, Validator};
use crate::window::{Windower, resume};

/// How many consumers a process has that isn't told. Of the 1.3 us that a gzip reading takes, a consumer's two threads have 0.3
/// and 0.16: with up to four cores it is the rest that is waited for.
fn consumers_for(cores: usize) -> usize {
    cores.div_ceil(4)
}

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

/// Why a pipeline can't start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Kafka isn't there or refuses.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The dataset can't be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No thread.
    #[error("the operating system gives no more threads: {0}")]
    Thread(#[from] std::io::Error),
    /// It panicked.
    #[error("the start panicked ({0}); {blame}", blame = panics::blame())]
    Panicked(String),
}

impl Coded for RunError {
    fn code(&self) -> Code {
        match self {
            RunError::Broker(error) => error.code(),
            RunError::Ledger(error) => error.code(),
            RunError::Thread(_) => Code::NoThread,
            RunError::Panicked(_) => Code::Panicked,
        }
    }
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
/// With `until_end` it reads up to where each partition ends now, without joining the group, and then ends by itself.
///
/// # Errors
/// When Kafka or the dataset can't be opened; nothing has been read then.
pub async fn start(
    pipeline: Pipeline,
    limits: Limits,
    restarts: Restart,
    arbiters: &Arbiters,
    until_end: bool,
) -> Result<Running, RunError> {
    let sources = pipeline.source.consumers.unwrap_or_else(|| consumers_for(cores()));
    let opened = tokio::task::spawn_blocking(move || open(pipeline, limits, restarts, sources));
    let Opened { run, brokers, confirm } = opened.await.map_err(|panic| RunError::Panicked(panic.to_string()))??;
    let lanes = lanes(&run, &confirm, arbiters);
    let shares = match until_end {
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

/// What a source reads in a run until the end, and up to where.
type Share = Option<BTreeMap<Partition, Bounds>>;

/// Deals the partitions of a run until the end to its sources.
async fn shares(run: &Arc<Run>, broker: &Broker, sources: usize) -> Result<Vec<Share>, RunError> {
    let partitions: Vec<Partition> = run
        .topics
        .iter()
        .flat_map(|(topic, known)| {
            (0..known.partitions).map(|partition| Partition { topic: topic.as_str().into(), partition })
        })
        .collect();
    let broker = broker.clone();
    let bounds = tokio::task::spawn_blocking(move || broker.bounds(&partitions));
    let bounds = bounds.await.expect("asking returns its errors; it panics only on a bug")?;
    let mut shares = vec![BTreeMap::new(); sources];
    for (at, (partition, bounds)) in bounds.into_iter().enumerate() {
        // Counted from here on, so that a run that is stopped before a lane starts isn't taken for one that is done.
        run.progress.starts(&partition, bounds.start, Some(bounds.end));
        shares[at % sources].insert(partition, bounds);
    }
    Ok(shares.into_iter().map(Some).collect())
}

/// The configuration of one of a process's consumers: a group refuses two members with the same static name.
fn member(config: &ClientConfig, number: usize) -> ClientConfig {
    const STATIC_NAME: &str = "group.instance.id";
    let mut config = config.clone();
    if let Some(name) = config.get(STATIC_NAME).filter(|_| number > 0) {
        let name = format!("{name}-{number}");
        config.set(STATIC_NAME, name);
    }
    config
}

/// A pipeline that can start.
struct Opened {
    run: Arc<Run>,
    /// One a source.
    brokers: Vec<Broker>,
    confirm: Arc<Confirm>,
}

/// Blocking: asks the cluster who it is, and opens the dataset for it.
fn open(pipeline: Pipeline, limits: Limits, restarts: Restart, consumers: usize) -> Result<Opened, RunError> {
    let config: ClientConfig = client_config(&pipeline.source, limits.fetch_bytes() / consumers);
    let brokers: Vec<_> =
        (0..consumers).map(|number| Broker::new(&member(&config, number))).collect::<Result<_, _>>()?;
    let cluster_id = brokers[0].cluster_id()?;
    let described: Vec<(String, String, i32)> = pipeline
        .source
        .topics
        .iter()
        .map(|topic| brokers[0].topic(topic).map(|(id, partitions)| (topic.clone(), id, partitions)))
        .collect::<Result<_, _>>()?;
    let identity = identity(&pipeline, cluster_id);
    let definition = Definition { hash: pipeline.hash.clone(), text: pipeline.text.clone() };
    let folder = pipeline.folder();
    let dataset = Dataset::open(&folder, &identity, definition)?;
    let mut topics = HashMap::new();
    for (topic, id, partitions) in described {
        let partitions_at_start = dataset.topic(&topic, &id, partitions)?.partitions_at_start;
        topics.insert(topic, Topic { id, partitions_at_start, partitions });
    }
    let run = Arc::new(Run {
        drain: limits.drain,
        collecting_bytes: limits.collecting_bytes() / consumers,
        restarts,
        credits: Credits::new(limits.credit_bytes()),
        progress: Arc::default(),
        meters: Arc::default(),
        committer: Committer::start(dataset.clone()),
        dataset,
        topics,
        consumers,
        pipeline,
    });
    let confirm = Arc::new(Confirm::new(&run, &config)?);
    Ok(Opened { run, brokers, confirm })
}

/// What all files that a pipeline writes agree on.
pub(crate) fn identity(pipeline: &Pipeline, cluster_id: String) -> Identity {
    Identity {
        name: pipeline.name.clone(),
        cluster_id,
        columns: ColumnIdentity::of(&data_schema(pipeline)),
        partition_by: pipeline.sink.partition_by.clone(),
        window: pipeline.window.kind().identity(),
    }
}

/// Whether a pipeline may go on with the dataset that is there under its name, if one is, and which topics that has. Asks no
/// broker; blocking.
///
/// # Errors
/// When its columns, hive keys or windows are others than the dataset's.
pub fn fits_its_dataset(pipeline: &Pipeline) -> Result<Vec<String>, LedgerError> {
    match Dataset::existing(&pipeline.folder()) {
        Ok(dataset) => {
            dataset.fits(&identity(pipeline, dataset.identity().cluster_id.clone()))?;
            Ok(dataset.topics()?.into_iter().map(|topic| topic.topic).collect())
        }
        Err(LedgerError::NotADataset { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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
    let chain = run.chain(&partition);
    let memory = (run.credits.take(0), held.clone(), lane_bytes(run.credits.limit()));
    let (confirm, topic) = (confirm.clone(), partition.topic.clone());
    let confirm: ConfirmTopic = Arc::new(move |read_by| Ok(confirm.topic(&topic, read_by)?));
    let tell: TellSource = Arc::new(move |news| committed.do_send(news));
    let to = (run.committer.clone(), confirm, tell, meter(Stage::Sink));
    let work = Work::new(&run.pipeline, (&partition, generation), run.dataset.folder(), chain, tip, to, memory);

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

/// Gives a run another share of the process's memory: for batches, files and the lanes that start from now on; what the client
/// fetches ahead stays.
pub fn share(run: &Run, memory: usize) {
    run.credits.set_limit(Limits { memory, drain: run.drain }.credit_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn consumers_follow_the_cores() {
        assert_eq!([1, 2, 4, 5, 8, 64].map(consumers_for), [1, 1, 1, 2, 2, 16]);
    }

    #[test]
    fn static_members_of_one_process_have_names_of_their_own() {
        let mut config = ClientConfig::new();
        let names = |config: &ClientConfig| {
            [0, 1, 2].map(|number| member(config, number).get("group.instance.id").map(str::to_owned))
        };
        assert_eq!(names(&config), [None, None, None]);
        config.set("group.instance.id", "weir-a");
        assert_eq!(names(&config).map(Option::unwrap), ["weir-a", "weir-a-1", "weir-a-2"]);
    }
}
