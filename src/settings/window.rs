//! `[window]`: each type has keys of its own.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::mistake::Mistakes;
use super::pipeline::{Column, ColumnType, EventTime, Late, Tumbling, Window, Zone, defaults};
use super::section::{Section, amount, choice, closest, integer, refuse, text, wrong};
use super::time::zone;
use super::tree::{Node, Toml};
use super::units::{self, duration, show_duration};

const SIZE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(366 * 86_400);
const OUT_OF_ORDER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(366 * 86_400);
const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(366 * 86_400);
const MAX_AHEAD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(100 * 366 * 86_400);

const TYPES: &[(&str, &str)] = &[("count", "window.count"), ("tumbling", "window.tumbling")];
const LATE: &[(&str, Late)] = &[("accept", Late::Accept), ("side", Late::Side), ("drop", Late::Drop)];

/// Reads the section; `columns` are the file's, as far as they could be read.
pub(super) fn window(node: &Node, columns: Option<&[Column]>, mistakes: &Mistakes) -> Option<Window> {
    // The type is judged before the keys are, because it decides which there are.
    let kind = match &node.toml {
        Toml::Table(entries) => entries.iter().find(|entry| entry.key == "type").map(|entry| &entry.node),
        _ => None,
    };
    if let Some(kind) = kind
        && let Toml::Text(word) = &kind.toml
        && ["hopping", "sliding", "session"].contains(&word.text.as_str())
    {
        let message = format!("windows of type {:?} are not there yet", word.text);
        return refuse(kind, message, "weir has \"count\" (so many rows) and \"tumbling\" (event time)", mistakes);
    }
    let path = match kind {
        Some(kind) => choice(kind, TYPES, mistakes)?,
        None => "window.count",
    };
    let section = Section::open(path, node, mistakes)?;
    section.must("type", "type = \"count\" or \"tumbling\"")?;
    match path {
        "window.tumbling" => tumbling(&section, columns).map(Window::Tumbling),
        _ => {
            let rows = section.must("rows", "rows = 100").and_then(|node| integer(node, 1..=1_000_000_000, mistakes));
            Some(Window::Count { rows: rows? })
        }
    }
}

fn tumbling(section: &Section<'_>, columns: Option<&[Column]>) -> Option<Tumbling> {
    let mistakes = section.mistakes;
    let span = |node, range| amount(node, duration, range, show_duration, units::DURATION, mistakes);
    let size = section.must("size", "size = \"1h\" or \"1d\"").and_then(|node| span(node, SIZE));
    let time = section
        .must("time", "time = a timestamp column, or \"_kafka_timestamp\" for the time of arrival")
        .and_then(|node| event_time(node, columns, mistakes));
    let zone = section.node("time_zone").map(|node| zone(node, mistakes));
    let origin = section.node("origin").map(|node| origin(node, mistakes));
    let out_of_order = section.node("out_of_order").map(|node| span(node, OUT_OF_ORDER));
    let idle = section.node("idle").map(|node| span(node, IDLE));
    let late = section.node("late").map(|node| choice(node, LATE, mistakes));
    let max_ahead = section.node("max_ahead").map(|node| span(node, MAX_AHEAD));
    let zone = match zone {
        None => defaults::window_zone(),
        Some(Some(Zone::Named(zone))) => zone,
        Some(Some(Zone::Fixed(seconds))) => TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?),
        Some(None) => return None,
    };
    Some(Tumbling {
        size: micros(size?),
        time: time?,
        zone,
        origin: origin.unwrap_or(Some(defaults::ORIGIN))?,
        out_of_order: out_of_order.map_or(Some(defaults::OUT_OF_ORDER), |given| given.map(micros))?,
        idle: idle.map_or(Some(None), |given| given.map(Some))?,
        late: late.unwrap_or(Some(defaults::LATE))?,
        max_ahead: max_ahead.map_or(Some(defaults::MAX_AHEAD), |given| given.map(micros))?,
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn event_time(node: &Node, columns: Option<&[Column]>, mistakes: &Mistakes) -> Option<EventTime> {
    let name = text(node, mistakes)?;
    if name == EventTime::KAFKA {
        return Some(EventTime::Kafka);
    }
    // When a column could not be read, nothing is known of its type: its own mistake comes first.
    let Some(columns) = columns else { return Some(EventTime::Column(name.to_owned())) };
    let is_time = |column: &&Column| matches!(column.kind, ColumnType::Timestamp(_));
    match columns.iter().find(|column| column.name == name) {
        Some(column) if is_time(&column) => Some(EventTime::Column(name.to_owned())),
        Some(_) => {
            let help = "name a column of type timestamp, or \"_kafka_timestamp\"";
            refuse(node, format!("`{name}` is no timestamp, so it can't be the event time"), help, mistakes)
        }
        None => {
            let names = columns.iter().filter(is_time).map(|column| column.name.as_str());
            let help = match closest(name, names.chain([EventTime::KAFKA])) {
                Some(close) => format!("did you mean \"{close}\"?"),
                None => "name a timestamp column of [columns], or \"_kafka_timestamp\"".to_owned(),
            };
            refuse(node, format!("there is no column `{name}`"), help, mistakes)
        }
    }
}

/// A local date, or date and time.
fn origin(node: &Node, mistakes: &Mistakes) -> Option<DateTime> {
    let text = match &node.toml {
        Toml::Text(filled) => &filled.text,
        Toml::Datetime(text) => text,
        _ => "",
    };
    let has_offset = text.parse::<jiff::Timestamp>().is_ok();
    let read = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
    match read {
        Ok(origin) if !has_offset => Some(origin),
        _ => {
            let help = "write \"1970-01-05\" (a Monday) or \"1970-01-01T06:00:00\"; time_zone says where";
            wrong(node, "this must be a date, or a date and time without a zone", help, mistakes)
        }
    }
}
