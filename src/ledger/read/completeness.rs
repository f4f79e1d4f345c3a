//! Which windows of time are complete: from the ledger alone.
//!
//! A window is complete when it is closed in every partition. A partition closes it for good: a row that comes later is late
//! there, and what is late shows as such. So a window that was complete is so for ever, or *reopened*: complete, with rows in
//! `data/` that came after. (A topic that gets more partitions is the exception: they begin with every window open.)
//!
//! Reading takes no part in the ledger's protocol: a running pipeline commits meanwhile, and what was read is how things
//! were a moment ago.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::protocol::chain::Chain;
use crate::ledger::protocol::dataset::Dataset;
use crate::ledger::protocol::entry::Entry;
use crate::ledger::protocol::error::LedgerError;
use crate::model::Class;
use crate::model::Side;
use crate::model::window::ClosedBy;
use crate::model::window::Tally;
use crate::model::window::TimeState;
use crate::model::window::WindowId;

/// The windows of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Every partition that the dataset knows, in order.
    pub partitions: Vec<PartitionFrontier>,
    /// Every window that has a record, in order.
    pub windows: Vec<Window>,
    /// What a person gave up, and which windows may lack rows because of it.
    pub lost: Vec<Lost>,
}

/// Offsets of a partition that a person gave up. Which windows their records were in nobody knows any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// `topic:partition`.
    pub partition: String,
    /// The first offset.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
    /// Windows that end after this may lack rows, in microseconds since 1970; none for all windows. The others were closed.
    pub watermark_us: Option<i64>,
}

/// How far a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionFrontier {
    /// `topic:partition`.
    pub partition: String,
    /// The position that its ledger ends at; none if it has none yet.
    pub position: Option<i64>,
    /// The largest event time of its rows, microseconds since 1970.
    pub largest_us: Option<i64>,
    /// Windows that end at or before this are closed; microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// What closed windows that its rows alone would have left open.
    pub closed_by: Option<ClosedBy>,
    /// Whether all files that its ledger names are in place.
    pub published: bool,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The first instant in it, microseconds since 1970.
    pub start_us: i64,
    /// The first instant after it.
    pub end_us: i64,
    /// Rows in `data/`.
    pub rows: u64,
    /// Of these, how many came after it had closed.
    pub reopened: u64,
    /// Late rows that are in `late/`, or were dropped.
    pub late: u64,
    /// Records that were rejected while it was their partition's newest window.
    pub rejected: u64,
    /// Its files in `data/`, relative to the dataset's folder.
    pub files: Vec<String>,
    /// Whether it is complete.
    pub state: State,
    /// Where it is open: the partitions that hold it back.
    pub held_back_by: Vec<String>,
    /// Where it was closed though the partition's rows alone would have left it open.
    pub closed_early: Vec<ClosedEarly>,
}

/// A partition in which a window was closed though its rows alone would have left it open, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClosedEarly {
    /// `topic:partition`.
    pub partition: String,
    /// Why.
    pub by: ClosedBy,
}

/// Whether a window is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Rows may still come.
    Open,
    /// It is closed in every partition.
    Complete,
    /// The same, and rows came after.
    Reopened,
}

impl Completeness {
    /// Reads a dataset's whole ledger.
    ///
    /// # Errors
    /// When an entry can't be read, or its windows are not of time.
    pub(in crate::ledger) fn read(dataset: &Dataset) -> Result<Self, LedgerError> {
        Completeness::newest(dataset, usize::MAX)
    }

    /// Reads a dataset's whole ledger, and gives no more than this many windows, the newest ones.
    /// What a window has for each partition is made only for these.
    ///
    /// # Errors
    /// When an entry can't be read, or its windows are not of time.
    pub(in crate::ledger) fn newest(dataset: &Dataset, windows_max: usize) -> Result<Self, LedgerError> {
        let mut partitions = partitions(dataset)?;
        let mut windows = BTreeMap::new();
        let (mut closings, mut lost) = (Vec::new(), Vec::new());
        for (chain, frontier) in &mut partitions {
            let (Some(chain), mut newest, mut watermark) = (chain, None, None) else { continue };
            for entry in chain.all()? {
                let entry: Entry = entry?;
                add(&mut windows, &entry);
                let state = entry.window.time().unwrap_or_default();
                if let Some(by) = state.closed_by.filter(|_| state.watermark != watermark) {
                    let early = ClosedEarly { partition: frontier.partition.clone(), by };
                    match closings.last_mut() {
                        // A partition that is quiet for long closes one window after the other.
                        Some(Closing { early: last, to, .. }) if *last == early && *to == watermark => {
                            *to = state.watermark
                        }
                        _ => closings.push(Closing { early, from: watermark, to: state.watermark }),
                    }
                }
                watermark = state.watermark;
                if entry.counts[Class::Lost] > 0 {
                    let partition = frontier.partition.clone();
                    lost.push(Lost { partition, from: entry.from, to: entry.to, watermark_us: watermark });
                }
                newest = Some(entry);
            }
            if let Some(entry) = newest {
                *frontier = of_entry(dataset, &entry);
            }
        }
        let partitions: Vec<_> = partitions.into_iter().map(|(_, frontier)| frontier).collect();
        let older = windows.len().saturating_sub(windows_max);
        let mut windows: Vec<Window> = windows.into_values().skip(older).collect();
        for window in &mut windows {
            let open = |partition: &&PartitionFrontier| partition.is_open(window.end_us);
            let early = closings.iter().filter(|closing| closing.closed(window.end_us));
            window.closed_early = early.map(|closing| closing.early.clone()).collect();
            window.held_back_by = partitions.iter().filter(open).map(|partition| partition.partition.clone()).collect();
            window.state = match (window.held_back_by.is_empty(), window.reopened) {
                (false, _) => State::Open,
                (true, 0) => State::Complete,
                (true, _) => State::Reopened,
            };
        }
        Ok(Completeness { partitions, windows, lost })
    }
}

impl PartitionFrontier {
    /// Whether a window that ends at `end_us` is open here.
    pub fn is_open(&self, end_us: i64) -> bool {
        self.watermark_us.is_none_or(|watermark| watermark < end_us)
    }
}

/// How far every partition of a dataset is, without reading more than the newest entries.
///
/// # Errors
/// When an entry can't be read.
pub(in crate::ledger) fn frontier(dataset: &Dataset) -> Result<Vec<PartitionFrontier>, LedgerError> {
    let mut found = Vec::new();
    for (chain, none_yet) in partitions(dataset)? {
        let newest = chain.map_or(Ok(None), |chain| chain.newest_after(None))?;
        found.push(newest.map_or(none_yet, |entry| of_entry(dataset, &entry)));
    }
    Ok(found)
}

/// The newest states of a dataset's partitions, for those that are quiet. Looking again is cheap.
#[derive(Debug, Default)]
pub struct Others {
    seen: BTreeMap<(String, i32), (Option<u64>, TimeState)>,
}

impl Others {
    /// Looks at these chains.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn look(&mut self, chains: &[Chain]) -> Result<(), LedgerError> {
        for chain in chains {
            let seen = self.seen.entry(chain.partition()).or_default();
            if let Some(entry) = chain.newest_after(seen.0)? {
                *seen = (Some(entry.sequence), entry.window.time().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Up to where a quiet partition may close its windows, because the others have: up to the least of those that aren't
    /// quiet themselves, or, where all are, up to the farthest. None where one that isn't quiet has no watermark yet, or where
    /// none has one.
    pub fn closed_to(&self, own: &Chain) -> Option<i64> {
        let own = own.partition();
        let others = self.seen.iter().filter(|(partition, _)| **partition != own).map(|(_, (_, state))| *state);
        closed_to(&others.collect::<Vec<_>>())
    }
}

fn closed_to(others: &[TimeState]) -> Option<i64> {
    let live: Vec<_> = others.iter().filter(|state| state.closed_by.is_none()).map(|state| state.watermark).collect();
    if live.is_empty() {
        return others.iter().filter_map(|state| state.watermark).max();
    }
    live.into_iter().min().flatten()
}

/// Every partition that the dataset knows, its chain where it has one, and what is known of it without an entry.
fn partitions(dataset: &Dataset) -> Result<Vec<(Option<Chain>, PartitionFrontier)>, LedgerError> {
    let mut found: BTreeMap<(String, i32), Option<Chain>> = BTreeMap::new();
    for topic in dataset.topics()? {
        found.extend((0..topic.partitions_at_start).map(|partition| ((topic.topic.clone(), partition), None)));
    }
    for chain in dataset.chains()?.0 {
        // A topic made again, before anything was read of the first one, leaves folders without entries.
        if chain.exists()? {
            found.insert(chain.partition(), Some(chain));
        }
    }
    let none_yet = |(topic, partition): (String, i32)| PartitionFrontier {
        partition: format!("{topic}:{partition}"),
        position: None,
        largest_us: None,
        watermark_us: None,
        closed_by: None,
        published: true,
    };
    Ok(found.into_iter().map(|(partition, chain)| (chain, none_yet(partition))).collect())
}

fn of_entry(dataset: &Dataset, entry: &Entry) -> PartitionFrontier {
    let TimeState { largest, watermark, closed_by } = entry.window.time().unwrap_or_default();
    PartitionFrontier {
        partition: format!("{}:{}", entry.topic, entry.partition),
        position: Some(entry.to),
        largest_us: largest,
        watermark_us: watermark,
        closed_by,
        // Only the newest entry's may be missing: the next one is made after they are published.
        published: entry.files.iter().all(|file| dataset.store().exists(&file.path).unwrap_or(false)),
    }
}

fn add(windows: &mut BTreeMap<WindowId, Window>, entry: &Entry) {
    for Tally { window, rows, reopened, late, rejected } in &entry.tallies {
        let window = of(windows, *window);
        let sums = [&mut window.rows, &mut window.reopened, &mut window.late, &mut window.rejected];
        for (sum, more) in sums.into_iter().zip([rows, reopened, late, rejected]) {
            *sum = sum.saturating_add(*more);
        }
    }
    for file in entry.files.iter().filter(|file| file.side == Side::Data) {
        if let Some((id, _)) = file.windows
            && id.time().is_some()
        {
            of(windows, id).files.push(file.path.clone());
        }
    }
}

fn of(windows: &mut BTreeMap<WindowId, Window>, id: WindowId) -> &mut Window {
    let (start_us, end_us) = id.time().expect("an entry with tallies of other windows is not read");
    windows.entry(id).or_insert_with(|| Window {
        start_us,
        end_us,
        rows: 0,
        reopened: 0,
        late: 0,
        rejected: 0,
        files: Vec::new(),
        state: State::Open,
        held_back_by: Vec::new(),
        closed_early: Vec::new(),
    })
}

/// Windows that one entry closed though its partition's rows alone would have left them open.
struct Closing {
    early: ClosedEarly,
    from: Option<i64>,
    to: Option<i64>,
}

impl Closing {
    fn closed(&self, end: i64) -> bool {
        self.from.is_none_or(|from| from < end) && self.to.is_some_and(|to| end <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_partition_follows_the_others() {
        let live = |watermark| TimeState { watermark, ..TimeState::default() };
        let quiet = |watermark| TimeState { closed_by: Some(ClosedBy::Idle), ..live(watermark) };
        assert_eq!(closed_to(&[]), None);
        assert_eq!(closed_to(&[live(Some(5)), live(Some(3)), quiet(Some(1))]), Some(3));
        assert_eq!(closed_to(&[live(Some(5)), live(None)]), None);
        assert_eq!(closed_to(&[quiet(Some(5)), quiet(Some(3))]), Some(5));
        assert_eq!(closed_to(&[quiet(None)]), None);
    }
}
