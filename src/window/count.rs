//! Count windows: every so many rows of a partition, in offset order.
//!
//! Rejects, filtered records and tombstones don't count; they go with the part whose range holds them. A window ends right after its last
//! row, so that rejects behind it belong to the next window's range.

use crate::flow::messages::{CheckedRecords, WindowRows, WindowedPart};
use crate::model::Class;
use crate::model::Counts;
use crate::model::Range;
use crate::model::Side;
use crate::model::window::{WindowId, WindowState};
use crate::window::Windows;
use crate::window::cut::Piece;

/// Counts rows into windows.
#[derive(Debug)]
pub(super) struct CountWindower {
    /// Rows of a full window.
    rows: u64,
    /// The open window's number.
    window: u64,
    /// Rows of the open window so far; always fewer than `rows`.
    filled: u64,
}

impl CountWindower {
    /// Windows of `rows` rows, going on from the open `window`, which has `filled` rows.
    ///
    /// A definition may have been changed to smaller windows: an open window that has that many rows already is over.
    pub(super) fn new(rows: u64, window: u64, filled: u64) -> Self {
        assert!(rows > 0, "a count window has at least one row");
        let over = filled >= rows;
        CountWindower { rows, window: window + u64::from(over), filled: if over { 0 } else { filled } }
    }
}

impl Windows for CountWindower {
    /// Each part is of one window. A range without rows is one part.
    fn assign(&mut self, range: Range, records: CheckedRecords) -> Vec<WindowedPart> {
        records.assert_within(range);
        let mut parts = Vec::new();
        let (mut rest, mut from) = (records.whole(), range.from);
        while let Some(to) = self.end(&rest) {
            parts.push(self.part(Range { from, to }, rest.cut(to)));
            from = to;
        }
        if parts.is_empty() || from < range.to {
            parts.push(self.part(Range { from, to: range.to }, rest));
        }
        parts
    }
}

impl CountWindower {
    /// Where the open window ends, when its last row is among what is left.
    fn end(&self, rest: &Piece) -> Option<i64> {
        let last = usize::try_from(self.rows - self.filled - 1).ok()?;
        Some(rest.row_offsets().get(last)? + 1)
    }

    fn part(&mut self, range: Range, Piece { rows, rejects, filtered, tombstones }: Piece) -> WindowedPart {
        let window = WindowId::Count(self.window);
        let counts = Counts::from([
            (Class::Row, rows.len() as u64),
            (Class::Rejected, rejects.len() as u64),
            (Class::Filtered, filtered.len() as u64),
            (Class::Tombstone, tombstones.len() as u64),
        ]);
        self.filled += counts[Class::Row];
        let closes = self.filled == self.rows;
        if closes {
            self.window += 1;
            self.filled = 0;
        }
        let rows = (counts[Class::Row] > 0).then_some(WindowRows { window, side: Side::Data, rows });
        WindowedPart {
            range,
            rows: rows.into_iter().collect(),
            rejects,
            counts,
            tallies: Vec::new(),
            closes: u64::from(closes),
            ends: closes,
            state: WindowState::Count { window: self.window, rows: self.filled },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    /// What a record turned out to be.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Found {
        Row,
        Reject,
        Filtered,
        Tombstone,
        /// An offset without a record.
        Gap,
    }
    use Found::*;

    fn records(first: i64, classes: &[Found]) -> (Range, CheckedRecords) {
        let of = |class| -> Vec<i64> {
            let all = (first..).zip(classes);
            all.filter(|(_, found)| **found == class).map(|(offset, _)| offset).collect()
        };
        let batch = |class| {
            let offsets: ArrayRef = Arc::new(Int64Array::from(of(class)));
            RecordBatch::try_from_iter([("_kafka_offset", offsets)]).unwrap()
        };
        let range = Range { from: first, to: first + classes.len() as i64 };
        let (filtered, tombstones) = (of(Filtered), of(Tombstone));
        (range, CheckedRecords { rows: batch(Row), rejects: batch(Reject), filtered, tombstones })
    }

    /// A part as one comparable value: range, window, rows, rejects, tombstones, closes, state.
    type Seen = (i64, i64, u64, usize, usize, usize, bool, (u64, u64));

    fn seen(part: &WindowedPart) -> Seen {
        let WindowState::Count { window: next, rows } = part.state else { unreachable!() };
        let window = match part.rows.first() {
            Some(WindowRows { window: WindowId::Count(window), .. }) => *window,
            _ => next,
        };
        let sizes = (offsets(part).len(), part.rejects.len(), part.counts[Class::Tombstone] as usize);
        assert_eq!((sizes.0 as u64, sizes.1 as u64), (part.counts[Class::Row], part.counts[Class::Rejected]));
        (part.range.from, part.range.to, window, sizes.0, sizes.1, sizes.2, part.closes == 1, (next, rows))
    }

    /// The offsets of a part's rows.
    fn offsets(part: &WindowedPart) -> Vec<i64> {
        let of = |rows: &RecordBatch| rows["_kafka_offset"].as_primitive::<Int64Type>().values().to_vec();
        part.rows.iter().flat_map(|rows| of(&rows.rows.to_batch())).collect()
    }

    fn check(rows: u64, state: (u64, u64), classes: &[Found], expected: &[Seen]) {
        let (range, records) = records(10, classes);
        let parts = CountWindower::new(rows, state.0, state.1).assign(range, records);
        assert_eq!(parts.iter().map(seen).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_filtered_is_counted_in_its_part() {
        let (range, records) = records(10, &[Filtered, Row, Filtered, Row, Filtered, Filtered, Row]);
        let parts = CountWindower::new(2, 0, 0).assign(range, records);
        let counts: Vec<_> = parts.iter().map(|part| part.counts).collect();
        let of = |rows, filtered| Counts::from([(Class::Row, rows), (Class::Filtered, filtered)]);
        assert_eq!(counts, [of(2, 2), of(1, 2)]);
        assert_eq!(parts[0].range, Range { from: 10, to: 14 });
    }

    #[test]
    fn parts_end_with_their_window() {
        check(2, (0, 0), &[], &[(10, 10, 0, 0, 0, 0, false, (0, 0))]);
        check(2, (0, 0), &[Gap, Reject], &[(10, 12, 0, 0, 1, 0, false, (0, 0))]);
        check(2, (0, 0), &[Row], &[(10, 11, 0, 1, 0, 0, false, (0, 1))]);
        check(2, (0, 0), &[Row, Row], &[(10, 12, 0, 2, 0, 0, true, (1, 0))]);
        check(2, (3, 1), &[Row, Row], &[(10, 11, 3, 1, 0, 0, true, (4, 0)), (11, 12, 4, 1, 0, 0, false, (4, 1))]);
        check(
            2,
            (0, 0),
            &[Row, Reject, Row, Tombstone, Gap],
            &[(10, 13, 0, 2, 1, 0, true, (1, 0)), (13, 15, 1, 0, 0, 1, false, (1, 0))],
        );
    }

    #[test]
    fn smaller_windows_end_the_open_one() {
        check(2, (5, 2), &[Row], &[(10, 11, 6, 1, 0, 0, false, (6, 1))]);
        check(2, (5, 7), &[], &[(10, 10, 6, 0, 0, 0, false, (6, 0))]);
    }

    #[test]
    #[should_panic(expected = "are not within")]
    fn a_record_outside_the_range_is_a_bug() {
        let (_, records) = records(10, &[Row, Row]);
        CountWindower::new(2, 0, 0).assign(Range { from: 10, to: 11 }, records);
    }

    /// Runs the records from `position` on in batches of these sizes.
    fn run(rows: u64, state: &WindowState, position: i64, classes: &[Found], sizes: &[usize]) -> Vec<WindowedPart> {
        let WindowState::Count { window, rows: filled } = *state else { unreachable!() };
        let mut windower = CountWindower::new(rows, window, filled);
        let (mut parts, mut at) = (Vec::new(), position as usize);
        for size in sizes.iter().cycle() {
            let end = classes.len().min(at + size);
            let (range, records) = records(at as i64, &classes[at..end]);
            parts.extend(windower.assign(range, records));
            at = end;
            if at == classes.len() {
                break;
            }
        }
        parts
    }

    /// The window of each row, by offset.
    fn windows(parts: &[WindowedPart]) -> Vec<(i64, WindowId)> {
        let rows = |part: &WindowedPart| {
            let window = part.rows.first().map(|rows| rows.window);
            offsets(part).into_iter().map(move |offset| (offset, window.unwrap())).collect::<Vec<_>>()
        };
        parts.iter().flat_map(rows).collect()
    }

    fn class() -> impl Strategy<Value = Found> {
        prop_oneof![5 => Just(Row), 1 => Just(Reject), 1 => Just(Filtered), 1 => Just(Tombstone), 1 => Just(Gap)]
    }

    proptest! {
        #[test]
        fn windows_depend_on_the_rows_alone(
            rows in 1u64..7,
            classes in prop::collection::vec(class(), 1..60),
            sizes in prop::collection::vec(1usize..20, 1..6),
            restart_after: prop::sample::Index,
        ) {
            let first = WindowState::Count { window: 0, rows: 0 };
            let mut parts = run(rows, &first, 0, &classes, &sizes);
            parts.truncate(restart_after.index(parts.len()) + 1);
            let (state, position) = (parts[parts.len() - 1].state.clone(), parts[parts.len() - 1].range.to);
            parts.extend(run(rows, &state, position, &classes, &sizes));

            let start = Range { from: 0, to: 0 };
            let end = parts.iter().fold(start, |range, part| range.follow(part.range));
            prop_assert_eq!(end.to, classes.len() as i64);
            for part in &parts {
                prop_assert!(offsets(part).iter().all(|offset| (part.range.from..part.range.to).contains(offset)));
            }

            let (_, all) = records(0, &classes);
            let expected: Vec<_> = all.row_offsets().iter().enumerate()
                .map(|(index, offset)| (*offset, WindowId::Count(index as u64 / rows))).collect();
            prop_assert_eq!(windows(&parts), expected);

            let rejects: usize = parts.iter().map(|part| part.rejects.len()).sum();
            prop_assert_eq!(rejects, all.rejects.num_rows());
            let tombstones: u64 = parts.iter().map(|part| part.counts[Class::Tombstone]).sum();
            prop_assert_eq!(tombstones, all.tombstones.len() as u64);
            let counts = parts.iter().fold(Counts::default(), |counts, part| counts + part.counts);
            prop_assert_eq!(counts[Class::Filtered], all.filtered.len() as u64);
            prop_assert_eq!(counts.total(), classes.iter().filter(|found| **found != Gap).count() as u64);

            let closed: u64 = parts.iter().map(|part| part.closes).sum();
            prop_assert_eq!(closed, all.row_offsets().len() as u64 / rows);
        }
    }
}
