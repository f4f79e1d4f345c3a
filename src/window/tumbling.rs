//! Windows of event time: each row is in the window that its own time is in, and a window closes when the watermark has
//! come to its end.
//!
//! The watermark stays `out_of_order` behind the largest event time of the partition's rows. Only rows move it: neither
//! rejects nor the clock. A row whose window is closed is late. So a row's window and class follow from the rows before it
//! in its partition, however they came in batches; the one exception is [`Windows::close`], and that is recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use crate::flow::messages::{CheckedRecords, WindowRows, WindowedPart};
use crate::flow::rows::Rows;
use crate::model::Class;
use crate::model::Counts;
use crate::model::Range;
use crate::model::Side;
use crate::model::schema::{late_schema, rejects_schema};
use crate::model::window::Calendar;
use crate::model::window::ClosedBy;
use crate::model::window::Late;
use crate::model::window::Tally;
use crate::model::window::TimeState;
use crate::model::window::Tumbling;
use crate::model::window::WindowId;
use crate::model::window::WindowState;
use crate::window::Windows;

/// Gives rows their windows of time.
#[derive(Debug)]
pub(super) struct TimeWindower {
    calendar: Calendar,
    time: String,
    out_of_order: i64,
    late: Late,
    state: TimeState,
    /// Windows that got rows in this lane and are not closed yet: end and start. They decide no row's class.
    open: BTreeSet<(i64, i64)>,
}

/// Windows whose end is counted at the most: the count only says when files are worth a commit.
const OPEN_MAX: usize = 100_000;

/// Where one row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    window: WindowId,
    /// How far the watermark was past the window's end, if it was.
    late_by: Option<i64>,
}

impl TimeWindower {
    /// Goes on from `state`.
    pub(super) fn new(window: &Tumbling, state: TimeState) -> Self {
        TimeWindower {
            calendar: window.calendar(),
            time: window.time.column().to_owned(),
            out_of_order: window.out_of_order,
            late: window.late,
            state,
            open: BTreeSet::new(),
        }
    }
}

impl Windows for TimeWindower {
    /// A batch is one part: its windows are open side by side.
    fn assign(&mut self, range: Range, records: CheckedRecords) -> Vec<WindowedPart> {
        vec![self.part(range, records)]
    }

    fn newest_end(&mut self) -> Option<i64> {
        self.end_of_rows().max(self.state.watermark)
    }

    /// That a partition without any row is quiet does change something: the others needn't wait for it.
    fn close(&mut self, position: i64, to: Option<i64>, by: ClosedBy) -> Option<WindowedPart> {
        let before = self.state;
        for end in [self.end_of_rows(), to].into_iter().flatten() {
            self.state.advance(end);
        }
        if self.state.watermark == before.watermark && before.closed_by.is_some() {
            return None;
        }
        self.state.closed_by = Some(by);
        Some(WindowedPart {
            range: Range { from: position, to: position },
            rows: Vec::new(),
            rejects: RecordBatch::new_empty(rejects_schema()).into(),
            counts: Counts::default(),
            tallies: Vec::new(),
            closes: self.closed(),
            ends: true,
            state: WindowState::Time(self.state),
        })
    }
}

impl TimeWindower {
    /// A checked batch as one part, its rows by window.
    fn part(&mut self, range: Range, records: CheckedRecords) -> WindowedPart {
        records.assert_within(range);
        let CheckedRecords { rows, rejects, filtered, tombstones } = &records;
        let times = rows.column_by_name(&self.time).expect("the column of event times was checked with the definition");
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let mut tallies = Tallies::default();
        let mut rejected = records.reject_offsets().iter().copied().peekable();
        let mut places = Vec::with_capacity(times.len());
        for (time, offset) in times.iter().zip(records.row_offsets()) {
            while rejected.next_if(|rejected| rejected < offset).is_some() {
                self.reject(&mut tallies);
            }
            let place = self.place(*time);
            tallies.add(place, self.late);
            places.push(place);
        }
        rejected.for_each(|_| self.reject(&mut tallies));

        let late = places.iter().filter(|place| place.late_by.is_some()).count() as u64;
        let late = if self.late == Late::Accept { 0 } else { late };
        let mut counts = Counts::from([
            (Class::Row, places.len() as u64 - late),
            (Class::Rejected, rejects.num_rows() as u64),
            (Class::Late, late),
            (Class::Filtered, filtered.len() as u64),
            (Class::Tombstone, tombstones.len() as u64),
        ]);
        counts.dropped = if self.late == Late::Drop { late } else { 0 };
        WindowedPart {
            range,
            rows: self.group(rows, &places),
            rejects: rejects.clone().into(),
            counts,
            tallies: tallies.0.into_values().collect(),
            closes: self.closed(),
            ends: true,
            state: WindowState::Time(self.state),
        }
    }

    /// Where the newest window ends that has a row.
    fn end_of_rows(&mut self) -> Option<i64> {
        self.state.largest.map(|largest| self.calendar.window(largest).1)
    }

    /// Where a row of this event time goes; moves the watermark.
    fn place(&mut self, time: i64) -> Place {
        let (start, end) = self.calendar.window(time);
        let window = WindowId::Time { start, end };
        self.state.closed_by = None;
        if self.state.is_closed(end) {
            let late_by = self.state.watermark.map(|watermark| watermark.saturating_sub(end));
            return Place { window, late_by };
        }
        if self.open.len() < OPEN_MAX {
            self.open.insert((end, start));
        }
        let largest = self.state.largest.map_or(time, |largest| largest.max(time));
        self.state.largest = Some(largest);
        self.state.advance(largest.saturating_sub(self.out_of_order));
        Place { window, late_by: None }
    }

    fn reject(&mut self, tallies: &mut Tallies) {
        if let Some(largest) = self.state.largest {
            let (start, end) = self.calendar.window(largest);
            tallies.of(WindowId::Time { start, end }).rejected += 1;
        }
    }

    /// How many open windows are closed now.
    fn closed(&mut self) -> u64 {
        let before = self.open.len();
        while self.open.first().is_some_and(|(end, _)| self.state.is_closed(*end)) {
            self.open.pop_first();
        }
        (before - self.open.len()) as u64
    }

    /// Rows by side and window, in order. Nothing is copied where all of them go to one place.
    fn group(&self, rows: &RecordBatch, places: &[Place]) -> Vec<WindowRows> {
        let side = |place: &Place| match (place.late_by, self.late) {
            (Some(_), Late::Side) => Some(Side::Late),
            (Some(_), Late::Drop) => None,
            _ => Some(Side::Data),
        };
        let mut groups: Vec<((Side, WindowId), Vec<u32>)> = Vec::new();
        let mut group_of: HashMap<(Side, WindowId), usize> = HashMap::new();
        let mut last = 0;
        for (row, place) in (0u32..).zip(places) {
            let Some(key) = side(place).map(|side| (side, place.window)) else { continue };
            // Rows of one window come in runs: they need no look-up.
            if groups.get(last).is_none_or(|(known, _)| *known != key) {
                last = *group_of.entry(key).or_insert_with(|| {
                    groups.push((key, Vec::new()));
                    groups.len() - 1
                });
            }
            groups[last].1.push(row);
        }
        groups.sort_unstable_by_key(|(key, _)| *key);
        let late_by = |indices: &[u32]| {
            let by = indices.iter().map(|row| places[*row as usize].late_by.expect("a late row is late by something"));
            Arc::new(Int64Array::from_iter_values(by)) as ArrayRef
        };
        if let [((side, window), indices)] = &groups[..]
            && indices.len() == rows.num_rows()
        {
            let rows = if *side == Side::Late { with_lateness(rows, late_by(indices)) } else { rows.clone() };
            return vec![WindowRows { window: *window, side: *side, rows: rows.into() }];
        }
        // One copy that puts each group's rows together, and is shared.
        let order = UInt32Array::from_iter_values(groups.iter().flat_map(|(_, indices)| indices).copied());
        let mut sorted = Rows::from(take_record_batch(rows, &order).expect("the indices are those of the batch"));
        let share = |((side, window), indices): ((Side, WindowId), Vec<u32>)| {
            let rows = sorted.split_front(indices.len());
            let late = side == Side::Late;
            let rows = if late { with_lateness(&rows.to_batch(), late_by(&indices)).into() } else { rows };
            WindowRows { window, side, rows }
        };
        groups.into_iter().map(share).collect()
    }
}

fn with_lateness(rows: &RecordBatch, late_by: ArrayRef) -> RecordBatch {
    let schema: SchemaRef = late_schema(rows.schema_ref());
    let columns = rows.columns().iter().cloned().chain([late_by]).collect();
    RecordBatch::try_new(schema, columns).expect("one column more, as its schema has")
}

/// What comes for each window.
#[derive(Debug, Default)]
struct Tallies(BTreeMap<WindowId, Tally>);

impl Tallies {
    fn of(&mut self, window: WindowId) -> &mut Tally {
        self.0.entry(window).or_insert_with(|| Tally::new(window))
    }

    fn add(&mut self, place: Place, policy: Late) {
        let late = place.late_by.is_some();
        let tally = self.of(place.window);
        match policy {
            Late::Side | Late::Drop if late => tally.late += 1,
            _ => {
                tally.rows += 1;
                tally.reopened += u64::from(late);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
