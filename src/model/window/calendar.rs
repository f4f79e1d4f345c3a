//! Which window of time an instant is in: windows of a fixed length, or of days of a time zone. Pure.
//!
//! Sizes below a day, and others that are no whole number of days, are exact lengths of time counted from the origin.
//! Whole days are days on the wall of the zone: a day on which the clocks change has 23 or 25 hours, and its window too.
//! Windows follow each other without a hole; where a zone skipped a whole day (Pacific/Apia, 2011-12-30) that day's window
//! is empty and no instant is in it.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::WindowId;

const MICROS_A_DAY: i64 = 86_400_000_000;

/// How time is divided into windows.
#[derive(Debug, Clone)]
pub struct Calendar {
    division: Division,
    /// The window that was asked for last: rows come in runs.
    last: Option<(i64, i64)>,
}

#[derive(Debug, Clone)]
enum Division {
    /// Windows of `size` microseconds, one of which starts at `origin`.
    Exact { size: i64, origin: i64 },
    /// Windows of `days` days of a zone, one of which starts at `origin` on the zone's clocks.
    Days { days: i64, origin: DateTime, zone: TimeZone },
}

impl Calendar {
    /// Windows of `size` microseconds, one of which starts when the clocks of `zone` show `origin`.
    ///
    /// # Panics
    /// When `size` is not above 0; reading a definition refuses that.
    pub fn new(size: i64, origin: DateTime, zone: &TimeZone) -> Self {
        assert!(size > 0, "a window has a length");
        let division = if size % MICROS_A_DAY == 0 {
            Division::Days { days: size / MICROS_A_DAY, origin, zone: zone.clone() }
        } else {
            Division::Exact { size, origin: instant(origin, zone) }
        };
        Calendar { division, last: None }
    }

    /// The window of an instant, in microseconds since 1970: its start, and the end that is not in it any more.
    pub fn window(&mut self, micros: i64) -> (i64, i64) {
        match self.last {
            Some((start, end)) if start <= micros && micros < end => (start, end),
            _ => {
                let found = self.division.window(micros);
                self.last = Some(found);
                found
            }
        }
    }

    /// A window's name in paths and tables. Days have their date in the zone, all others their start in UTC; names in
    /// order are windows in order, and no character of them needs escaping.
    pub fn name(&self, window: WindowId) -> String {
        let WindowId::Time { start, .. } = window else {
            unreachable!("a calendar names windows of time");
        };
        let Ok(start) = Timestamp::from_microsecond(start) else { return start.to_string() };
        match &self.division {
            Division::Days { origin, zone, .. } => {
                let local = zone.to_datetime(start);
                let mut name = local.date().to_string();
                if origin.time() != DateTime::default().time() {
                    write!(name, "T{:02}{:02}", local.hour(), local.minute())
                        .expect("writing to a String does not fail");
                }
                name
            }
            Division::Exact { size, .. } => {
                let local = TimeZone::UTC.to_datetime(start);
                let mut name =
                    format!("{}T{:02}{:02}{:02}", local.date(), local.hour(), local.minute(), local.second());
                if size % 1_000_000 != 0 || local.subsec_nanosecond() != 0 {
                    write!(name, ".{:06}", local.subsec_nanosecond() / 1000)
                        .expect("writing to a String does not fail");
                }
                name.push('Z');
                name
            }
        }
    }
}

impl Division {
    fn window(&self, micros: i64) -> (i64, i64) {
        match self {
            Division::Exact { size, origin } => {
                let (micros, size, origin) = (i128::from(micros), i128::from(*size), i128::from(*origin));
                let start = origin + (micros - origin).div_euclid(size) * size;
                (saturate(start), saturate(start + size))
            }
            Division::Days { days, origin, zone } => {
                let start_of = |number: i64| boundary(number, *days, *origin, zone);
                // Past the calendar's last year no window starts any more: there the searches must end.
                let micros = micros.min(i64::MAX - 1);
                let mut number = guess(micros, *days, *origin, zone);
                // The guess ignores that clocks are changed: it is off by one window at the most, but for skipped days.
                while start_of(number) > micros {
                    number -= 1;
                }
                while start_of(number + 1) <= micros {
                    number += 1;
                }
                (start_of(number), start_of(number + 1))
            }
        }
    }
}

/// The number, counted from the origin, of about the window that an instant is in.
fn guess(micros: i64, days: i64, origin: DateTime, zone: &TimeZone) -> i64 {
    let local = Timestamp::from_microsecond(micros)
        .map_or_else(|_| if micros < 0 { DateTime::MIN } else { DateTime::MAX }, |instant| zone.to_datetime(instant));
    days_between(origin.date(), local.date()).div_euclid(days)
}

fn days_between(from: Date, to: Date) -> i64 {
    to.duration_since(from).as_hours() / 24
}

/// When the window of a number starts. What lies before or after the calendar's years is as far away as can be.
fn boundary(number: i64, days: i64, origin: DateTime, zone: &TimeZone) -> i64 {
    let span = number.checked_mul(days).and_then(|days| Span::new().try_days(days).ok());
    match span.and_then(|span| origin.checked_add(span).ok()) {
        Some(local) => instant(local, zone),
        None if number < 0 => i64::MIN,
        None => i64::MAX,
    }
}

/// When the clocks of a zone show `local`: the earlier time where they show it twice, and the time after the gap, by as
/// much as the clocks were changed, where they never show it.
fn instant(local: DateTime, zone: &TimeZone) -> i64 {
    match zone.to_ambiguous_timestamp(local).compatible() {
        Ok(instant) => instant.as_microsecond(),
        Err(_) if local.year() < 0 => i64::MIN,
        Err(_) => i64::MAX,
    }
}

fn saturate(micros: i128) -> i64 {
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    /// The window of an instant: start and end in UTC, and its name.
    #[track_caller]
    fn check(size: i64, origin: &str, zone: &str, at: &str, start: &str, end: &str, name: &str) {
        let zone = TimeZone::get(zone).unwrap();
        let mut calendar = Calendar::new(size, origin.parse().unwrap(), &zone);
        let found = calendar.window(micros(at));
        assert_eq!(found, (micros(start), micros(end)), "{:?}", [found.0, found.1].map(Timestamp::from_microsecond));
        assert_eq!(calendar.name(WindowId::Time { start: found.0, end: found.1 }), name);
    }

    #[test]
    fn exact_windows() {
        let check = |size, at, start, end, name| check(size, "1970-01-01T00:00:00", "UTC", at, start, end, name);
        check(HOUR, "2004-03-10T18:59:59Z", "2004-03-10T18:00:00Z", "2004-03-10T19:00:00Z", "2004-03-10T180000Z");
        check(HOUR, "2004-03-10T18:00:00Z", "2004-03-10T18:00:00Z", "2004-03-10T19:00:00Z", "2004-03-10T180000Z");
        check(SECOND, "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1969-12-31T235959Z");
        check(
            250_000,
            "1970-01-01T00:00:00.3Z",
            "1970-01-01T00:00:00.25Z",
            "1970-01-01T00:00:00.5Z",
            "1970-01-01T000000.250000Z",
        );
    }

    #[test]
    fn days_of_a_zone() {
        let day = |at, start, end, name| check(24 * HOUR, "1970-01-01T00:00:00", "Europe/Rome", at, start, end, name);
        day("2004-03-27T12:00:00Z", "2004-03-26T23:00:00Z", "2004-03-27T23:00:00Z", "2004-03-27");
        // 23 and 25 hours.
        day("2004-03-28T21:59:59Z", "2004-03-27T23:00:00Z", "2004-03-28T22:00:00Z", "2004-03-28");
        day("2004-10-31T22:59:59Z", "2004-10-30T22:00:00Z", "2004-10-31T23:00:00Z", "2004-10-31");
        // Weeks that begin on a Monday, and days that begin at six.
        let (week, shift) = ("1970-01-05T00:00:00", "1970-01-01T06:00:00");
        let rome = "Europe/Rome";
        let (from, to) = ("2004-03-21T23:00:00Z", "2004-03-28T22:00:00Z");
        check(7 * 24 * HOUR, week, rome, "2004-03-28T21:00:00Z", from, to, "2004-03-22");
        let (from, to) = ("2004-03-09T05:00:00Z", "2004-03-10T05:00:00Z");
        check(24 * HOUR, shift, rome, "2004-03-10T04:59:59Z", from, to, "2004-03-09T0600");
    }

    #[test]
    fn a_day_that_never_was() {
        let day = |at, start, end, name| check(24 * HOUR, "1970-01-01T00:00:00", "Pacific/Apia", at, start, end, name);
        day("2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-29");
        day("2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", "2011-12-31");
    }

    fn calendars() -> impl Strategy<Value = Calendar> {
        let size = prop_oneof![1i64..30 * 24 * 3600, (1i64..=30).prop_map(|days| days * 24 * 3600)];
        let zone =
            prop::sample::select(vec!["UTC", "Europe/Rome", "Pacific/Apia", "Asia/Kathmandu", "America/St_Johns"]);
        let origin = prop::sample::select(vec!["1970-01-01T00:00:00", "2004-02-29T06:30:00", "1900-05-07T00:00:00"]);
        (size, origin, zone).prop_map(|(seconds, origin, zone)| {
            Calendar::new(seconds * SECOND, origin.parse().unwrap(), &TimeZone::get(zone).unwrap())
        })
    }

    fn instants() -> impl Strategy<Value = i64> {
        let near = |text: &str| {
            let at = micros(text);
            at - 40 * HOUR..at + 40 * HOUR
        };
        prop_oneof![
            micros("1890-01-01T00:00:00Z")..micros("2200-01-01T00:00:00Z"),
            near("2004-03-28T01:00:00Z"),
            near("2004-10-31T01:00:00Z"),
            near("2011-12-30T10:00:00Z"),
            any::<i64>(),
            Just(i64::MAX),
            Just(i64::MIN),
        ]
    }

    proptest! {
        /// Windows hold what is in them, follow each other without a hole, and are in the order of their names.
        #[test]
        fn every_instant_is_in_one_window(calendar in calendars(), at in instants()) {
            let mut calendar = calendar;
            let (start, end) = calendar.window(at);
            prop_assert!(start <= at && (at < end || end == i64::MAX), "{} in {}..{}", at, start, end);
            for inside in [start, end - 1] {
                calendar.last = None;
                prop_assert_eq!(calendar.window(inside), (start, end));
            }
            if end < micros("9990-01-01T00:00:00Z") {
                let (next, after) = calendar.window(end);
                prop_assert_eq!(next, end);
                if start > micros("0001-01-01T00:00:00Z") {
                    let name = |start, end| calendar.name(WindowId::Time { start, end });
                    prop_assert!(name(start, end) < name(next, after));
                }
            }
        }
    }
}
