//! How far a run is: for the progress line, the summary, the service's pages and its metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::flow::messages::Committed;
use crate::model::{Class, Counts, Partition};

/// What a run has done so far, shared by its sources and whoever shows it.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    /// Apart from the rest, and without a lock: every batch changes them.
    read: AtomicU64,
    read_bytes: AtomicU64,
    state: Mutex<Snapshot>,
}

/// A run at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Records handed to lanes, committed or not.
    pub read: u64,
    /// Bytes of those records.
    pub read_bytes: u64,
    /// Records committed, by class.
    pub counts: Counts,
    /// Rejected records committed, by column and rule; the column is empty where the whole record is meant.
    pub rejected_by: BTreeMap<(String, String), u64>,
    /// Files published.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Commits.
    pub commits: u64,
    /// Lanes that were started again.
    pub restarts: u64,
    /// Whether a lane had to end before all that it read was committed: it is read again.
    pub uncommitted: bool,
    /// How often the group gave partitions or took them back.
    pub rebalances: u64,
    /// The lanes of the partitions that this run has or had.
    pub lanes: BTreeMap<Partition, LaneProgress>,
    /// Which sources the group has given no assignment, and why.
    pub waiting: BTreeMap<usize, Waiting>,
    /// Why topics of which a source has no lane can't be read, by source and topic.
    pub topics: BTreeMap<(usize, String), String>,
    /// What the client last said of each of its brokers, by source and name.
    pub brokers: BTreeMap<(usize, String), BrokerConnection>,
}

/// How far a lane is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneProgress {
    /// Where its ledger ends.
    pub position: i64,
    /// Where the partition ends for this run, where it has an end.
    pub end: Option<i64>,
    /// Since when the lane runs.
    pub since: Option<Instant>,
    /// Why it was given up, if it was.
    pub parked: Option<String>,
    /// Why it failed last, if it hasn't committed since.
    pub failing: Option<String>,
    /// The Kafka timestamp of the newest record that this run has committed, in microseconds since 1970.
    pub newest_us: Option<i64>,
    /// The watermark of its windows of time, in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// Where the partition's log ends, once the broker has said so.
    pub log_end: Option<LogEnd>,
    /// Up to where offsets that a person gave up are counted.
    lost_to: i64,
}

/// A consumer that waits for its group's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whether the group has said that it refuses it.
    pub refused: bool,
    /// Why there is none, and what to do.
    pub reason: String,
}

/// Where a partition's log ends.
///
/// **Invariant:** neither end is before the lane's position. The client tells them every few
/// seconds, and the position may have passed what it told; but what was read was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The last stable offset: up to here a read_committed consumer can read.
    pub stable: i64,
    /// The high watermark: up to here there are records, some of them in open transactions.
    pub high: i64,
    /// Since when the last stable offset stands still though there are records after it: a transaction stays open.
    pub stuck_since: Option<Instant>,
}

/// What the client tells of its connection to a broker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerConnection {
    /// Whether it is up.
    pub up: bool,
    /// Bytes received since the client was made.
    pub received_bytes: u64,
    /// Bytes sent since the client was made.
    pub sent_bytes: u64,
    /// How long a request took in the last interval: median and 99th percentile, in seconds.
    pub round_trip_seconds: Option<(f64, f64)>,
}

impl LogEnd {
    /// The same, where a lane has read up to `position`.
    fn passed_by(self, position: i64) -> LogEnd {
        let (stable, high) = (self.stable.max(position), self.high.max(position));
        LogEnd { stable, high, stuck_since: self.stuck_since.filter(|_| stable < high) }
    }
}

impl LaneProgress {
    /// The ledger ends there.
    fn is_at(&mut self, position: i64) {
        self.position = position;
        self.log_end = self.log_end.map(|log_end| log_end.passed_by(position));
    }

    /// Positions between the ledger's end and the last stable offset, once that is known.
    pub fn lag(&self) -> Option<i64> {
        self.log_end.map(|log_end| (log_end.stable - self.position).max(0))
    }

    /// How old the newest committed record is, in seconds at `now_us`, while there is more to commit; 0 when there isn't. Until the
    /// first commit, for how long the lane has run: what waits is at least that old.
    pub fn lag_seconds(&self, now_us: i64) -> Option<f64> {
        match (self.lag()?, self.newest_us) {
            (0, _) => Some(0.0),
            (_, Some(newest)) => Some((now_us - newest).max(0) as f64 / 1e6),
            (_, None) => self.since.map(|since| since.elapsed().as_secs_f64()),
        }
    }
}

impl Snapshot {
    /// Positions still to go until this run's end, where it has one and a partition.
    pub fn remaining(&self) -> Option<i64> {
        if self.lanes.is_empty() {
            return None;
        }
        self.lanes.values().map(|lane| lane.end.map(|end| (end - lane.position).max(0))).sum()
    }

    /// Rejected records by column and rule, the most frequent first; the column is empty where the whole record is meant.
    pub fn rejects(&self) -> Vec<(&str, &str, u64)> {
        let mut rejects: Vec<_> =
            self.rejected_by.iter().map(|((column, rule), count)| (&**column, &**rule, *count)).collect();
        rejects.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        rejects
    }

    /// Why the group has given consumers no assignment; several of them may wait for the same.
    pub fn reasons_of_group(&self) -> Vec<String> {
        let reasons: BTreeSet<&str> = self.waiting.values().map(|waiting| &*waiting.reason).collect();
        reasons.into_iter().map(str::to_owned).collect()
    }

    /// Lanes that were given up, and why.
    pub fn parked(&self) -> impl Iterator<Item = (&Partition, &str)> {
        self.lanes.iter().filter_map(|(partition, lane)| Some((partition, lane.parked.as_deref()?)))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            started: Instant::now(),
            read: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            state: Mutex::default(),
        }
    }
}

impl Progress {
    /// Since when.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The run now.
    pub fn snapshot(&self) -> Snapshot {
        let (read, read_bytes) = (self.read.load(Ordering::Relaxed), self.read_bytes.load(Ordering::Relaxed));
        Snapshot { read, read_bytes, ..self.lock().clone() }
    }

    /// How far the lane of a partition is.
    pub fn lane(&self, partition: &Partition) -> Option<LaneProgress> {
        self.lock().lanes.get(partition).cloned()
    }

    /// A lane starts.
    pub fn starts(&self, partition: &Partition, position: i64, end: Option<i64>) {
        let mut state = self.lock();
        let lane = state.lanes.entry(partition.clone()).or_default();
        lane.parked = None;
        lane.since = Some(Instant::now());
        lane.end = end;
        lane.is_at(position);
    }

    /// A lane goes on at `to`, after offsets that a person gave up; a run counts them once, however often it starts there.
    pub fn loses(&self, partition: &Partition, to: i64, offsets: u64) {
        let mut state = self.lock();
        let lane = state.lanes.entry(partition.clone()).or_default();
        if lane.lost_to < to {
            lane.lost_to = to;
            state.counts[Class::Lost] += offsets;
        }
    }

    /// A lane starts again.
    pub fn restarts(&self) {
        self.lock().restarts += 1;
    }

    /// A lane is given up.
    pub fn parks(&self, partition: &Partition, reason: &str) {
        self.lock().lanes.entry(partition.clone()).or_default().parked = Some(reason.to_owned());
    }

    /// A lane has failed, and is tried again.
    pub fn fails(&self, partition: &Partition, reason: &str) {
        self.lock().lanes.entry(partition.clone()).or_default().failing = Some(reason.to_owned());
    }

    /// A lane had to end before its last records were committed.
    pub fn ends_uncommitted(&self) {
        self.lock().uncommitted = true;
    }

    /// A lane has gone to another instance.
    pub fn leaves(&self, partition: &Partition) {
        self.lock().lanes.remove(partition);
    }

    /// The group gave partitions or took them back.
    pub fn rebalances(&self) {
        self.lock().rebalances += 1;
    }

    /// Records were read.
    pub fn reads(&self, records: usize, bytes: usize) {
        self.read.fetch_add(records as u64, Ordering::Relaxed);
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A lane committed, the current one of its partition or one that was dropped with its commit under way.
    pub fn commits(&self, committed: &Committed, current: bool) {
        let mut state = self.lock();
        state.counts += committed.counts;
        for (by, count) in &committed.rejected_by {
            *state.rejected_by.entry(by.clone()).or_default() += count;
        }
        state.files += committed.files;
        state.bytes += committed.bytes;
        state.commits += 1;
        if let Some(lane) = state.lanes.get_mut(&committed.partition) {
            lane.is_at(lane.position.max(committed.to));
            if current {
                lane.failing = None;
            }
            lane.newest_us = lane.newest_us.max(committed.newest_us);
            lane.watermark_us = committed.watermark_us.or(lane.watermark_us);
        }
    }

    /// The client tells where logs end, and how its connections are.
    pub fn statistics(
        &self,
        source: usize,
        log_ends: impl IntoIterator<Item = (Partition, i64, i64)>,
        brokers: impl IntoIterator<Item = (String, BrokerConnection)>,
        now: Instant,
    ) {
        let mut state = self.lock();
        state.brokers.retain(|(of, _), _| *of != source);
        state.brokers.extend(brokers.into_iter().map(|(name, broker)| ((source, name), broker)));
        if state.brokers.values().all(|broker| !broker.up) {
            // What the client knew before is no longer so.
            state.lanes.values_mut().for_each(|lane| lane.log_end = None);
            return;
        }
        for (partition, stable, high) in log_ends {
            if let Some(lane) = state.lanes.get_mut(&partition) {
                let LogEnd { stable, high, .. } = LogEnd { stable, high, stuck_since: None }.passed_by(lane.position);
                let before = lane.log_end.filter(|before| before.stable == stable && stable < high);
                let since = before.map(|before| before.stuck_since.unwrap_or(now));
                lane.log_end = Some(LogEnd { stable, high, stuck_since: since });
            }
        }
    }

    /// A source waits for its group's assignment, or no longer.
    pub fn waits_for_group(&self, source: usize, waiting: Option<Waiting>) {
        let mut state = self.lock();
        match waiting {
            Some(waiting) => drop(state.waiting.insert(source, waiting)),
            None => drop(state.waiting.remove(&source)),
        }
    }

    /// Why nothing of a topic is read, or that nothing is wrong with it; whether that is news.
    pub fn topic(&self, source: usize, topic: &str, reason: Option<String>) -> bool {
        let (mut state, key) = (self.lock(), (source, topic.to_owned()));
        let before = match reason.clone() {
            Some(reason) => state.topics.insert(key, reason),
            None => state.topics.remove(&key),
        };
        before != reason
    }

    /// Where logs end is not known for now.
    pub fn forget_log_ends(&self) {
        self.lock().lanes.values_mut().for_each(|lane| lane.log_end = None);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stable_offset_that_stands_still_before_records_is_stuck() {
        let (progress, start) = (Progress::default(), Instant::now());
        let partition = Partition { topic: "a".into(), partition: 0 };
        progress.starts(&partition, 10, None);
        let stuck = |seconds, stable, high| {
            let now = start + Duration::from_secs(seconds);
            let up = [("a:9092".to_owned(), BrokerConnection { up: true, ..BrokerConnection::default() })];
            progress.statistics(0, [(partition.clone(), stable, high)], up, now);
            progress.snapshot().lanes[&partition].log_end.unwrap().stuck_since.map(|since| (since - start).as_secs())
        };
        assert_eq!([stuck(0, 20, 20), stuck(5, 20, 30), stuck(10, 20, 40)], [None, Some(5), Some(5)]);
        assert_eq!([stuck(15, 21, 40), stuck(20, 21, 40), stuck(25, 40, 40)], [None, Some(20), None]);
    }

    /// The position passes markers of transactions, too, and the client tells of logs' ends every
    /// few seconds only.
    #[test]
    fn a_log_never_ends_before_what_was_read_of_it() {
        let (progress, partition) = (Progress::default(), Partition { topic: "a".into(), partition: 0 });
        let ends = || progress.snapshot().lanes[&partition].log_end.map(|end| (end.stable, end.high));
        let told = |stable, high| {
            let up = [("a:9092".to_owned(), BrokerConnection { up: true, ..BrokerConnection::default() })];
            progress.statistics(0, [(partition.clone(), stable, high)], up, Instant::now());
        };
        let commits = |to| {
            let committed = Committed {
                partition: partition.clone(),
                generation: 1,
                to,
                counts: Counts::default(),
                rejected_by: BTreeMap::new(),
                newest_us: None,
                watermark_us: None,
                files: 0,
                bytes: 0,
            };
            progress.commits(&committed, true);
        };
        progress.starts(&partition, 10, None);
        told(12, 15);
        told(12, 15);
        let stuck = || progress.snapshot().lanes[&partition].log_end.unwrap().stuck_since.is_some();
        assert_eq!((ends(), stuck()), (Some((12, 15)), true));
        commits(13);
        assert_eq!((ends(), stuck()), (Some((13, 15)), true));
        commits(20);
        assert_eq!((ends(), stuck()), (Some((20, 20)), false));
        told(18, 19);
        assert_eq!((ends(), stuck()), (Some((20, 20)), false));
        told(21, 22);
        assert_eq!(ends(), Some((21, 22)));
        progress.starts(&partition, 30, None);
        assert_eq!(ends(), Some((30, 30)));
    }

    #[test]
    fn what_was_given_up_is_counted_once() {
        let (progress, partition) = (Progress::default(), Partition { topic: "a".into(), partition: 0 });
        for (to, offsets) in [(10, 7), (10, 7), (30, 5)] {
            progress.loses(&partition, to, offsets);
        }
        assert_eq!(progress.snapshot().counts[Class::Lost], 12);
    }

    #[test]
    fn lag_is_what_is_stable_and_not_committed() {
        let mut lane = LaneProgress { position: 10, newest_us: Some(5_000_000), ..LaneProgress::default() };
        assert_eq!((lane.lag(), lane.lag_seconds(7_000_000)), (None, None));
        lane.log_end = Some(LogEnd { stable: 15, high: 20, stuck_since: None });
        assert_eq!((lane.lag(), lane.lag_seconds(7_000_000)), (Some(5), Some(2.0)));
        let unborn = LaneProgress { newest_us: None, since: Some(Instant::now()), ..lane.clone() };
        assert!(unborn.lag_seconds(0).is_some_and(|seconds| seconds < 60.0));
        lane.position = 15;
        assert_eq!((lane.lag(), lane.lag_seconds(7_000_000)), (Some(0), Some(0.0)));
    }
}
