//! What faults happen to: a topic that is fed all the time, weir reading it, a disk, a clock and a network that can be made
//! to fail, and a reader that never rests. At its end everything is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::case::{Case, PATIENCE};
use crate::harness::cluster::Cluster;
use crate::harness::dataset::files;
use crate::harness::feed::{self, Feed};
use crate::harness::oracle::{Found, committed, compare};
use crate::harness::pipeline::Pipeline;
use crate::harness::proxy::Mode;
use crate::harness::service::Service;
use crate::harness::shim::Shim;
use crate::harness::topics::{make_replicated, try_end, until_settled};
use crate::harness::watcher::Watcher;
use crate::harness::weir::Run;
use crate::harness::{python, until};

/// A member that says nothing for so long is out of the group.
pub(super) const SESSION: Duration = Duration::from_millis(1_500);

/// How weir is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Serve,
}

/// A topic, its readers and its writers.
pub(super) struct World<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) case: Case<'a>,
    pub(super) shim: Shim,
    pub(super) feed: Feed,
    command: Command,
    watcher: Watcher,
    /// The process that faults happen to.
    weir: Option<Run>,
    definitions: u32,
}

/// What the end of a world showed.
pub(super) struct Judgement {
    pub(super) found: Found,
    pub(super) seen_aborted: u64,
    pub(super) files: usize,
    pub(super) looks: u64,
    pub(super) transactions: usize,
}

/// Commits all the time, and notices soon that somebody is gone.
pub(super) fn restless(pipeline: &mut Pipeline) {
    pipeline.rows_per_window = 20;
    pipeline.roll = r#"windows = 20, age = "250ms""#.into();
    pipeline.source = format!(
        "[source.client]\n\
         \"session.timeout.ms\" = {}\n\
         \"heartbeat.interval.ms\" = 250\n\
         \"socket.timeout.ms\" = 2000\n\
         \"socket.connection.setup.timeout.ms\" = 2000\n\
         \"reconnect.backoff.ms\" = 50\n\
         \"reconnect.backoff.max.ms\" = 500\n\
         \"topic.metadata.refresh.interval.ms\" = 1000\n\
         \"statistics.interval.ms\" = 500",
        SESSION.as_millis()
    );
}

/// A pipeline on a topic of a cluster, through its network.
pub(super) fn case<'a>(cluster: &'a Cluster, topic: &str) -> Case<'a> {
    let broker = &cluster.brokers[0];
    let pipeline = Pipeline { brokers: cluster.outside(), ..Pipeline::new(broker, topic) };
    Case::of(broker, pipeline).with(restless)
}

impl Judgement {
    pub(super) fn text(&self) -> String {
        let Judgement { found, files, looks, transactions, .. } = self;
        format!(
            "{:?} in {files} files, of {transactions} transactions; the watcher looked {looks} times",
            found.verdict
        )
    }
}

impl<'a> World<'a> {
    /// Starts feeding a new topic, and reading it.
    pub(super) fn start(cluster: &'a Cluster, topic: &str, command: Command, seed: u64) -> World<'a> {
        let broker = &cluster.brokers[0];
        make_replicated(broker, topic, 3, cluster.brokers.len() as i32, &[]);
        let case = case(cluster, topic);
        let feed = Feed::start(&broker.address(), topic, 3, seed);
        let watcher = Watcher::start(case.dataset());
        let mut world = World { cluster, case, shim: Shim::new(), feed, command, watcher, weir: None, definitions: 0 };
        world.define();
        world.restart();
        // Where chains start, and then some records.
        world.progress();
        world.progress();
        world
    }

    /// The process that faults happen to.
    pub(super) fn weir(&mut self) -> &mut Run {
        self.weir.as_mut().expect("there is a process but while a fault replaces it")
    }

    pub(super) fn has_weir(&self) -> bool {
        self.weir.is_some()
    }

    pub(super) fn take(&mut self) -> Run {
        self.weir.take().expect("there is a process but while a fault replaces it")
    }

    pub(super) fn adopt(&mut self, run: Run) {
        assert!(self.weir.replace(run).is_none(), "one process at a time is the one that faults happen to");
    }

    /// Starts the process that faults happen to.
    pub(super) fn restart(&mut self) {
        let run = self.another(&[]);
        self.adopt(run);
    }

    /// Starts one more process.
    pub(super) fn another(&self, environment: &[(&str, &str)]) -> Run {
        let shim = self.shim.environment();
        let mut all: Vec<(&str, &str)> = shim.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([
            ("WEIR__RESTART__BACKOFF_MIN", "50ms"),
            ("WEIR__RESTART__BACKOFF_MAX", "500ms"),
            ("WEIR__RESTART__FAILURES_UNTIL_PARKED", "1000"),
            ("WEIR__HTTP__LISTEN", "127.0.0.1:0"),
            ("WEIR_CHECKPOINT_ENTRIES", "7"),
        ]);
        all.extend(environment);
        let file = self.case.file();
        let args: &[&str] = match self.command {
            Command::Run => &["run", &file],
            Command::Serve => &["serve"],
        };
        self.case.workspace.spawn_with(args.iter().copied(), &all)
    }

    /// Gives the pipeline a definition that it didn't have before, and that means the same.
    pub(super) fn define(&mut self) {
        self.definitions += 1;
        self.case.pipeline.roll = format!("windows = 20, age = \"{}ms\"", 250 + self.definitions);
        let toml = self.case.pipeline.toml();
        let folder = self.case.workspace.path();
        fs::create_dir_all(folder.join("pipelines")).unwrap();
        for path in [folder.join(self.case.file()), folder.join("pipelines").join(self.case.file())] {
            fs::write(path, &toml).unwrap();
        }
    }

    /// Waits until the process is at an end that a fault gave it.
    pub(super) fn ended(&mut self) -> crate::harness::weir::Finished {
        self.take().wait(PATIENCE)
    }

    /// Waits until every partition has a newer entry than now, and says how long the first one took.
    pub(super) fn progress(&mut self) -> Duration {
        self.progress_within(PATIENCE).unwrap_or_else(|| {
            let (newest, log) = (self.case.newest(), self.weir().stderr());
            panic!("no progress in {PATIENCE:?} from {newest:?}:\n{}", tail(&log));
        })
    }

    /// The same; none if it takes too long.
    pub(super) fn progress_within(&mut self, patience: Duration) -> Option<Duration> {
        let (before, since) = (self.case.newest(), Instant::now());
        let mut first = None;
        while since.elapsed() < patience {
            let now = self.case.newest();
            let newer = now.iter().filter(|(chain, number)| before.get(*chain).is_none_or(|before| before < *number));
            let newer = newer.count();
            if newer > 0 {
                first.get_or_insert(since.elapsed());
            }
            if newer >= self.feed.partitions() as usize {
                return first;
            }
            if let Some(weir) = &mut self.weir
                && !weir.is_running()
            {
                let finished = self.ended();
                panic!("weir ended by itself: {}\n{}\n{}", finished.status, finished.stdout, tail(&finished.stderr));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Waits until there is one more entry, of whichever partition.
    pub(super) fn one_more_entry(&mut self) {
        let before = self.case.newest();
        until("one more entry", PATIENCE, || self.case.newest() != before);
    }

    pub(super) fn partitions(&self) -> std::ops::Range<i32> {
        0..self.feed.partitions()
    }

    /// Where a partition ends for read_committed. A leader that is new may not know it yet.
    pub(super) fn end(&self, partition: i32) -> i64 {
        let (topic, mut found) = (&self.case.pipeline.topic, None);
        until("a leader says where a partition ends", PATIENCE, || {
            found = try_end(self.case.broker, topic, partition, Duration::from_secs(5)).ok();
            found.is_some()
        });
        found.expect("it was waited for")
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.weir().is_running()
    }

    /// A service says that it is not ready; a run says nothing.
    pub(super) fn assert_not_ready(&mut self) {
        if self.command == Command::Serve {
            let service = Service::of(self.take());
            let (status, text) = service.text("/readyz");
            assert_eq!(status, 503, "{text}");
            self.adopt(service.run);
        }
    }

    /// A service's metrics say that a transaction holds the end back; a run says nothing.
    pub(super) fn assert_stuck_is_told(&mut self) {
        if self.command == Command::Serve {
            let service = Service::of(self.take());
            let told = |line: &str| line.starts_with("weir_lane_stuck_seconds{") && !line.ends_with(" 0.0");
            until("the metrics tell of it", PATIENCE, || service.text("/metrics").1.lines().any(told));
            self.adopt(service.run);
        }
    }

    /// Leaves files in `staging/` as another instance would: attempts at an entry that is there and at one that will be,
    /// and something that isn't weir's.
    pub(super) fn plant_staged(&self, random: u64) {
        let dataset = self.case.dataset();
        let chains = self.case.chains();
        // A file is put in its place after its entry.
        let there = |file: &&Value| dataset.join(file["path"].as_str().unwrap()).exists();
        let files = |entry: &Value| entry["files"].as_array().unwrap().iter().find(there).cloned();
        let (entry, file) = chains.values().flatten().rev().find_map(|entry| Some((entry, files(entry)?))).unwrap();
        let staged: Vec<&str> = file["staged"].as_str().unwrap().split('.').collect();
        let last = chains.values().last().unwrap().last().unwrap()["sequence"].as_u64().unwrap();
        for sequence in [entry["sequence"].as_u64().unwrap(), last + 5] {
            let [id, topic, partition] = [staged[0], staged[1], staged[2]];
            let name = format!("{id}.{topic}.{partition}.{sequence:020}.0.elsewhere-1-0.{random:016x}.parquet");
            fs::copy(dataset.join(file["path"].as_str().unwrap()), dataset.join(name)).unwrap();
        }
        fs::write(dataset.join(format!("staging/notes.of.some.body.{random}")), "not Parquet").unwrap();
    }

    /// Kafka must never be told of more than the ledger holds.
    pub(super) fn assert_kafka_is_behind(&self) {
        let told = self.case.committed_offsets();
        let positions = self.case.positions();
        for (partition, offset) in told {
            assert!(
                offset <= positions[&partition],
                "Kafka was told {offset} of {partition}, at {}",
                positions[&partition]
            );
        }
    }

    /// Ends everything in order, and compares.
    pub(super) fn judge(mut self) -> Judgement {
        self.cluster.network(Mode::Pass);
        self.feed.stop();
        until_settled(self.case.broker, &self.case.pipeline.topic, self.partitions());
        // Markers without records may still be on their way, so that the end moves.
        let ends = |world: &World| world.partitions().map(|partition| world.end(partition)).collect::<Vec<_>>();
        let since = Instant::now();
        while !self.case.positions().into_values().eq(ends(&self)) {
            let (positions, late) = (self.case.positions(), since.elapsed() > PATIENCE);
            assert!(!late, "{positions:?} of {:?} is committed:\n{}", ends(&self), tail(&self.weir().stderr()));
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.command == Command::Serve {
            self.compare_metrics();
        }
        self.weir().signal("TERM");
        self.ended().expect_code(0);
        self.assert_kafka_is_behind();
        // One more run finds no record to add, and sweeps.
        self.case.assert_complete();
        self.case.verify();
        self.case.assert_chains();
        self.case.assert_swept();
        let files = self.compare_files();
        let truth = committed(self.case.broker, &[&self.case.pipeline.topic]);
        let transactions = self.feed.journal.transactions();
        feed::check(&transactions, &truth)
            .unwrap_or_else(|difference| panic!("Kafka and the producer differ: {difference}"));
        let found = compare(&self.case.dataset(), &truth, &self.case.pipeline);
        let seen = self.watcher.stop();
        assert!(seen.wrong.is_empty(), "a reader saw what nobody may see:\n  {}", seen.wrong.join("\n  "));
        assert_eq!(seen.files.len(), files, "the reader saw every file");
        let seen_aborted = seen.never_shown(&truth) as u64;
        Judgement { found, seen_aborted, files, looks: seen.looks, transactions: transactions.len() }
    }

    /// The files in the tree are those that the ledger names, and a second reader finds the rows in each that the ledger
    /// counts.
    fn compare_files(&self) -> usize {
        let dataset = self.case.dataset();
        let named: BTreeMap<String, u64> = self
            .case
            .chains()
            .values()
            .flatten()
            .flat_map(|entry| entry["files"].as_array().unwrap())
            .map(|file| (file["path"].as_str().unwrap().to_owned(), file["rows"].as_u64().unwrap()))
            .collect();
        let all = ["data", "rejects", "late"].iter().flat_map(|side| files(&dataset.join(side)));
        let relative = |path: PathBuf| path.strip_prefix(&dataset).unwrap().to_str().unwrap().to_owned();
        let published: BTreeSet<String> = all.map(relative).collect();
        assert!(named.keys().eq(published.iter()), "the tree isn't the ledger's files");
        let opened: BTreeMap<String, u64> = opened(&dataset);
        assert_eq!(opened, named, "pyarrow finds other rows than the ledger counts");
        named.len()
    }

    /// A service's counters are what the ledger got from its process.
    fn compare_metrics(&mut self) {
        let service = Service::of(self.take());
        let own = format!("-{}-", service.run.pid());
        let mut ledger: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in self.case.chains().values().flatten() {
            if !entry["instance"].as_str().unwrap().contains(&own) {
                continue;
            }
            for class in ["row", "rejected", "late", "filtered", "tombstone"] {
                *ledger.entry(class).or_default() += entry["counts"][class].as_u64().unwrap();
            }
            *ledger.entry("files").or_default() += entry["files"].as_array().unwrap().len() as u64;
        }
        let told = || -> BTreeMap<&str, u64> {
            let metrics = service.text("/metrics").1;
            let now = |name: &str| match name {
                "files" => sample(&metrics, "weir_files_total{", ""),
                class => sample(&metrics, "weir_records_total{", &format!("class=\"{class}\"")),
            };
            ledger.keys().map(|name| (*name, now(name).expect("there is such a counter"))).collect()
        };
        // A commit is counted a moment after its entry is there, and not at all when it fails after that. (One that is fenced has none.)
        let since = Instant::now();
        let right = |told: BTreeMap<&str, u64>| {
            let words = service.run.stderr();
            let failed = words.lines().any(|line| line.contains("a commit has failed") && !line.contains("is fenced"));
            match failed {
                true => told.iter().all(|(name, count)| *count <= ledger[name]),
                false => told == ledger,
            }
        };
        while !right(told()) {
            let late = since.elapsed() > Duration::from_secs(10);
            assert!(!late, "metrics {:?}, ledger {ledger:?}:\n{}", told(), tail(&service.run.stderr()));
            std::thread::sleep(Duration::from_millis(50));
        }
        self.adopt(service.run);
    }
}

/// The value of a metric's first sample that has a label.
fn sample(metrics: &str, name: &str, label: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.starts_with(name) && line.contains(label))?;
    line.rsplit_once(' ')?.1.parse::<f64>().ok().map(|value| value as u64)
}

/// Every file of a dataset and its rows, by a reader that is not weir's.
fn opened(dataset: &Path) -> BTreeMap<String, u64> {
    let found: Value = python::run("opened.py", &[dataset.as_os_str()]);
    found.as_object().unwrap().iter().map(|(path, rows)| (path.clone(), rows.as_u64().unwrap())).collect()
}

/// The end of a log.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
