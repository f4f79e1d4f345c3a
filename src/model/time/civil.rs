//! Dates and times of the calendar as text: the hand-written fast path for RFC 3339.

/// Microseconds a second.
pub(crate) const SECOND: i64 = 1_000_000;

/// Seconds a day.
pub(crate) const DAY: i64 = 86_400;

/// A time as RFC 3339 writes it, with the offset left out where it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Microseconds from 1970-01-01T00:00:00 on the clock that was read.
    pub(crate) local: i64,
    /// Seconds by which that clock is ahead of UTC, where the text says so.
    pub(crate) offset: Option<i64>,
}

/// Reads `YYYY-MM-DDTHH:MM:SS`, with any number of digits after a point, and `Z` or `±HH:MM` or nothing after that.
///
/// `t`, `z` and a space instead of the `T` are as good (RFC 3339, 5.6). Digits beyond microseconds are cut off. A leap
/// second (`:60`) is no instant that a column could hold, and is refused rather than moved.
pub(crate) fn rfc3339(text: &str) -> Option<Written> {
    let (fixed, rest) = text.as_bytes().split_first_chunk::<19>()?;
    if !matches!(fixed[10], b'T' | b't' | b' ') || fixed[13] != b':' || fixed[16] != b':' {
        return None;
    }
    let days = date(&fixed[..10])?;
    let (hour, minute, second) = (two(fixed, 11)?, two(fixed, 14)?, two(fixed, 17)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(days) * DAY + hour * 3600 + minute * 60 + second;
    let (micros, rest) = fraction(rest)?;
    Some(Written { local: seconds * SECOND + micros, offset: offset(rest)? })
}

/// A time as people type it: RFC 3339, where the seconds may be left out, or all of the time.
pub(crate) fn typed(text: &str) -> Option<Written> {
    match (text.len(), text.get(..16), text.get(16..)) {
        (10, ..) => rfc3339(&format!("{text}T00:00:00")),
        (_, Some(minutes), Some(rest)) if !rest.starts_with(':') => rfc3339(&format!("{minutes}:00{rest}")),
        _ => rfc3339(text),
    }
}

/// The same for an instant, in microseconds since 1970: its offset must be there.
pub(crate) fn typed_instant(text: &str) -> Option<i64> {
    let written = typed(text)?;
    Some(written.local - written.offset? * SECOND)
}

/// Reads `YYYY-MM-DD` as days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    i32::try_from(days_since_1970(year, month, day)).ok()
}

/// The number of two digits.
#[inline]
pub(crate) fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// The microseconds of `.digits` at the start of a text, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else {
        return Some((0, text));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let micros = (0..6).fold(0, |micros, place| {
        let digit = if place < count { digits[place] - b'0' } else { 0 };
        micros * 10 + i64::from(digit)
    });
    (count > 0).then(|| (micros, &digits[count..]))
}

/// The seconds of an offset, such as `+01:00` or `Z`, that a whole text is; nothing is none.
pub(crate) fn offset(text: &[u8]) -> Option<Option<i64>> {
    match text {
        [] => Some(None),
        [b'Z' | b'z'] => Some(Some(0)),
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (two(rest, 0)?, two(rest, 3)?);
            let seconds = hours * 3600 + minutes * 60;
            let signed = if *sign == b'-' { -seconds } else { seconds };
            (hours < 24 && minutes < 60).then_some(Some(signed))
        }
        _ => None,
    }
}

/// How many days a month has.
pub(crate) fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
///
/// Counts years from March, so that the leap day is a year's last: then the months' lengths repeat every five (153 days).
pub(crate) fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (153 * month_from_march + 2) / 5;
    const DAYS_TO_1970: i64 = 719_469;
    year * 365 + leap_days + before_month + day - DAYS_TO_1970
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_day_is_the_calendar_librarys() {
        let epoch = jiff::civil::date(1970, 1, 1);
        let mut day = Ok(jiff::civil::date(0, 1, 1));
        while let Ok(date_of_day) = day {
            let expected = date_of_day.since(epoch).unwrap().get_days();
            assert_eq!(date(date_of_day.to_string().as_bytes()), Some(expected));
            day = date_of_day.checked_add(jiff::Span::new().days(13));
        }
    }

    #[test]
    fn what_is_no_time() {
        for bad in [
            "",
            "2004-03-10",
            "2004-03-10T18:00",
            "2004-02-30T18:00:00Z",
            "2003-02-29T18:00:00Z",
            "2004-13-10T18:00:00Z",
            "2004-00-10T18:00:00Z",
            "2004-03-00T18:00:00Z",
            "2004-03-10T24:00:00Z",
            "2004-03-10T18:60:00Z",
            "2016-12-31T23:59:60Z",
            "2004-03-10T18:00:00.Z",
            "2004-03-10T18:00:00+0100",
            "2004-03-10T18:00:00+24:00",
            "2004-03-10T18:00:00+01:60",
            "2004-03-10T18:00:00 Z",
            "2004-03-10_18:00:00Z",
            "+004-03-10T18:00:00Z",
            "2004-03-10T18:00:00Zz",
            "２004-03-10T18:00:00Z",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_people_type_may_be_shorter() {
        let typed = |text| typed(text).map(|written| (written.local / SECOND, written.offset));
        assert_eq!(typed("1970-01-02"), Some((86_400, None)));
        assert_eq!(typed("1970-01-01T00:01"), Some((60, None)));
        assert_eq!(typed("1970-01-01T00:01+01:00"), Some((60, Some(3600))));
        assert_eq!(typed("1970-01-01 00:01:02.5Z"), Some((62, Some(0))));
        for bad in [
            "70-1-1",
            "70-01-01",
            "1970-01-01T",
            "1970-01-01T00",
            "1970-01-01T00:01:60",
            "1970-01-01T00:01:60Z",
            "é970-01-01T00:01",
        ] {
            assert_eq!(typed(bad), None, "{bad}");
        }
        assert_eq!(typed_instant("1970-01-01T00:01+01:00"), Some(-3540 * SECOND));
        assert_eq!(typed_instant("1970-01-01T00:01"), None);
    }

    #[test]
    fn digits_beyond_microseconds_are_cut() {
        let micros = |text| rfc3339(text).unwrap().local;
        assert_eq!(micros("1970-01-01T00:00:00.0000019Z"), 1);
        assert_eq!(micros("1969-12-31T23:59:59.9999999Z"), -1);
        assert_eq!(micros("1970-01-01 00:00:00.5"), 500_000);
    }

    proptest! {
        #[test]
        fn every_instant_comes_back(micros in -62_000_000_000_000_000i64..253_000_000_000_000_000) {
            let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(rfc3339(&text), Some(Written { local: micros, offset: Some(0) }));
        }
    }
}
