//! Which records have an event time that windows can be made of.

use super::*;
use crate::model::window::{EventTime, Late, Tumbling, Window};
use crate::validate::Checker;

const MAX_AHEAD_MS: i64 = 3_600_000;
/// 0001-01-01T00:00:00Z
const FIRST_MS: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z
const LAST_MS: i64 = 253_402_300_799_999;

/// What becomes of a record with this value in `t` (milliseconds since 1970) and this Kafka timestamp: `row`, or the rule
/// that it breaks and the column at fault.
fn check(time: EventTime, value: &str, kafka_ms: Option<i64>) -> String {
    let mut pipeline = pipeline(vec![column("t", instant(TimeEncoding::UnixMillis, None))], UnknownFields::Ignore);
    pipeline.window = Window::Tumbling(Tumbling {
        size: 1,
        time,
        zone: jiff::tz::TimeZone::UTC,
        origin: Default::default(),
        out_of_order: 0,
        idle: None,
        late: Late::Side,
        max_ahead: MAX_AHEAD_MS * 1000,
    });
    let mut records = RawRecords::default();
    records.push(7, kafka_ms, None, Some(format!("{{\"t\":{value}}}").as_bytes()));
    let checked = Checker::new(&pipeline).check(&partition(), &records);
    match checked.rows.num_rows() {
        1 => "row".to_owned(),
        _ => format!("{} {}", cell(&checked.rejects, "rule", 0), cell(&checked.rejects, "column", 0)),
    }
}

#[test]
fn event_times_are_guarded() {
    let column = |value: &str, kafka_ms| check(EventTime::Column("t".into()), value, kafka_ms);
    assert_eq!(column("1000", Some(1000)), "row");
    assert_eq!(column("-99999999", Some(1000)), "row");
    assert_eq!(column(&(1000 + MAX_AHEAD_MS).to_string(), Some(1000)), "row");
    assert_eq!(column(&(1001 + MAX_AHEAD_MS).to_string(), Some(1000)), "max_ahead t");
    assert_eq!(column("null", Some(1000)), "required t");
    assert_eq!(column("1000", None), "required t");
    // Measured against such a time, no event time would be far in the future: the guard would be gone.
    for nonsense in [1_700_000_000_000_000, i64::MAX, i64::MIN, LAST_MS + 1, FIRST_MS - 1] {
        assert_eq!(column("1000", Some(nonsense)), "range t", "{nonsense}");
        assert_eq!(column(&(LAST_MS - 1).to_string(), Some(nonsense)), "range t", "{nonsense}");
    }
    assert_eq!([FIRST_MS, LAST_MS].map(|kafka_ms| column(&kafka_ms.to_string(), Some(kafka_ms))), ["row", "row"]);
}

#[test]
fn kafkas_timestamp_needs_only_be_there() {
    let kafka = |kafka_ms| check(EventTime::Kafka, "1", kafka_ms);
    assert_eq!(kafka(Some(1000)), "row");
    assert_eq!(kafka(None), "required null");
    // A producer that sends microseconds: no calendar has that year.
    for nonsense in [1_700_000_000_000_000, i64::MAX, i64::MIN, LAST_MS + 1, FIRST_MS - 1] {
        assert_eq!(kafka(Some(nonsense)), "range null", "{nonsense}");
    }
    assert_eq!([kafka(Some(FIRST_MS)), kafka(Some(LAST_MS))], ["row", "row"]);
}
