//! What each stage does with its time, and how long batches and commits take: numbers for the service's metrics.
//!
//! A stage is *busy* while it works on a batch, *back-pressured* while it could go on but for the stage after it (the
//! source: for the lanes or for memory), and idle otherwise. The numbers are sums over all lanes of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// A stage of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading from Kafka.
    Source,
    /// Decoding and checking.
    Validate,
    /// Giving rows their windows.
    Window,
    /// Writing files.
    Sink,
}

impl Stage {
    /// All of them, in the order of data.
    pub const ALL: [Stage; 4] = [Stage::Source, Stage::Validate, Stage::Window, Stage::Sink];

    /// Its name, as everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Source => "source",
            Stage::Validate => "validate",
            Stage::Window => "window",
            Stage::Sink => "sink",
        }
    }
}

/// The meters of a run.
#[derive(Debug)]
pub struct Meters {
    stages: [Times; 4],
    /// How long it takes from handing a batch on until it is written to its files, in seconds.
    pub batch_seconds: Histogram,
    /// How long a commit takes, from closed files to published ones, in seconds.
    pub commit_seconds: Histogram,
}

#[derive(Debug, Default)]
struct Times {
    busy_ns: AtomicU64,
    back_pressured_ns: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        Meters {
            stages: Default::default(),
            // 1 ms … 16 s.
            batch_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        }
    }
}

impl Meters {
    /// A stage worked for so long.
    pub fn busy(&self, stage: Stage, time: Duration) {
        add(&self.stages[stage as usize].busy_ns, time);
    }

    /// A stage waited for the one after it for so long.
    pub fn back_pressured(&self, stage: Stage, time: Duration) {
        add(&self.stages[stage as usize].back_pressured_ns, time);
    }

    /// Seconds that a stage was busy, and that it was back-pressured.
    pub fn seconds(&self, stage: Stage) -> (f64, f64) {
        let times = &self.stages[stage as usize];
        let seconds = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed)).as_secs_f64();
        (seconds(&times.busy_ns), seconds(&times.back_pressured_ns))
    }
}

/// What one stage counts its time with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The run's meters.
    pub run: Arc<Meters>,
    stage: Stage,
}

impl Meter {
    /// Of a stage.
    pub fn new(run: &Arc<Meters>, stage: Stage) -> Self {
        Meter { run: run.clone(), stage }
    }

    /// Does work.
    pub fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.run.busy(self.stage, began.elapsed());
        done
    }

    /// Waits for the next stage.
    pub async fn back_pressured<T>(&self, next: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = next.await;
        self.run.back_pressured(self.stage, began.elapsed());
        answer
    }
}

fn add(to: &AtomicU64, time: Duration) {
    to.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
