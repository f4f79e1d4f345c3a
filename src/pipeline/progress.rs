//! How far a run is, for the progress line and the summary.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::ledger::Counts;
use crate::pipeline::messages::{Committed, Partition};

/// What a run has done so far, shared by its sources and whoever shows it.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    state: Mutex<Snapshot>,
}

/// A run at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Records handed to lanes, committed or not.
    pub read: u64,
    /// Records committed, by class.
    pub counts: Counts,
    /// Files published.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Commits.
    pub commits: u64,
    /// Lanes that were started again.
    pub restarts: u64,
    /// Per partition, where its ledger ends and where the partition ends for this run, when that is known.
    pub positions: BTreeMap<Partition, (i64, Option<i64>)>,
    /// Lanes that were given up, and why.
    pub parked: BTreeMap<Partition, String>,
}

impl Snapshot {
    /// Positions still to go until this run's end, where it has one.
    pub fn remaining(&self) -> Option<i64> {
        self.positions.values().map(|(to, end)| end.map(|end| (end - to).max(0))).sum()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress { started: Instant::now(), state: Mutex::default() }
    }
}

impl Progress {
    /// Since when.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The run now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// A lane starts.
    pub fn starts(&self, partition: &Partition, position: i64, end: Option<i64>) {
        let mut state = self.lock();
        state.parked.remove(partition);
        state.positions.insert(partition.clone(), (position, end));
    }

    /// A lane starts again.
    pub fn restarts(&self) {
        self.lock().restarts += 1;
    }

    /// A lane is given up.
    pub fn parks(&self, partition: &Partition, reason: &str) {
        self.lock().parked.insert(partition.clone(), reason.to_owned());
    }

    /// A lane has gone to another instance.
    pub fn leaves(&self, partition: &Partition) {
        self.lock().positions.remove(partition);
    }

    /// Records were read.
    pub fn reads(&self, records: usize) {
        self.lock().read += records as u64;
    }

    /// A lane committed.
    pub fn commits(&self, committed: &Committed) {
        let mut state = self.lock();
        state.counts += committed.counts;
        state.files += committed.files;
        state.bytes += committed.bytes;
        state.commits += 1;
        if let Some((to, _)) = state.positions.get_mut(&committed.partition) {
            *to = committed.to;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
