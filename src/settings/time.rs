//! How a column's instants and dates are written in a record: its `format`, `time_zone`, `nonexistent` and `ambiguous`.
//!
//! A format is tried on a sample instant: what it writes it must be able to read, with the date that was meant.

use jiff::civil::{DateTime, datetime};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::keys::OTHER_FORMATS;
use super::mistake::Mistakes;
use super::section::{Section, choice, closest, here, refuse, text};
use super::tree::Node;
use crate::model::pipeline::{LocalTimePolicy, TimeEncoding, TimestampFormat, Zone, defaults};
use crate::model::time::civil;
use crate::model::time::strptime;
use crate::model::time::strptime::Said;

const SAMPLE: DateTime = datetime(2004, 3, 28, 17, 5, 9, 123_456_000);

const POLICIES: &[(&str, LocalTimePolicy)] =
    &[("reject", LocalTimePolicy::Reject), ("earlier", LocalTimePolicy::Earlier), ("later", LocalTimePolicy::Later)];

const ENCODINGS: &[(&str, TimeEncoding)] = &[
    ("rfc3339", TimeEncoding::Rfc3339),
    ("unix_s", TimeEncoding::UnixSeconds),
    ("unix_ms", TimeEncoding::UnixMillis),
    ("unix_us", TimeEncoding::UnixMicros),
    ("unix_ns", TimeEncoding::UnixNanos),
];

/// The format of a timestamp column.
pub(super) fn timestamp(section: &Section<'_>) -> Option<TimestampFormat> {
    let mistakes = section.mistakes;
    let format_node = section.node("format");
    let encoding = match format_node {
        Some(node) => encoding(node, mistakes),
        None => Some(TimeEncoding::Rfc3339),
    };
    let zone_node = section.node("time_zone");
    let zone = zone_node.and_then(|node| zone(node, mistakes));
    let policy = |key| section.node(key).and_then(|node| choice(node, POLICIES, mistakes));
    let (gap, fold) = (policy("nonexistent"), policy("ambiguous"));

    let encoding = encoding?;
    check_zone(&encoding, format_node, zone_node, mistakes);
    if !matches!(zone, Some(Zone::Named(_))) {
        for node in ["nonexistent", "ambiguous"].into_iter().filter_map(|key| section.node(key)) {
            let message = "only a named zone skips or repeats local times";
            refuse::<()>(node, message, "leave this out, or give time_zone = \"Europe/Rome\"", mistakes);
        }
    }
    let default = defaults::LOCAL_TIME_POLICY;
    Some(TimestampFormat { encoding, zone, gap: gap.unwrap_or(default), fold: fold.unwrap_or(default) })
}

/// The strptime format of a date column.
pub(super) fn date(section: &Section<'_>) -> Option<String> {
    let node = section.node("format")?;
    let format = text(node, section.mistakes)?;
    if !format.contains('%') {
        let message = format!("{format:?} is no format of a date");
        return refuse(node, message, "write it with strptime's letters: \"%d/%m/%Y\"", section.mistakes);
    }
    try_format(format, node, section.mistakes)?;
    Some(format.to_owned())
}

fn encoding(node: &Node, mistakes: &Mistakes) -> Option<TimeEncoding> {
    let format = text(node, mistakes)?;
    if format.contains('%') {
        try_format(format, node, mistakes)?;
        return Some(TimeEncoding::Strptime(format.to_owned()));
    }
    if let Some((_, encoding)) = ENCODINGS.iter().find(|(name, _)| *name == format) {
        return Some(encoding.clone());
    }
    let close = here(format, OTHER_FORMATS).or_else(|| closest(format, ENCODINGS.iter().map(|(name, _)| *name)));
    let help = match close {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => "write \"rfc3339\", \"unix_s\", \"unix_ms\", \"unix_us\", \"unix_ns\", or strptime's letters: \
                 \"%d/%m/%Y %H:%M:%S\""
            .to_owned(),
    };
    refuse(node, format!("{format:?} is no format of a timestamp"), help, mistakes)
}

/// Whether the format reads back the sample that it wrote.
fn try_format(format: &str, node: &Node, mistakes: &Mistakes) -> Option<()> {
    const HOUR: i64 = 3600 * civil::SECOND;
    const DAY: i64 = 24 * HOUR;
    let help = "see docs/pipeline.md for the letters; \"%d/%m/%Y %H:%M:%S\" reads 28/03/2004 17:05:09";
    let written = sample(format);
    let read = written.as_deref().map_err(String::clone).and_then(|written| {
        let moment = |said: Said<'_>| said.instant().map_or_else(|| said.local().map(i128::from), Ok);
        strptime::read(format, written).and_then(moment).map_err(|error| error.to_string())
    });
    let meant = SAMPLE.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    match read {
        Err(error) => refuse(node, format!("this format can't be used: {error}"), help, mistakes),
        Ok(moment) if moment.div_euclid(DAY.into()) != i128::from(meant.div_euclid(DAY)) => {
            refuse(node, "this format doesn't tell the whole date", help, mistakes)
        }
        Ok(moment) => {
            let hour = |micros: i128| micros.rem_euclid(DAY.into()) / i128::from(HOUR);
            if [0, hour(meant.into())].contains(&hour(moment)) {
                return Some(());
            }
            refuse(node, "this format doesn't tell morning from evening", "add %p, or write %H for %I", mistakes)
        }
    }
}

/// The sample in a format, or why it can't be written.
fn sample(format: &str) -> Result<String, String> {
    let sample = SAMPLE.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    strtime::format(format, &sample).map_err(|error| error.to_string())
}

/// Whether values carry their own offset must fit whether the column has a zone.
fn check_zone(encoding: &TimeEncoding, format: Option<&Node>, zone: Option<&Node>, mistakes: &Mistakes) {
    let own = match encoding {
        TimeEncoding::Rfc3339 => return,
        TimeEncoding::Strptime(format) => has_own_zone(format),
        _ => true,
    };
    match (own, zone, format) {
        (true, Some(zone), _) => {
            refuse::<()>(zone, "values in this format carry their own zone", "leave time_zone out", mistakes);
        }
        (false, None, Some(format)) => {
            let help = "add the zone that the clocks are in: time_zone = \"UTC\", \"+01:00\" or \"Europe/Rome\"";
            refuse::<()>(format, "values in this format don't say which zone they are in", help, mistakes);
        }
        _ => {}
    }
}

fn has_own_zone(format: &str) -> bool {
    sample(format).is_ok_and(|written| strptime::read(format, &written).is_ok_and(|said| said.has_own_zone()))
}

/// A zone's name or offset.
pub(super) fn zone(node: &Node, mistakes: &Mistakes) -> Option<Zone> {
    let name = text(node, mistakes)?;
    if name == "UTC" || name == "Z" {
        return Some(Zone::Fixed(0));
    }
    if name.starts_with(['+', '-']) {
        let offset = civil::offset(name.as_bytes()).flatten().and_then(|seconds| i32::try_from(seconds).ok());
        return match offset {
            Some(offset) => Some(Zone::Fixed(offset)),
            None => refuse(node, format!("{name:?} is no offset from UTC"), "write it as \"+01:00\"", mistakes),
        };
    }
    match TimeZone::get(name) {
        Ok(zone) => Some(Zone::Named(zone)),
        Err(_) => {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let help = match closest(name, names.iter().map(String::as_str)) {
                Some(close) => format!("did you mean \"{close}\"?"),
                None => "write \"UTC\", an offset as \"+01:00\", or a name such as \"Europe/Rome\"".to_owned(),
            };
            refuse(node, format!("there is no time zone {name:?}"), help, mistakes)
        }
    }
}
