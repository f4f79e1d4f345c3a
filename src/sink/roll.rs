//! When files end, and where a commit cuts a batch: pure decisions, and the sums that a commit reports.
//!
//! - `roll.windows` and `roll.rows` are known before anything is written, so a batch gets a plan ([`Roller::plan`]). Files
//!   end with the window that is the `windows`-th one, or at whose end there are `rows` rows or more (over all hive keys):
//!   neither ever divides a window. A batch may end files many times; one commit, at the last of these ends, takes
//!   all of them, and the batch's tail goes on in new files. Windows of time are open side by side, each with files of its
//!   own: there both are judged at the end of a batch, `windows` by how many have closed since the last commit.
//! - `roll.bytes` is known only when rows are encoded: [`LaneWriter`](crate::sink::LaneWriter) ends the file that has them, after
//!   the parts that it is given together. That, age, drain and memory are for the end of a batch ([`Roller::due`]) or between
//!   batches: the commit covers everything read, and a window's rows may go on in the next file.

use std::collections::{BTreeMap, HashMap};
use std::ops;
use std::time::{Duration, Instant};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampMicrosecondType;

use crate::flow::messages::WindowedPart;
use crate::flow::rows::Rows;
use crate::ledger::FileEntry;
use crate::model::Class;
use crate::model::Counts;
use crate::model::LastRecord;
use crate::model::Range;
use crate::model::Reason;
use crate::model::pipeline::Roll;
use crate::model::window::EventTime;
use crate::model::window::Tally;
use crate::model::window::WindowId;
use crate::model::window::WindowState;

/// One thing to do with a batch; in order, they write all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these parts of the batch, by index.
    Write(ops::Range<usize>),
    /// End the data files; a commit later in the same plan takes them.
    EndFiles,
    /// Commit everything written so far.
    Commit(Reason),
}

/// Decides when files end.
#[derive(Debug)]
pub struct Roller {
    roll: Roll,
    /// Windows that closed in the open files.
    windows: u64,
    /// Rows in the open files.
    rows: u64,
}

impl Roller {
    /// With no file open.
    pub fn new(roll: Roll) -> Self {
        Roller { roll, windows: 0, rows: 0 }
    }

    /// What to do with a batch of these parts, all of which will be done.
    pub fn plan(&mut self, parts: &[WindowedPart]) -> Vec<Step> {
        let mut steps = Vec::new();
        let (mut written, mut commit) = (0, None);
        for (index, part) in parts.iter().enumerate() {
            if let Some(reason) = self.ends_with(part) {
                steps.extend([Step::Write(written..index + 1), Step::EndFiles]);
                (written, commit) = (index + 1, Some(reason));
            }
        }
        if let Some(reason) = commit {
            // A commit ends the files itself, so that it takes the last end's place.
            steps.pop();
            steps.push(Step::Commit(reason));
        }
        if written < parts.len() {
            steps.push(Step::Write(written..parts.len()));
        }
        steps
    }

    /// Why to commit at the end of a batch, or between batches: `full` when a file has all its bytes, `age` of the oldest
    /// position not committed.
    pub fn due(&self, full: bool, age: Duration) -> Option<Reason> {
        if full {
            return Some(Reason::Bytes);
        }
        (age >= self.roll.age).then_some(Reason::Age)
    }

    /// A commit that no plan asked for has ended the files.
    pub fn restart(&mut self) {
        (self.windows, self.rows) = (0, 0);
    }

    /// Counts a part; why the files end with it, if they do.
    fn ends_with(&mut self, part: &WindowedPart) -> Option<Reason> {
        self.windows += part.closes;
        self.rows += part.counts[Class::Row] + part.counts[Class::Late] - part.counts.dropped;
        let reason = if !part.ends {
            return None;
        } else if self.windows >= self.roll.windows {
            Reason::Windows
        } else if self.roll.rows.is_some_and(|rows| self.rows >= rows) {
            Reason::Rows
        } else {
            return None;
        };
        self.restart();
        Some(reason)
    }
}

/// What was written since the last commit: what the next entry will say.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The positions.
    pub range: Range,
    /// Records by class.
    pub counts: Counts,
    /// The windows' state at the end of `range`.
    pub window: WindowState,
    /// For windows of time, what came for each.
    pub tallies: BTreeMap<WindowId, Tally>,
    /// Whether windows were closed though nothing came.
    closed: bool,
    /// The newest record before the end of `range`, where that is known.
    pub last: Option<LastRecord>,
    /// Rejected records by column and rule.
    pub rejected_by: BTreeMap<(String, String), u64>,
    /// The Kafka timestamp of the newest record that is in a file, in microseconds since 1970.
    pub newest_us: Option<i64>,
    /// When the oldest of the positions came.
    since: Option<Instant>,
}

impl Pending {
    /// Nothing, after `position`.
    pub fn new(position: i64, window: WindowState, last: Option<LastRecord>) -> Self {
        let range = Range { from: position, to: position };
        Pending {
            range,
            counts: Counts::default(),
            window,
            tallies: BTreeMap::new(),
            closed: false,
            last,
            rejected_by: BTreeMap::new(),
            newest_us: None,
            since: None,
        }
    }

    /// Adds a part that is written, of a batch whose last record is `last`.
    pub fn add(&mut self, part: &WindowedPart, last: Option<LastRecord>, now: Instant) {
        self.range.to = self.range.follow(part.range).to;
        self.counts += part.counts;
        for tally in &part.tallies {
            self.tallies.entry(tally.window).or_insert_with(|| Tally::new(tally.window)).add(tally);
        }
        self.closed |= part.range.from == part.range.to && self.window != part.state;
        self.window = part.state.clone();
        // A part that isn't a batch's last one ends right after a record, of an epoch that isn't newer than the last one's.
        let within = |last: LastRecord| LastRecord { offset: last.offset.min(part.range.to - 1), ..last };
        self.last = last.map(within).or(self.last);
        count_rules(&part.rejects, &mut self.rejected_by);
        let all = part.rows.iter().map(|rows| &rows.rows).chain([&part.rejects]);
        self.newest_us = all.filter_map(last_timestamp).max().max(self.newest_us);
        if !self.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    /// What a commit covers; this goes on after it.
    pub fn take(&mut self) -> Pending {
        let next = Pending::new(self.range.to, self.window.clone(), self.last);
        std::mem::replace(self, next)
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.range.from == self.range.to && !self.closed
    }

    /// How long the oldest position has been waiting.
    pub fn age(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// **Invariant:** the files of a commit hold each row and each reject that it counts.
    pub fn assert_files(&self, files: &[FileEntry]) {
        let rows = |side| files.iter().filter(|file| file.side == side).map(|file| file.rows).sum::<u64>();
        let counted: Vec<_> = self.counts.by_side().collect();
        let found: Vec<_> = counted.iter().map(|(side, _)| (*side, rows(*side))).collect();
        assert!(found == counted, "files hold {found:?}, {:?} has {:?}", self.range, self.counts);
    }
}

/// Counts rejects by column and rule.
fn count_rules(rejects: &Rows, counts: &mut BTreeMap<(String, String), u64>) {
    if rejects.is_empty() {
        return;
    }
    let text = |name| rejects.column(name).and_then(|column| column.as_string_opt::<i32>());
    let (Some(columns), Some(rules)) = (text("column"), text("rule")) else { return };
    let mut found: HashMap<(&str, &str), u64> = HashMap::new();
    for row in rejects.range() {
        let column = if columns.is_null(row) { "" } else { columns.value(row) };
        *found.entry((column, rules.value(row))).or_default() += 1;
    }
    for ((column, rule), count) in found {
        *counts.entry((column.to_owned(), rule.to_owned())).or_default() += count;
    }
}

/// The Kafka timestamp of the last row: they are in offset order, so that it is the newest but for producers' clocks.
fn last_timestamp(rows: &Rows) -> Option<i64> {
    let column = rows.column(EventTime::KAFKA)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let last = rows.range().last()?;
    column.is_valid(last).then(|| column.value(last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::messages::WindowRows;
    use crate::model::pipeline::defaults;
    use crate::sink::testing::{parts, windower};

    fn roll(windows: u64, rows: Option<u64>) -> Roll {
        Roll { windows, rows, ..defaults::ROLL }
    }

    /// Plans of batches of so many rows, in windows of 10; every batch ends with two rejects.
    #[track_caller]
    fn check(roll: Roll, batches: &[usize], expected: &[&str]) {
        let (mut windower, mut roller, mut position) = (windower(10), Roller::new(roll), 0);
        let plans = batches.iter().map(|rows| {
            let parts = parts(&mut windower, position, &vec![Some("a"); *rows], 2);
            position = parts.last().unwrap().range.to;
            roller.plan(&parts).iter().map(text).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(plans.collect::<Vec<_>>(), expected);
    }

    fn text(step: &Step) -> String {
        match step {
            Step::Write(parts) => format!("{parts:?}"),
            Step::EndFiles => "end".to_owned(),
            Step::Commit(reason) => format!("{reason:?}"),
        }
    }

    #[test]
    fn files_end_with_windows() {
        check(roll(2, None), &[5, 5, 9, 1], &["0..1", "0..2", "0..1", "0..1 Windows 1..2"]);
        check(roll(1, None), &[35], &["0..1 end 1..2 end 2..3 Windows 3..4"]);
        check(roll(2, None), &[35, 35], &["0..2 Windows 2..4", "0..1 end 1..3 Windows 3..5"]);
        check(roll(100, None), &[0, 50], &["0..1", "0..6"]);
    }

    #[test]
    fn files_end_with_rows_at_a_window() {
        check(roll(100, Some(15)), &[12, 12], &["0..2", "0..1 Rows 1..2"]);
        check(roll(100, Some(1)), &[9, 1], &["0..1", "0..1 Rows 1..2"]);
        check(roll(2, Some(20)), &[20], &["0..2 Windows 2..3"]);
    }

    #[test]
    fn restarting_counts_from_nothing() {
        let (mut windower, mut roller) = (windower(10), Roller::new(roll(2, None)));
        roller.plan(&parts(&mut windower, 0, &[Some("a"); 10], 0));
        roller.restart();
        assert_eq!(roller.plan(&parts(&mut windower, 10, &[Some("a"); 10], 0)), [Step::Write(0..1)]);
    }

    #[test]
    fn bytes_and_age_are_due() {
        let roller = Roller::new(roll(2, None));
        assert_eq!(roller.due(false, Duration::from_secs(59)), None);
        assert_eq!(roller.due(false, Duration::from_secs(60)), Some(Reason::Age));
        assert_eq!(roller.due(true, Duration::ZERO), Some(Reason::Bytes));
    }

    #[test]
    fn pending_sums_what_a_commit_covers() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let batch = parts(&mut windower(2), 0, &[Some("a"); 3], 1);
        let last = |offset| Some(LastRecord { offset, leader_epoch: Some(7) });
        let mut pending = Pending::new(0, WindowState::Count { window: 0, rows: 0 }, None);
        assert!(pending.is_empty());
        assert_eq!(pending.age(later), Duration::ZERO);

        pending.add(&batch[0], last(3), now);
        assert_eq!(pending.last, last(1), "a commit inside a batch knows its own last record");
        pending.add(&batch[1], last(3), later);
        assert_eq!(pending.age(later), Duration::from_secs(5));
        let taken = pending.take();
        assert_eq!(taken.range, Range { from: 0, to: 4 });
        assert_eq!(taken.counts, Counts::from([(Class::Row, 3), (Class::Rejected, 1)]));
        assert_eq!(taken.window, WindowState::Count { window: 1, rows: 1 });
        assert_eq!(taken.last, last(3));
        assert_eq!(pending, Pending::new(4, taken.window.clone(), last(3)));
    }

    #[test]
    #[should_panic(expected = "does not follow")]
    fn a_hole_is_a_bug() {
        let part = &parts(&mut windower(2), 1, &[Some("a")], 0)[0];
        Pending::new(0, part.state.clone(), None).add(part, None, Instant::now());
    }

    #[test]
    #[should_panic(expected = "files hold")]
    fn a_row_in_no_file_is_a_bug() {
        let part = &parts(&mut windower(2), 0, &[Some("a")], 0)[0];
        let mut pending = Pending::new(0, part.state.clone(), None);
        pending.add(part, None, Instant::now());
        pending.assert_files(&[]);
    }

    proptest! {
        /// Carrying plans out gives files of whole runs of windows, whatever the batches; only a last one may be open.
        #[test]
        fn files_do_not_depend_on_batches(
            windows in 1u64..5,
            rows in prop::option::of(1u64..40),
            sizes in prop::collection::vec(0usize..60, 1..8),
        ) {
            let (mut windower, mut roller) = (windower(10), Roller::new(roll(windows, rows)));
            let (mut position, mut files, mut open) = (0, Vec::new(), Vec::new());
            for size in sizes {
                let parts = parts(&mut windower, position, &vec![Some("a"); size], 0);
                position = parts.last().unwrap().range.to;
                let steps = roller.plan(&parts);
                let mut next = 0;
                for step in &steps {
                    match step {
                        Step::Write(range) => {
                            prop_assert_eq!(range.start, next);
                            next = range.end;
                            for WindowRows { window, rows, .. } in parts[range.clone()].iter().flat_map(|part| &part.rows) {
                                let WindowId::Count(window) = window else { unreachable!() };
                                open.extend(vec![*window; rows.len()]);
                            }
                        }
                        Step::EndFiles | Step::Commit(_) => files.push(std::mem::take(&mut open)),
                    }
                }
                prop_assert_eq!(next, parts.len());
                let commits = steps.iter().filter(|step| matches!(step, Step::Commit(_))).count();
                prop_assert!(commits <= 1);
                let end = steps.iter().rposition(|step| !matches!(step, Step::Write(_)));
                prop_assert!(end.is_none_or(|end| steps[end] != Step::EndFiles), "no commit takes a file: {:?}", steps);
            }
            let run = windows.min(rows.map_or(windows, |rows| rows.div_ceil(10)));
            for (index, file) in files.iter().enumerate() {
                let first = index as u64 * run;
                let expected: Vec<_> = (first..first + run).flat_map(|window| [window; 10]).collect();
                prop_assert_eq!(file, &expected);
            }
            prop_assert!((open.len() as u64) < run * 10);
        }
    }
}
