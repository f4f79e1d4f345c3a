//! A pipeline for a test: its TOML file, and what its columns must make of a record, told by a second, slower mapping
//! that shares nothing with weir's.

use std::fmt::Write;

use serde_json::Value;

use super::broker::Broker;

/// A value of a row, whatever the column's width.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Microseconds since 1970, UTC.
    Micros(i64),
}

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Text,
    Int,
    Float,
    /// `2004-03-10T18:00:00` without a zone, so many hours east of UTC.
    LocalTime(i8),
}

/// A column, as far as tests need one.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub from: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Smallest and largest value; -200 means "missing" where this is given.
    pub range: Option<(f64, f64)>,
    /// The form `IT-01`.
    pub station: bool,
}

/// A pipeline definition for one topic.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub name: String,
    pub brokers: String,
    pub topic: String,
    pub columns: Vec<Column>,
    pub start: &'static str,
    pub rows_per_window: u64,
    /// All of `[window]`, where it isn't windows of rows.
    pub window: Option<String>,
    pub partition_by: &'static [&'static str],
    /// The inside of `roll = { … }`.
    pub roll: String,
    /// More lines for `[source]`; later ones may begin tables of their own.
    pub source: String,
    /// More lines for `[sink]`.
    pub sink: String,
}

impl Pipeline {
    /// The air-quality readings of a topic, from the start, in windows of 100 rows.
    pub fn new(broker: &Broker, topic: &str) -> Pipeline {
        Pipeline {
            name: topic.to_owned(),
            brokers: broker.address(),
            topic: topic.to_owned(),
            columns: air_quality(),
            start: "earliest",
            rows_per_window: 100,
            window: None,
            partition_by: &["station_id"],
            roll: "windows = 100".to_owned(),
            source: String::new(),
            sink: String::new(),
        }
    }

    /// The pipeline file.
    pub fn toml(&self) -> String {
        let mut columns = String::new();
        for column in &self.columns {
            writeln!(columns, "{}", column.toml()).unwrap();
        }
        let Pipeline { name, brokers, topic, start, partition_by, roll, source, sink, .. } = self;
        let count = || format!("type = \"count\"\nrows = {}", self.rows_per_window);
        let window = self.window.clone().unwrap_or_else(count);
        format!(
            r#"name = "{name}"

[source]
type = "kafka"
brokers = "{brokers}"
topics = ["{topic}"]
format = "json"
start = "{start}"
{source}

[columns]
{columns}
[window]
{window}

[sink]
type = "parquet"
path = "processed_data"
partition_by = {partition_by:?}
roll = {{ {roll} }}
{sink}
"#
        )
    }

    /// The row that a payload must become, a cell a column; none if it must be rejected.
    pub fn row(&self, payload: &[u8]) -> Option<Vec<Cell>> {
        let record: Value = serde_json::from_slice(payload).ok()?;
        let record = record.as_object()?;
        self.columns.iter().map(|column| column.cell(record.get(column.from).unwrap_or(&Value::Null))).collect()
    }
}

/// The columns of the shipped readings.
pub fn air_quality() -> Vec<Column> {
    let number = |name, from, min, max| Column {
        name,
        from,
        kind: Kind::Float,
        required: false,
        range: Some((min, max)),
        station: false,
    };
    let required = |name, from, kind, station| Column { name, from, kind, required: true, range: None, station };
    vec![
        required("station_id", "station_id", Kind::Text, true),
        required("measured_at", "timestamp", Kind::LocalTime(1), false),
        number("co", "co_gt", 0.0, 50.0),
        number("co_sensor", "pt08_s1_co", 0.0, 10_000.0),
        number("benzene", "c6h6_gt", 0.0, 200.0),
        number("nox", "nox_gt", 0.0, 5_000.0),
        number("no2", "no2_gt", 0.0, 1_000.0),
        number("temperature", "t", -50.0, 60.0),
        number("humidity", "rh", 0.0, 100.0),
        number("absolute_humidity", "ah", 0.0, 50.0),
    ]
}

impl Column {
    fn toml(&self) -> String {
        let Column { name, from, kind, required, range, station } = self;
        let kind = match kind {
            Kind::Text => r#"type = "string""#.to_owned(),
            Kind::Int => r#"type = "int64""#.to_owned(),
            Kind::Float => r#"type = "float64""#.to_owned(),
            Kind::LocalTime(hours) => format!(r#"type = "timestamp", time_zone = "{hours:+03}:00""#),
        };
        let range = range.map(|(min, max)| format!(", missing = [-200], min = {min}, max = {max}")).unwrap_or_default();
        let pattern = if *station { r#", pattern = "^[A-Z]{2}-[0-9]{2}$""# } else { "" };
        format!(r#"{name} = {{ {kind}, from = "{from}", required = {required}{range}{pattern} }}"#)
    }

    /// The cell for a value; none if the value breaks a rule.
    fn cell(&self, value: &Value) -> Option<Cell> {
        let cell = match (self.kind, value) {
            (_, Value::Null) => Cell::Null,
            (Kind::Text, Value::String(text)) => Cell::Text(text.clone()),
            (Kind::Int, Value::Number(number)) => Cell::Int(number.as_i128()?),
            (Kind::Float, Value::Number(number)) => Cell::Float(number.as_f64()?),
            (Kind::LocalTime(hours), Value::String(text)) => local_time(text, hours)?,
            _ => return None,
        };
        let cell = match (cell, self.range) {
            (Cell::Float(-200.0) | Cell::Int(-200), Some(_)) => Cell::Null,
            (Cell::Float(value), Some((min, max))) if !(min..=max).contains(&value) => return None,
            (Cell::Int(value), Some((min, max))) if !(min..=max).contains(&(value as f64)) => return None,
            (cell, _) => cell,
        };
        match &cell {
            Cell::Null if self.required => None,
            Cell::Text(text) if self.station && !is_station(text) => None,
            _ => Some(cell),
        }
    }
}

fn is_station(text: &str) -> bool {
    let upper = |c: &u8| c.is_ascii_uppercase();
    matches!(text.as_bytes(), [a, b, b'-', c, d] if upper(a) && upper(b) && c.is_ascii_digit() && d.is_ascii_digit())
}

/// Arithmetic by hand, so that no library that weir uses decides here.
fn local_time(text: &str, hours: i8) -> Option<Cell> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let form = text.replace(|c: char| c.is_ascii_digit(), "0");
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if form != "0000-00-00T00:00:00" || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from 1970 by counting leap years; good for the years after 1970.
    let years = year - 1970;
    let leap_days = (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 - 477;
    let days = years * 365 + leap_days + lengths[..month as usize - 1].iter().sum::<i64>() + day - 1;
    Some(Cell::Micros((((days * 24 + hour - i64::from(hours)) * 60 + minute) * 60 + second) * 1_000_000))
}

#[test]
fn the_reference_reads_local_times() {
    let micros = |text| local_time(text, 1);
    assert_eq!(micros("1970-01-01T01:00:00"), Some(Cell::Micros(0)));
    assert_eq!(micros("2004-03-10T18:00:00"), Some(Cell::Micros(1_078_938_000_000_000)));
    assert_eq!(micros("2005-04-04T14:00:00"), Some(Cell::Micros(1_112_619_600_000_000)));
    assert_eq!([micros("2005-02-29T00:00:00"), micros("2004-03-10 18:00:00"), micros("soon")], [None, None, None]);
}
