//! Text and numbers to instants and dates.
//!
//! Instants are microseconds since 1970 UTC from the year 1 to 9999, which every reader of the dataset can show; beyond is
//! rule `range`. Finer digits are cut off, towards the past. RFC 3339 text goes through [`crate::model::time::civil`]; other formats go
//! through [`crate::model::time::strptime`], named zones through jiff. A leap second (`:60`) is refused everywhere.

use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::decode::shared::problem::{Problem, Rule, shorten};
use crate::model::pipeline::{LocalTimePolicy, TimeEncoding, TimestampFormat, Zone};
use crate::model::time::civil;
use crate::model::time::civil::{SECOND, Written};
use crate::model::time::strptime;
use crate::model::time::{DAY_MAX, DAY_MIN, INSTANT_MAX, INSTANT_MIN, clock};

/// The instant that a text stands for.
pub(crate) fn instant(text: &str, format: &TimestampFormat) -> Result<i64, Problem> {
    let written = match &format.encoding {
        TimeEncoding::Strptime(pattern) => match strptime(text, pattern)? {
            Read::Instant(micros) => return in_range(micros),
            Read::Zoned(local, zone) => return resolve(local, &zone, format),
            Read::Written(written) => written,
        },
        _ => civil::rfc3339(text).ok_or_else(|| {
            let example = "an RFC 3339 time such as 2004-03-10T18:00:00+01:00";
            Problem::expected(Rule::Time, example, &quoted(text))
        })?,
    };
    match (written.offset, &format.zone) {
        (Some(offset), _) => in_range(i128::from(written.local) - i128::from(offset * SECOND)),
        (None, Some(Zone::Fixed(offset))) => {
            in_range(i128::from(written.local) - i128::from(*offset) * i128::from(SECOND))
        }
        (None, Some(Zone::Named(zone))) => resolve(written.local, zone, format),
        (None, None) => {
            let expected = "a time with an offset such as Z or +01:00 (the column has no time_zone)";
            Err(Problem::expected(Rule::Time, expected, &quoted(text)))
        }
    }
}

/// The date that a text stands for, as days since 1970.
pub(crate) fn date(text: &str, pattern: Option<&str>) -> Result<i32, Problem> {
    let days = match pattern {
        None => civil::date(text.as_bytes())
            .ok_or_else(|| Problem::expected(Rule::Time, "a date such as 2004-03-10", &quoted(text)))?,
        Some(pattern) => {
            let date = strptime::read(pattern, text).and_then(|said| said.date());
            let days = date.map_err(|error| mismatch(text, pattern, &error))?;
            i32::try_from(days).unwrap_or(i32::MAX)
        }
    };
    if (DAY_MIN..=DAY_MAX).contains(&days) {
        return Ok(days);
    }
    Err(Problem::expected(Rule::Range, "a date from the year 1 to 9999", &quoted(text)))
}

/// An instant, where a column can hold it.
pub(crate) fn in_range(micros: i128) -> Result<i64, Problem> {
    let held = i64::try_from(micros).ok().filter(|micros| (INSTANT_MIN..=INSTANT_MAX).contains(micros));
    held.ok_or_else(|| {
        let found = format!("{micros} microseconds from 1970");
        Problem::expected(Rule::Range, "an instant from the year 1 to 9999", &found)
    })
}

/// What a text in a strptime format says.
enum Read {
    /// An instant in microseconds.
    Instant(i128),
    /// A local time in microseconds and the zone that it is local in.
    Zoned(i64, TimeZone),
    /// A local time, perhaps with an offset.
    Written(Written),
}

fn strptime(text: &str, pattern: &str) -> Result<Read, Problem> {
    let said = strptime::read(pattern, text).map_err(|error| mismatch(text, pattern, &error))?;
    if let Some(micros) = said.instant() {
        return Ok(Read::Instant(micros));
    }
    let local = said.local().map_err(|error| mismatch(text, pattern, &error))?;
    let Some(name) = said.zone else {
        return Ok(Read::Written(Written { local, offset: said.offset }));
    };
    let zone = TimeZone::get(name).map_err(|error| mismatch(text, pattern, &error))?;
    let Some(offset) = said.offset else {
        return Ok(Read::Zoned(local, zone));
    };
    // What is said twice must agree.
    let instant = i128::from(local) - i128::from(offset * SECOND);
    let at = i64::try_from(instant).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    match at.is_some_and(|at| i64::from(zone.to_offset(at).seconds()) == offset) {
        true => Ok(Read::Instant(instant)),
        false => Err(mismatch(text, pattern, &format_args!("{name} does not have that offset then"))),
    }
}

/// The instant at which a zone's clocks show a local time, by the column's policies.
fn resolve(local: i64, zone: &TimeZone, format: &TimestampFormat) -> Result<i64, Problem> {
    let Ok(clock) = clock(local) else {
        return in_range(local.into());
    };
    let at = |offset: Offset| i128::from(local) - i128::from(offset.seconds()) * i128::from(SECOND);
    let (rule, policy, before, after) = match zone.to_ambiguous_timestamp(clock).offset() {
        AmbiguousOffset::Unambiguous { offset } => return in_range(at(offset)),
        AmbiguousOffset::Gap { before, after } => (Rule::Gap, format.gap, before, after),
        AmbiguousOffset::Fold { before, after } => (Rule::Fold, format.fold, before, after),
    };
    match policy {
        LocalTimePolicy::Earlier => in_range(at(before).min(at(after))),
        LocalTimePolicy::Later => in_range(at(before).max(at(after))),
        LocalTimePolicy::Reject => {
            let zone = zone.iana_name().unwrap_or("the column's time_zone");
            let fault = if rule == Rule::Gap { "doesn't exist" } else { "happens twice" };
            let found = format!("{clock}, which {fault} there");
            Err(Problem::expected(rule, &format!("a local time that exists once in {zone}"), &found))
        }
    }
}

fn mismatch(text: &str, pattern: &str, why: &dyn std::fmt::Display) -> Problem {
    let reason = format!("expected a time in the format {pattern}, found {}: {why}", quoted(text));
    Problem::new(Rule::Time, reason)
}

fn quoted(text: &str) -> String {
    format!("the text {:?}", shorten(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::time::show;

    fn format(encoding: TimeEncoding, zone: Option<Zone>) -> TimestampFormat {
        TimestampFormat { encoding, zone, gap: LocalTimePolicy::Reject, fold: LocalTimePolicy::Reject }
    }

    fn rome(policy: LocalTimePolicy) -> TimestampFormat {
        let zone = Some(Zone::Named(TimeZone::get("Europe/Rome").unwrap()));
        TimestampFormat { gap: policy, fold: policy, ..format(TimeEncoding::Rfc3339, zone) }
    }

    fn check(text: &str, format: &TimestampFormat, expected: Result<&str, Rule>) {
        let found = instant(text, format).map(show).map_err(|problem| problem.rule());
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{text}");
    }

    #[test]
    fn offsets_of_text_and_column() {
        let bare = format(TimeEncoding::Rfc3339, None);
        let fixed = format(TimeEncoding::Rfc3339, Some(Zone::Fixed(3600)));
        check("2004-03-10T18:00:00Z", &bare, Ok("2004-03-10T18:00:00Z"));
        check("2004-03-10 18:00:00-05:30", &bare, Ok("2004-03-10T23:30:00Z"));
        check("2004-03-10T18:00:00", &bare, Err(Rule::Time));
        check("2004-03-10T18:00:00", &fixed, Ok("2004-03-10T17:00:00Z"));
        check("2004-03-10T18:00:00Z", &fixed, Ok("2004-03-10T18:00:00Z"));
        // Exists nowhere in Rome, but on a clock that is always an hour ahead.
        check("2004-03-28T02:00:00", &fixed, Ok("2004-03-28T01:00:00Z"));
    }

    #[test]
    fn named_zones_have_gaps_and_folds() {
        use LocalTimePolicy::{Earlier, Later, Reject};
        check("2004-07-01T12:00:00", &rome(Reject), Ok("2004-07-01T10:00:00Z"));
        check("2004-03-28T02:30:00", &rome(Reject), Err(Rule::Gap));
        check("2004-03-28T02:30:00", &rome(Earlier), Ok("2004-03-28T00:30:00Z"));
        check("2004-03-28T02:30:00", &rome(Later), Ok("2004-03-28T01:30:00Z"));
        check("2004-10-31T02:30:00", &rome(Reject), Err(Rule::Fold));
        check("2004-10-31T02:30:00", &rome(Earlier), Ok("2004-10-31T00:30:00Z"));
        check("2004-10-31T02:30:00", &rome(Later), Ok("2004-10-31T01:30:00Z"));
    }

    #[test]
    fn strptime_formats() {
        let strptime = |pattern: &str, zone| format(TimeEncoding::Strptime(pattern.to_owned()), zone);
        let readings = strptime("%d/%m/%Y %H.%M.%S", Some(Zone::Fixed(3600)));
        check("10/03/2004 18.00.00", &readings, Ok("2004-03-10T17:00:00Z"));
        check("10/03/2004", &readings, Err(Rule::Time));
        check("30/02/2004 18.00.00", &readings, Err(Rule::Time));
        check("10/03/2004 18.00.00", &strptime("%d/%m/%Y %H.%M.%S", None), Err(Rule::Time));
        check("10/03/2004 +0200", &strptime("%d/%m/%Y %z", None), Ok("2004-03-09T22:00:00Z"));
        check("1078938000", &strptime("%s", None), Ok("2004-03-10T17:00:00Z"));
        check(
            "1969-12-31 23:59:59.9999999",
            &strptime("%F %T%.f", Some(Zone::Fixed(0))),
            Ok("1969-12-31T23:59:59.999999Z"),
        );
        check("2004-03-28 02:30 Europe/Rome", &strptime("%F %H:%M %Q", None), Err(Rule::Gap));
    }

    #[test]
    fn the_years_1_to_9999() {
        let bare = format(TimeEncoding::Rfc3339, None);
        check("0001-01-01T00:00:00Z", &bare, Ok("0001-01-01T00:00:00Z"));
        check("0001-01-01T00:00:00+00:01", &bare, Err(Rule::Range));
        check("9999-12-31T23:59:59.999999Z", &bare, Ok("9999-12-31T23:59:59.999999Z"));
        check("9999-12-31T23:59:59-00:01", &bare, Err(Rule::Range));
        check("0000-01-01T00:00:00", &rome(LocalTimePolicy::Reject), Err(Rule::Range));
        assert_eq!(date("0001-01-01", None).unwrap(), DAY_MIN);
        assert_eq!(date("9999-12-31", None).unwrap(), DAY_MAX);
        assert_eq!(date("0000-12-31", None).unwrap_err().rule(), Rule::Range);
    }

    #[test]
    fn dates_have_formats_too() {
        assert_eq!(date("1970-01-02", None).unwrap(), 1);
        assert_eq!(date("31.12.1969", Some("%d.%m.%Y")).unwrap(), -1);
        assert_eq!(date("0000-01-01", Some("%Y-%m-%d")).unwrap_err().rule(), Rule::Time);
        for bad in ["1970-02-30", "1970-1-2", "1970-01-02 ", "", "1970-01-02T00:00:00"] {
            assert_eq!(date(bad, None).unwrap_err().rule(), Rule::Time, "{bad}");
        }
    }
}
