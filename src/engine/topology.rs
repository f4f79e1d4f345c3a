//! The wiring: the only place that knows which actor talks to which.
//!
//! ```text
//!            one lane per assigned partition, lanes spread over arbiter threads
//! Source ──► Validator ──► Windower ──► Sink ──► ledger
//!    ▲           Committed, LaneEnded     │
//!    └────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor as _, Addr, Arbiter, ArbiterHandle, MailboxError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rdkafka::config::ClientConfig;
use tokio::sync::oneshot;

use crate::base::credits::Credits;
use crate::base::panics;
use crate::flow::lane::{End, Held, Lane, Watch};
use crate::flow::messages::Committed;
use crate::flow::meters::{Meter, Meters, Stage};
use crate::flow::progress::Progress;
use crate::kafka::{Broker, BrokerError, client_config};
use crate::ledger::{
    Chain, ColumnIdentity, Committer, Dataset, Definition, Identity, LedgerError, NextEntry, Others, Tip,
};
use crate::model::Partition;
use crate::model::Pipeline;
use crate::model::Reason;
use crate::model::pipeline::Window;
use crate::model::schema::data_schema;
use crate::model::window::{ClosedBy, WindowState};
use crate::settings::service::Restart;
use crate::sink::{ConfirmTopic, Sink, TellSource, Work};
use crate::source::{Confirm, Finished, Flush, PauseReading, ResumeReading, Source, Stop};
use crate::validate::{Checker, Validator};
use crate::window::{Windower, Windows};

/// How many consumers a process has that isn't told. Of the 1.3 us that a gzip reading takes, a consumer's two threads have 0.3
/// and 0.16: with up to four cores it is the rest that is waited for.
fn consumers_for(cores: usize) -> usize {
    cores.div_ceil(4)
}

/// The limits of a process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of records and open files, whatever the number of pipelines, partitions and windows.
    pub memory: usize,
    /// How long lanes may take to commit what they have when they are to end.
    pub drain: Duration,
}

impl Limits {
    /// What librdkafka may fetch ahead, all consumers together, as it counts: values only, and compressed batches as they are.
    /// What that takes in memory is bounded by `source/room.rs`, by a third of the credits.
    fn fetch_bytes(&self) -> usize {
        self.memory / 16
    }

    /// What half-full batches may hold, all partitions of all consumers together.
    fn collecting_bytes(&self) -> usize {
        self.memory / 16
    }

    /// What batches on their way and open files may hold.
    fn credit_bytes(&self) -> usize {
        self.memory / 8 * 3
    }
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

/// What every part of a running pipeline knows.
pub struct Run {
    /// The definition.
    pub pipeline: Pipeline,
    /// The process's limits.
    pub limits: Limits,
    /// How lanes are restarted.
    pub restarts: Restart,
    /// Memory that may still be used.
    pub credits: Credits,
    /// How far the run is.
    pub progress: Arc<Progress>,
    /// What its stages do with their time.
    pub meters: Arc<Meters>,
    /// What lanes ask before they commit.
    pub confirm: Confirm,
    dataset: Dataset,
    committer: Committer,
    topics: HashMap<String, Topic>,
    consumers: usize,
    arbiters: Arbiters,
}

/// The numbers of a run, which outlive it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// How far it is.
    pub progress: Arc<Progress>,
    /// What its stages do with their time.
    pub meters: Arc<Meters>,
    /// Memory that it uses.
    pub credits: Credits,
}

/// A topic as the run found it.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The cluster's id for it.
    pub id: String,
    /// How many partitions it had when the dataset first saw it.
    pub partitions_at_start: i32,
    /// How many it has now.
    partitions: i32,
}

impl Run {
    /// What is known of a topic of this pipeline.
    pub fn topic(&self, topic: &str) -> &Topic {
        &self.topics[topic]
    }

    /// A partition's chain in the ledger.
    pub fn chain(&self, partition: &Partition) -> Chain {
        self.dataset.chain(&partition.topic, &self.topic(&partition.topic).id, partition.partition)
    }

    /// Starts a partition's chain at `position`, or adopts the one that another instance has started. Blocking.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub(crate) fn start_chain(&self, chain: &Chain, position: i64, window: WindowState) -> Result<Tip, LedgerError> {
        let reply = self.committer.commit(chain.first_entry(position, window));
        chain.adopt(reply.blocking_recv().expect("the committer ends with its last handle, and this is one"))
    }

    /// Up to where a quiet partition may close its windows because the others have; a window's bound, in microseconds since
    /// 1970.
    pub fn closed_by_others(&self, partition: &Partition, others: &Others) -> Option<i64> {
        let Window::Tumbling(window) = &self.pipeline.window else { return None };
        let to = others.closed_to(&self.chain(partition));
        // Only whole windows: the others' watermarks move with every row.
        to.map(|to| window.calendar().window(to).0)
    }

    /// Closes every window of time that has a row, in all partitions; gives how many partitions it closed some in. Blocking.
    ///
    /// # Errors
    /// When the ledger refuses: another instance may be writing.
    pub fn close_windows(&self) -> Result<usize, LedgerError> {
        let Window::Tumbling(tumbling) = &self.pipeline.window else { return Ok(0) };
        let mut tips = Vec::new();
        for chain in self.chains() {
            if let Some(tip) = chain.recover()? {
                tips.push((chain, tip));
            }
        }
        let mut calendar = tumbling.calendar();
        let ends = tips.iter().filter_map(|(_, tip)| match &tip.window {
            WindowState::Time(state) => state.largest.map(|largest| calendar.window(largest).1).max(state.watermark),
            WindowState::Count { .. } => None,
        });
        let to = ends.max();
        let mut closed = 0;
        for (chain, tip) in tips {
            let mut windows = Windows::new(&self.pipeline.window, Some(tip.window.clone()));
            let Some(part) = windows.close(tip.to, to, ClosedBy::Hand) else { continue };
            let next = NextEntry {
                to: tip.to,
                last: tip.last,
                counts: part.counts,
                window: part.state,
                tallies: part.tallies,
                reason: Reason::Close,
                files: Vec::new(),
            };
            let reply = self.committer.commit(chain.entry(&tip, next));
            reply.blocking_recv().expect("the committer ends with its last handle, and this is one")?;
            closed += 1;
        }
        Ok(closed)
    }

    /// The chains of all partitions.
    pub fn chains(&self) -> Vec<Chain> {
        let of = |(name, topic): (&String, &Topic)| {
            (0..topic.partitions).map(|partition| self.dataset.chain(name, &topic.id, partition)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// What half-full batches may hold, all partitions of one consumer together.
    pub(crate) fn collecting_bytes(&self) -> usize {
        self.limits.collecting_bytes() / self.consumers
    }

    /// How many consumers read it.
    pub fn consumers(&self) -> usize {
        self.consumers
    }

    /// The dataset's id: marks the offsets that this dataset's instances commit to Kafka.
    pub fn dataset_id(&self) -> &str {
        self.dataset.id()
    }

    /// Its numbers.
    pub fn numbers(&self) -> Numbers {
        let (progress, meters, credits) = (self.progress.clone(), self.meters.clone(), self.credits.clone());
        Numbers { progress, meters, credits }
    }

    /// What the waiting rows of one lane may hold before its files end row groups. Three lanes have three quarters of what there is;
    /// where more lanes have rows, the one that holds the most commits.
    fn lane_bytes(&self) -> usize {
        self.credits.limit() / 4
    }

    /// Gives it another share of the process's memory: for batches, files and the lanes that start from
    /// now on; what the client fetches ahead stays.
    pub fn share(&self, memory: usize) {
        self.credits.set_limit(Limits { memory, ..self.limits }.credit_bytes());
    }

    /// The dataset's folder.
    pub fn folder(&self) -> PathBuf {
        self.dataset.folder().to_owned()
    }
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
    let arbiters = arbiters.clone();
    let opened = tokio::task::spawn_blocking(move || open(pipeline, limits, restarts, sources, arbiters));
    let (run, brokers) = opened.await.map_err(|panic| RunError::Panicked(panic.to_string()))??;
    let run = Arc::new(run);
    let shares = match until_end {
        true => shares(&run, &brokers[0], sources).await?,
        false => vec![None; sources],
    };
    let (mut addresses, mut ends) = (Vec::new(), Vec::new());
    for (number, (broker, until)) in brokers.into_iter().zip(shares).enumerate() {
        match Source::launch(&run, broker, number, until) {
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
type Share = Option<BTreeMap<Partition, crate::kafka::Bounds>>;

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

/// Blocking: asks the cluster who it is, and opens the dataset for it.
fn open(
    pipeline: Pipeline,
    limits: Limits,
    restarts: Restart,
    consumers: usize,
    arbiters: Arbiters,
) -> Result<(Run, Vec<Broker>), RunError> {
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
    let run = Run {
        limits,
        restarts,
        credits: Credits::new(limits.credit_bytes()),
        progress: Arc::default(),
        meters: Arc::default(),
        confirm: Confirm::new(&config)?,
        committer: Committer::start(dataset.clone()),
        dataset,
        topics,
        consumers,
        arbiters,
        pipeline,
    };
    Ok((run, brokers))
}

/// What all files that a pipeline writes agree on.
pub(crate) fn identity(pipeline: &Pipeline, cluster_id: String) -> Identity {
    Identity {
        name: pipeline.name.clone(),
        cluster_id,
        columns: ColumnIdentity::of(&data_schema(pipeline)),
        partition_by: pipeline.sink.partition_by.clone(),
        window: match &pipeline.window {
            Window::Count { .. } => "count".to_owned(),
            Window::Tumbling(window) => format!("tumbling {window}"),
        },
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

/// Makes a lane on one of the arbiter threads, last stage first, starting at `tip`.
pub fn lane(run: &Arc<Run>, (partition, generation): (&Partition, u64), tip: Tip, source: &Addr<Source>) -> Lane {
    let arbiter = run.arbiters.next();
    let watch = |stage| Watch::new(partition.clone(), generation, stage, source.clone().recipient());
    let meter = |stage| Meter::new(&run.meters, stage);
    let position = tip.to;
    let held = Held::default();
    let windows = Windows::new(&run.pipeline.window, Some(tip.window.clone()));
    let chain = run.chain(partition);
    let (root, committer, memory) =
        (run.dataset.folder(), run.committer.clone(), (run.credits.take(0), held.clone(), run.lane_bytes()));
    let (of, topic) = (run.clone(), partition.topic.clone());
    let confirm: ConfirmTopic = Arc::new(move |read_by| Ok(of.confirm.topic(&of, &topic, read_by)?));
    let told = source.clone().recipient::<Committed>();
    let tell: TellSource = Arc::new(move |committed| told.do_send(committed));
    let work = {
        let (of, to) = ((partition, generation), (committer, confirm, tell, meter(Stage::Sink)));
        Work::new(&run.pipeline, of, root, chain, tip, to, memory)
    };

    let watched = watch("sink");
    let sink = Sink::start_in_arbiter(arbiter, move |_| Sink::new(work, position, watched));
    let (next, watched) = (sink.clone(), watch("window"));
    let watched = (watched, meter(Stage::Window));
    let windower = Windower::start_in_arbiter(arbiter, move |_| Windower::new(windows, position, next, watched));
    let (checker, watched) = (Checker::new(&run.pipeline), (watch("validate"), meter(Stage::Validate)));
    let validator = Validator::start_in_arbiter(arbiter, move |_| Validator::new(checker, position, windower, watched));
    let end = Arc::new(End(sink.clone()));
    Lane { validator, sink, held, end }
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
