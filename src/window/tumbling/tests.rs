//! Windows of time: which rows are in which, what is late, and that cutting the stream elsewhere changes nothing.

use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::Int64Type;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::model::schema::LATE_BY;
use crate::model::window::EventTime;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// What comes at an offset.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Row(i64),
    Reject,
    Filtered,
    Gap,
    /// The partition is quiet; others have closed up to there.
    Quiet(Option<i64>),
}
use Event::*;

fn window(size: i64, zone: &str, out_of_order: i64, late: Late) -> Tumbling {
    Tumbling {
        size,
        time: EventTime::Column("time".into()),
        zone: TimeZone::get(zone).unwrap(),
        origin: "1970-01-01T00:00:00".parse().unwrap(),
        out_of_order,
        idle: None,
        late,
        max_ahead: i64::MAX,
    }
}

/// Where a row went: offset, window, and by how much it was late.
type Seen = (i64, (i64, i64), Option<i64>);

/// Everything that is to be seen of a run.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    rows: Vec<Seen>,
    tallies: BTreeMap<(i64, i64), (u64, u64, u64, u64)>,
    counts: Counts,
    state: TimeState,
    closes: u64,
}

fn bounds(window: WindowId) -> (i64, i64) {
    let WindowId::Time { start, end } = window else { unreachable!() };
    (start, end)
}

impl Outcome {
    fn add(&mut self, part: &WindowedPart) {
        for WindowRows { window, side, rows } in &part.rows {
            let rows = rows.to_batch();
            assert!(rows.num_rows() > 0);
            let offsets = rows["_kafka_offset"].as_primitive::<Int64Type>().values();
            assert!(offsets.is_sorted());
            let late: Option<&Int64Array> = rows.column_by_name(LATE_BY).map(|by| by.as_primitive());
            assert_eq!(late.is_some(), *side == Side::Late);
            for (row, offset) in offsets.iter().enumerate() {
                self.rows.push((*offset, bounds(*window), late.map(|late| late.value(row))));
            }
        }
        self.rows.sort_unstable();
        for Tally { window, rows, reopened, late, rejected } in &part.tallies {
            let tally = self.tallies.entry(bounds(*window)).or_default();
            *tally = (tally.0 + rows, tally.1 + reopened, tally.2 + late, tally.3 + rejected);
        }
        self.counts += part.counts;
        self.closes += part.closes;
        let WindowState::Time(state) = part.state else { unreachable!() };
        self.state = state;
    }
}

fn batch(first: i64, events: &[Event]) -> (Range, CheckedRecords) {
    let at = |wanted: fn(&Event) -> bool| -> Vec<i64> {
        (first..).zip(events).filter(|(_, event)| wanted(event)).map(|(offset, _)| offset).collect()
    };
    let times = events.iter().filter_map(|event| if let Row(time) = event { Some(*time) } else { None });
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"));
    let offsets = |offsets: Vec<i64>| Arc::new(Int64Array::from(offsets)) as ArrayRef;
    let rows = [("time", times), ("_kafka_offset", offsets(at(|event| matches!(event, Row(_)))))];
    let rejects = [("_kafka_offset", offsets(at(|event| *event == Reject)))];
    let records = CheckedRecords {
        rows: RecordBatch::try_from_iter(rows).unwrap(),
        rejects: RecordBatch::try_from_iter(rejects).unwrap(),
        filtered: at(|event| *event == Filtered),
        tombstones: Vec::new(),
    };
    (Range { from: first, to: first + events.len() as i64 }, records)
}

/// Runs the events in batches of these sizes, each batch by a windower that knows only the state of the one before
/// where `restart` says so.
fn run(tumbling: &Tumbling, events: &[Event], sizes: &[usize], restart: &[bool]) -> Outcome {
    let mut windower = TimeWindower::new(tumbling, TimeState::default());
    let (mut outcome, mut at) = (Outcome::default(), 0);
    for (size, restart) in sizes.iter().cycle().zip(restart.iter().cycle()) {
        if at == events.len() {
            return outcome;
        }
        if let Quiet(to) = events[at] {
            windower.close(at as i64, to, ClosedBy::Idle).iter().for_each(|part| outcome.add(part));
            if *restart {
                windower = TimeWindower::new(tumbling, outcome.state);
            }
            at += 1;
            continue;
        }
        let until_quiet = events[at..].iter().position(|event| matches!(event, Quiet(_)));
        let end = (at + size).min(until_quiet.map_or(events.len(), |length| at + length));
        let (range, records) = batch(at as i64, &events[at..end]);
        outcome.add(&windower.part(range, records));
        if *restart {
            windower = TimeWindower::new(tumbling, outcome.state);
        }
        at = end;
    }
    outcome
}

/// The window of an instant, by searching days one by one or by plain arithmetic.
fn window_of(tumbling: &Tumbling, time: i64) -> (i64, i64) {
    if tumbling.size % DAY != 0 {
        let origin = tumbling.zone.to_timestamp(tumbling.origin).unwrap().as_microsecond();
        let start = origin + (time - origin).div_euclid(tumbling.size) * tumbling.size;
        return (start, start + tumbling.size);
    }
    let days = tumbling.size / DAY;
    let start_of = |number: i64| {
        let date = tumbling.origin.checked_add(jiff::Span::new().days(number * days)).unwrap();
        tumbling.zone.to_timestamp(date).unwrap().as_microsecond()
    };
    let mut number = time.div_euclid(tumbling.size) - 3;
    while start_of(number + 1) <= time {
        number += 1;
    }
    (start_of(number), start_of(number + 1))
}

/// What the events must become, one by one, by the words of the documentation.
fn model(tumbling: &Tumbling, events: &[Event]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut newest: Option<i64> = None;
    let mut closed_to: Option<i64> = None;
    for (offset, event) in (0..).zip(events) {
        match event {
            Gap => {}
            Filtered => outcome.counts[Class::Filtered] += 1,
            Reject => {
                outcome.counts[Class::Rejected] += 1;
                if let Some(newest) = newest {
                    outcome.tallies.entry(window_of(tumbling, newest)).or_default().3 += 1;
                }
            }
            Quiet(to) => {
                let before = closed_to;
                closed_to = closed_to.max(newest.map(|newest| window_of(tumbling, newest).1)).max(*to);
                if closed_to != before || outcome.state.closed_by.is_none() {
                    outcome.state.closed_by = Some(ClosedBy::Idle);
                }
            }
            Row(time) => {
                let window = window_of(tumbling, *time);
                let late_by = closed_to.filter(|closed| window.1 <= *closed).map(|closed| closed - window.1);
                let tally = outcome.tallies.entry(window).or_default();
                outcome.state.closed_by = None;
                match (late_by, tumbling.late) {
                    (Some(_), Late::Accept) => {
                        (tally.0, tally.1) = (tally.0 + 1, tally.1 + 1);
                        outcome.counts[Class::Row] += 1;
                        outcome.rows.push((offset, window, None));
                    }
                    (Some(by), Late::Side) => {
                        tally.2 += 1;
                        outcome.counts[Class::Late] += 1;
                        outcome.rows.push((offset, window, Some(by)));
                    }
                    (Some(_), Late::Drop) => {
                        tally.2 += 1;
                        outcome.counts[Class::Late] += 1;
                        outcome.counts.dropped += 1;
                    }
                    (None, _) => {
                        tally.0 += 1;
                        outcome.counts[Class::Row] += 1;
                        outcome.rows.push((offset, window, None));
                        newest = newest.max(Some(*time));
                        closed_to = closed_to.max(newest.map(|newest| newest - tumbling.out_of_order));
                    }
                }
            }
        }
    }
    (outcome.state.largest, outcome.state.watermark) = (newest, closed_to);
    outcome
}

fn tumblings() -> impl Strategy<Value = Tumbling> {
    let size = prop_oneof![
        (1i64..7200).prop_map(|seconds| seconds * SECOND),
        prop::sample::select(vec![1, 2, 7, 30]).prop_map(|days| days * DAY)
    ];
    let zone = prop::sample::select(vec!["UTC", "Europe/Rome", "Pacific/Apia"]);
    let late = prop::sample::select(vec![Late::Accept, Late::Side, Late::Drop]);
    let out_of_order = prop_oneof![Just(0), 0..3 * DAY];
    (size, zone, out_of_order, late).prop_map(|(size, zone, ooo, late)| window(size, zone, ooo, late))
}

/// Events around one moment, some windows apart from each other at the most: disorder, gaps, equal times.
fn streams(size: i64) -> impl Strategy<Value = Vec<Event>> {
    let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
    let moments = ["2004-03-28T01:00:00Z", "2004-10-31T01:00:00Z", "2011-12-30T10:00:00Z", "1969-12-31T23:59:00Z"];
    let moments: Vec<i64> = moments.into_iter().map(micros).chain([-60_000_000_000_000_000]).collect();
    prop::sample::select(moments).prop_flat_map(move |moment| {
        let near = move |by: i64| moment + by;
        let event = prop_oneof![
            8 => (-4 * size..4 * size).prop_map(move |by| Row(near(by))),
            2 => (-3i64..3).prop_map(move |windows| Row(near(windows * size))),
            1 => Just(Row(near(400 * DAY))),
            1 => Just(Reject),
            1 => Just(Filtered),
            1 => Just(Gap),
            1 => prop::option::of(-3 * size..3 * size).prop_map(move |by| Quiet(by.map(near))),
        ];
        // Mostly forwards, as streams go.
        (prop::collection::vec(event, 1..60), any::<bool>()).prop_map(|(mut events, sorted)| {
            if sorted {
                let mut times: Vec<i64> =
                    events.iter().filter_map(|event| if let Row(time) = event { Some(*time) } else { None }).collect();
                times.sort_unstable();
                let mut times = times.into_iter();
                events
                    .iter_mut()
                    .filter(|event| matches!(event, Row(_)))
                    .for_each(|event| *event = Row(times.next().unwrap()));
            }
            events
        })
    })
}

fn cases() -> impl Strategy<Value = (Tumbling, Vec<Event>)> {
    tumblings().prop_flat_map(|tumbling| {
        let size = tumbling.size;
        (Just(tumbling), streams(size))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Batches and restarts change nothing, and what comes out is what the documentation says.
    #[test]
    fn classes_and_windows_are_the_models(
        (tumbling, events) in cases(),
        sizes in prop::collection::vec(1usize..20, 1..6),
        restart in prop::collection::vec(any::<bool>(), 1..4),
    ) {
        let mut found = run(&tumbling, &events, &sizes, &restart);
        found.closes = 0;
        prop_assert_eq!(found, model(&tumbling, &events));
    }

    /// What was complete is so for ever, or has reopened: in a dataset of several partitions, seen at any moment.
    #[test]
    fn a_complete_window_gets_no_row_unseen(
        (tumbling, _) in cases(),
        events in prop::collection::vec((0usize..3, prop_oneof![9 => (-40i64..40).prop_map(Some), 1 => Just(None)]), 1..80),
    ) {
        let mut partitions: Vec<_> = (0..3).map(|_| TimeWindower::new(&tumbling, TimeState::default())).collect();
        let mut states = [TimeState::default(); 3];
        let (mut complete, mut tallies) = (Vec::<(i64, i64)>::new(), BTreeMap::<(i64, i64), (u64, u64)>::new());
        for (offset, (at, event)) in (0..).zip(&events) {
            let part = match event {
                Some(by) => {
                    let (range, records) = batch(offset, &[Row(by * tumbling.size / 7)]);
                    Some(partitions[*at].part(range, records))
                }
                None => {
                    let live: Vec<_> = (0..3).filter(|other| other != at).map(|other| states[other].watermark).collect();
                    partitions[*at].close(offset, live.into_iter().min().flatten(), ClosedBy::Idle)
                }
            };
            let Some(part) = part else { continue };
            for Tally { window, rows, reopened, .. } in &part.tallies {
                let tally = tallies.entry(bounds(*window)).or_default();
                *tally = (tally.0 + rows, tally.1 + reopened);
                if complete.contains(&bounds(*window)) {
                    prop_assert_eq!(rows, reopened, "a row in a complete window");
                }
            }
            let WindowState::Time(state) = part.state else { unreachable!() };
            states[*at] = state;
            let is_complete = |window: &&(i64, i64)| states.iter().all(|state| state.is_closed(window.1));
            complete = tallies.keys().filter(is_complete).copied().collect();
        }
    }
}

#[test]
fn what_is_filtered_is_counted_in_its_part() {
    let (range, records) = batch(0, &[Filtered, Row(1), Filtered, Gap]);
    let part = TimeWindower::new(&window(10, "UTC", 5, Late::Side), TimeState::default()).part(range, records);
    assert_eq!(part.counts, Counts::from([(Class::Row, 1), (Class::Filtered, 2)]));
}

fn closes(events: &[Event]) -> u64 {
    run(&window(10, "UTC", 5, Late::Side), events, &[3], &[false]).closes
}

#[test]
fn windows_close_once_the_watermark_is_past_them() {
    assert_eq!(closes(&[Row(0), Row(9), Row(14)]), 0);
    assert_eq!(closes(&[Row(0), Row(9), Row(15)]), 1);
    assert_eq!(closes(&[Row(0), Row(9), Row(100)]), 1);
    assert_eq!(closes(&[Row(0), Row(19), Row(100), Quiet(None)]), 3);
    assert_eq!(closes(&[Quiet(Some(50)), Row(40)]), 0);
}

#[test]
fn one_window_copies_nothing() {
    let (range, records) = batch(0, &[Row(1), Row(3), Row(2)]);
    let before = records.rows.column(0).to_data().buffers()[0].as_ptr();
    let part = TimeWindower::new(&window(10, "UTC", 5, Late::Side), TimeState::default()).part(range, records);
    assert_eq!(part.rows.len(), 1);
    assert_eq!(part.rows[0].rows.to_batch().column(0).to_data().buffers()[0].as_ptr(), before);
}

#[test]
fn an_origin_is_local() {
    let origin: DateTime = "2004-03-10T06:00:00".parse().unwrap();
    let tumbling = Tumbling { origin, ..window(DAY, "Europe/Rome", 0, Late::Side) };
    let time = "2004-06-01T03:59:59Z".parse::<Timestamp>().unwrap().as_microsecond();
    let (start, _) = tumbling.calendar().window(time);
    assert_eq!(Timestamp::from_microsecond(start).unwrap().to_string(), "2004-05-31T04:00:00Z");
}
