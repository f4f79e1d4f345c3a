//! `[window]`: each type has keys of its own.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::column::Known;
use super::keys;
use super::keys::family;
use super::mistake::Mistakes;
use super::section::{Section, amount, choice, closest, integer, one_of, refuse, text, wrong};
use super::time::zone;
use super::tree::{Node, Toml};
use crate::base::units::DURATION;
use crate::model::pipeline::{Zone, defaults};
use crate::model::time::{civil, clock};
use crate::model::window::{Count, EventTime, Late, Tumbling, Window};

const SIZE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(366 * 86_400);
const OUT_OF_ORDER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(366 * 86_400);
const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(366 * 86_400);
const MAX_AHEAD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(100 * 366 * 86_400);

const COUNT: &str = "window.count";
const TUMBLING: &str = "window.tumbling";
const TYPES: &[(&str, &str)] = &[("count", COUNT), ("tumbling", TUMBLING)];
const LATE: &[(&str, Late)] = &[("accept", Late::Accept), ("side", Late::Side), ("drop", Late::Drop)];

/// Reads the section; `columns` are the file's, as far as they could be read.
pub(super) fn window(node: &Node, columns: Option<&[Known<'_>]>, mistakes: &Mistakes) -> Option<Window> {
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
    let path = match (kind, &node.toml) {
        (Some(kind), _) => choice(kind, TYPES, mistakes)?,
        // Without a type the keys tell which one was meant.
        (None, Toml::Table(entries)) if entries.iter().any(|entry| keys::of(TUMBLING).contains(&&*entry.key)) => {
            TUMBLING
        }
        _ => COUNT,
    };
    let section = Section::open(path, node, mistakes)?;
    section.must("type", "type = \"count\" or \"tumbling\"")?;
    match path {
        TUMBLING => tumbling(&section, columns).map(Window::Tumbling),
        _ => {
            let rows = section.must("rows", "rows = 100").and_then(|node| integer(node, 1..=1_000_000_000, mistakes));
            Some(Window::Count(Count { rows: rows? }))
        }
    }
}

fn tumbling(section: &Section<'_>, columns: Option<&[Known<'_>]>) -> Option<Tumbling> {
    let mistakes = section.mistakes;
    let span = |node, range| amount(node, &DURATION, range, mistakes);
    let size = section.must("size", "size = \"1h\" or \"1d\"").and_then(|node| span(node, SIZE));
    let time = section
        .must("time", "time = \"measured_at\", a timestamp column, or \"_kafka_timestamp\" for Kafka's own")
        .and_then(|node| event_time(node, columns, mistakes));
    let zone = section.node("time_zone").map(|node| zone(node, mistakes));
    let origin = section.node("origin").map(|node| origin(node, mistakes));
    let out_of_order = section.node("out_of_order").map(|node| span(node, OUT_OF_ORDER));
    let idle = section.node("idle").map(|node| span(node, IDLE));
    let late = section.node("late").map(|node| choice(node, LATE, mistakes));
    let max_ahead = section.node("max_ahead").map(|node| span(node, MAX_AHEAD));
    if let (Some(EventTime::Kafka), Some(node)) = (&time, section.node("max_ahead")) {
        let message = "`max_ahead` compares the event time with Kafka's timestamp, which is the event time here";
        refuse::<()>(node, message, "leave it out", mistakes);
    }
    let zone = match zone {
        None => defaults::window_zone(),
        Some(Some(Zone::Named(zone))) => zone,
        Some(Some(Zone::Fixed(seconds))) => {
            TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).expect("it was read from such an offset"))
        }
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

fn event_time(node: &Node, columns: Option<&[Known<'_>]>, mistakes: &Mistakes) -> Option<EventTime> {
    let name = text(node, mistakes)?;
    if name == EventTime::KAFKA {
        return Some(EventTime::Kafka);
    }
    let Some(columns) = columns else { return Some(EventTime::Column(name.to_owned())) };
    // Where a type could not be read, nothing is known of it: its own mistake comes first.
    let is_time = |column: &&Known<'_>| column.family.is_none_or(|family| family == family::TIMESTAMP);
    match columns.iter().find(|column| column.name == name) {
        Some(column) if is_time(&column) => Some(EventTime::Column(name.to_owned())),
        Some(_) => {
            let help = "name a column of type timestamp, or \"_kafka_timestamp\"";
            refuse(node, format!("`{name}` is no timestamp, so it can't be the event time"), help, mistakes)
        }
        None => {
            let known = |column: &&Known<'_>| column.family == Some(family::TIMESTAMP);
            let times = || columns.iter().filter(known).map(|column| column.name).chain([EventTime::KAFKA]);
            let help = match closest(name, times()) {
                Some(close) => format!("did you mean \"{close}\"?"),
                None => format!("the timestamps are {}", one_of(times())),
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
    // An offset in it would be passed over without a word.
    let local = civil::typed(text).filter(|written| written.offset.is_none()).map(|written| written.local);
    match local.and_then(|micros| clock(micros).ok()) {
        Some(origin) => Some(origin),
        _ => {
            let help = "write \"1970-01-05\" (a Monday) or \"1970-01-01T06:00:00\"; time_zone says where";
            wrong(node, "this must be a date, or a date and time without a zone", help, mistakes)
        }
    }
}
