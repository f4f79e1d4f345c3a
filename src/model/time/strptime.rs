//! Text in a strptime format: strict, so that a text never becomes another time than the one that was meant.
//!
//! It takes no text that Python's `datetime.strptime` refuses, and makes the same instant of those that it takes. (A test
//! asks Python.) What differs on purpose is listed in `docs/pipeline.md`: letters that Python lacks, and fractions of up to
//! nine digits. It takes less than Python where a text is ambiguous or contradicts itself: what a text says twice must agree.
//! Letters are read greedily, from left to right; whitespace in a format stands for at least one character of whitespace.

use std::fmt;

use jiff::civil::Date;

use crate::model::time::civil;
use crate::model::time::civil::{DAY, SECOND, days_in, days_since_1970};

/// What a text in a format says, field by field.
#[derive(Debug, Default)]
pub(crate) struct Said<'t> {
    fields: [i32; FIELDS],
    /// Which of them were said, a bit each.
    known: u16,
    /// Seconds since 1970, and whether a minus stands before them: `-0.5` has one, too.
    epoch: Option<(i64, bool)>,
    /// Seconds east of UTC.
    pub(crate) offset: Option<i64>,
    /// The name of a time zone.
    pub(crate) zone: Option<&'t str>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    IsoYear,
    IsoWeek,
    /// The week of the year; week 1 begins with the first Sunday.
    SundayWeek,
    /// The week of the year; week 1 begins with the first Monday.
    MondayWeek,
    /// 1 is Monday, 7 is Sunday.
    Weekday,
    Hour,
    /// 1 to 12.
    HalfDayHour,
    /// 1 in the afternoon, else 0.
    Afternoon,
    Minute,
    Second,
    Nanosecond,
}

const FIELDS: usize = Field::Nanosecond as usize + 1;

/// The fields that a date must agree with, if they were said beside year, month and day.
const DATE_FIELDS: [Field; 9] = [
    Field::Year,
    Field::Month,
    Field::Day,
    Field::DayOfYear,
    Field::IsoYear,
    Field::IsoWeek,
    Field::SundayWeek,
    Field::MondayWeek,
    Field::Weekday,
];

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// As Python has them: an offset could bring a time of the year 0 into the year 1.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;
/// Letters of an abbreviated name.
const SHORT: usize = 3;
/// Digits of a second that count.
const FRACTION_DIGITS: usize = 9;

/// Why a text is not in a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn mismatch<T>(what: impl fmt::Display) -> Result<T, Mismatch> {
    Err(Mismatch(what.to_string()))
}

/// Reads all of a text.
pub(crate) fn read<'t>(format: &str, text: &'t str) -> Result<Said<'t>, Mismatch> {
    let mut walk = Walk { said: Said::default(), rest: text.as_bytes() };
    walk.all(format.as_bytes())?;
    if !walk.rest.is_empty() {
        return mismatch(format_args!("the format ends before {:?}", String::from_utf8_lossy(walk.rest)));
    }
    Ok(walk.said)
}

/// A text on its way through a format.
struct Walk<'t> {
    said: Said<'t>,
    rest: &'t [u8],
}

/// A letter of a format, with what stands between it and its `%`.
#[derive(Clone, Copy)]
struct Letter<'f> {
    /// All of it, for messages.
    written: &'f [u8],
    letter: u8,
    /// Whether spaces may stand in the place of leading zeros.
    padded: bool,
    width: Option<usize>,
    colons: usize,
}

impl<'t> Walk<'t> {
    fn all(&mut self, mut format: &[u8]) -> Result<(), Mismatch> {
        while let [first, rest @ ..] = format {
            if *first == b'%' {
                let letter = match rest {
                    // As nearly all are.
                    [letter, ..] if letter.is_ascii_alphabetic() => Letter::plain(&format[..2], *letter),
                    _ => Letter::at(format)?,
                };
                format = &format[letter.written.len()..];
                self.letter(letter)?;
            } else if first.is_ascii_whitespace() {
                self.whitespace()?;
                // A run of whitespace stands for one, of any length.
                format = format.trim_ascii_start();
            } else if first.is_ascii() && self.rest.first() == Some(first) {
                (format, self.rest) = (&format[1..], &self.rest[1..]);
            } else {
                let length = 1 + rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
                let literal;
                (literal, format) = format.split_at(length);
                self.all_of(literal)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn expected<T>(&self, what: impl fmt::Display) -> Result<T, Mismatch> {
        match String::from_utf8_lossy(self.rest) {
            rest if rest.is_empty() => mismatch(format_args!("{what} is expected where the text ends")),
            rest => mismatch(format_args!("{what} is expected before {rest:?}")),
        }
    }

    fn whitespace(&mut self) -> Result<(), Mismatch> {
        let rest = self.rest.trim_ascii_start();
        if rest.len() == self.rest.len() {
            return self.expected("whitespace");
        }
        self.rest = rest;
        Ok(())
    }

    fn letter(&mut self, at: Letter<'_>) -> Result<(), Mismatch> {
        use Field::*;
        match at.letter {
            b'Y' => self.number(at, Year, 4..=4, YEARS),
            b'm' => self.number(at, Month, 1..=2, 1..=12),
            b'd' | b'e' => self.number(at, Day, 1..=2, 1..=31),
            b'H' | b'k' => self.number(at, Hour, 1..=2, 0..=23),
            b'M' => self.number(at, Minute, 1..=2, 0..=59),
            // A leap second is no instant that a column could hold.
            b'S' => self.number(at, Second, 1..=2, 0..=59),
            b'I' | b'l' => self.number(at, HalfDayHour, 1..=2, 1..=12),
            b'j' => self.number(at, DayOfYear, 1..=3, 1..=366),
            b'G' => self.number(at, IsoYear, 4..=4, YEARS),
            b'V' => self.number(at, IsoWeek, 1..=2, 1..=53),
            b'U' => self.number(at, SundayWeek, 1..=2, 0..=53),
            b'W' => self.number(at, MondayWeek, 1..=2, 0..=53),
            b'u' => self.number(at, Weekday, 1..=1, 1..=7),
            b'w' => {
                let number = self.digits(at, 1..=1, 0..=6)?;
                self.put(at, Weekday, if number == 0 { 7 } else { number })
            }
            b'y' => self.short_year(at, Year),
            b'g' => self.short_year(at, IsoYear),
            b'f' | b'N' => self.fraction(at),
            b'.' => match self.rest.strip_prefix(b".") {
                None => Ok(()),
                Some(rest) => {
                    self.rest = rest;
                    self.fraction(at)
                }
            },
            _ if at.width.is_some() => mismatch(format_args!("{} can't have a width", at.name())),
            b'b' | b'h' => self.name(at, Month, &MONTHS, SHORT),
            b'B' => self.name(at, Month, &MONTHS, usize::MAX),
            b'a' => self.name(at, Weekday, &WEEKDAYS, SHORT),
            b'A' => self.name(at, Weekday, &WEEKDAYS, usize::MAX),
            b'p' | b'P' => {
                let number = self.choice(at, &["AM", "PM"], usize::MAX)?;
                self.put(at, Afternoon, number)
            }
            b's' => self.epoch(at),
            b'z' => self.offset(at),
            b'Q' if matches!(self.rest.first(), Some(b'+' | b'-')) => self.offset(at),
            b'Q' => self.zone(at),
            b'F' => self.all(b"%Y-%m-%d"),
            b'D' => self.all(b"%m/%d/%y"),
            b'T' => self.all(b"%H:%M:%S"),
            b'R' => self.all(b"%H:%M"),
            b'n' | b't' => self.whitespace(),
            b'%' => self.all_of(b"%"),
            _ => mismatch(format_args!("{} is no letter that weir reads", at.name())),
        }
    }

    fn all_of(&mut self, literal: &[u8]) -> Result<(), Mismatch> {
        match self.rest.strip_prefix(literal) {
            Some(rest) => self.rest = rest,
            None => return self.expected(format_args!("'{}'", String::from_utf8_lossy(literal))),
        }
        Ok(())
    }

    #[inline]
    fn number(
        &mut self,
        at: Letter<'_>,
        field: Field,
        digits: std::ops::RangeInclusive<usize>,
        range: std::ops::RangeInclusive<i32>,
    ) -> Result<(), Mismatch> {
        let number = self.digits(at, digits, range)?;
        self.put(at, field, number)
    }

    /// A number of so many digits: as many of them as there are.
    #[inline(always)]
    fn digits(
        &mut self,
        at: Letter<'_>,
        digits: std::ops::RangeInclusive<usize>,
        range: std::ops::RangeInclusive<i32>,
    ) -> Result<i32, Mismatch> {
        let (least, most) = (*digits.start(), *digits.end());
        if at.width.is_some_and(|width| width != most) {
            return mismatch(format_args!("{} can't have this width", at.name()));
        }
        let spaces = if at.padded { leading(self.rest, most - 1, |byte| byte == b' ') } else { 0 };
        let text = &self.rest[spaces..];
        let (mut length, mut number) = (0, 0);
        while length < most - spaces
            && let Some(digit) = text.get(length).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number * 10 + i32::from(digit);
            length += 1;
        }
        if length + spaces < least || length == 0 || !range.contains(&number) {
            return self.no_number(at, least, range);
        }
        self.rest = &text[length..];
        Ok(number)
    }

    #[cold]
    fn no_number(&self, at: Letter<'_>, least: usize, range: std::ops::RangeInclusive<i32>) -> Result<i32, Mismatch> {
        match least {
            4 if self.rest.starts_with(b"0000") => self.expected(format_args!("{}, a year from 1 to 9999,", at.name())),
            4 => self.expected(format_args!("{}, which is four digits,", at.name())),
            _ => self.expected(format_args!("{}, a number from {} to {},", at.name(), range.start(), range.end())),
        }
    }

    fn short_year(&mut self, at: Letter<'_>, field: Field) -> Result<(), Mismatch> {
        let number = self.digits(at, 2..=2, 0..=99)?;
        // As POSIX has it.
        self.put(at, field, if number <= 68 { 2000 + number } else { 1900 + number })
    }

    fn fraction(&mut self, at: Letter<'_>) -> Result<(), Mismatch> {
        let length = leading(self.rest, FRACTION_DIGITS, |byte| byte.is_ascii_digit());
        if length == 0 {
            return self.expected(format_args!("{}, digits of a fraction,", at.name()));
        }
        let digits = self.rest[..length].iter();
        let nanos = digits.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'));
        let nanos = nanos * 10_i32.pow((FRACTION_DIGITS - length) as u32);
        self.rest = &self.rest[length..];
        self.put(at, Field::Nanosecond, nanos)
    }

    /// A name of a list; its place in it, counted from 1, is the number.
    fn name(&mut self, at: Letter<'_>, field: Field, names: &[&str], letters: usize) -> Result<(), Mismatch> {
        let number = self.choice(at, names, letters)?;
        self.put(at, field, number + 1)
    }

    /// The place in a list of the name that stands here, of which so many letters are written.
    fn choice(&mut self, at: Letter<'_>, names: &[&str], letters: usize) -> Result<i32, Mismatch> {
        for (number, name) in (0..).zip(names) {
            let name = &name.as_bytes()[..letters.min(name.len())];
            if self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                self.rest = &self.rest[name.len()..];
                return Ok(number);
            }
        }
        let example = &names[0][..letters.min(names[0].len())];
        self.expected(format_args!("{}, such as {example},", at.name()))
    }

    fn epoch(&mut self, at: Letter<'_>) -> Result<(), Mismatch> {
        let (negative, text) = match self.rest {
            [b'-', text @ ..] => (true, text),
            [b'+', text @ ..] => (false, text),
            text => (false, text),
        };
        let length = leading(text, usize::MAX, |byte| byte.is_ascii_digit());
        let Some(seconds) = ascii(&text[..length]).parse::<i64>().ok() else {
            return self.expected(format_args!("{}, seconds since 1970,", at.name()));
        };
        let epoch = (if negative { -seconds } else { seconds }, negative);
        if self.said.epoch.is_some_and(|before| before != epoch) {
            return twice(at);
        }
        self.said.epoch = Some(epoch);
        self.rest = &text[length..];
        Ok(())
    }

    /// An offset from UTC: `+0100`, with colons if the letter has them.
    fn offset(&mut self, at: Letter<'_>) -> Result<(), Mismatch> {
        match offset(self.rest, at.colons) {
            None => self.expected(format_args!("{}, an offset from UTC,", at.name())),
            Some((seconds, _)) if self.said.offset.is_some_and(|before| before != seconds) => twice(at),
            Some((seconds, rest)) => {
                self.said.offset = Some(seconds);
                self.rest = rest;
                Ok(())
            }
        }
    }

    fn zone(&mut self, at: Letter<'_>) -> Result<(), Mismatch> {
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-/".contains(&byte);
        let length = leading(self.rest, usize::MAX, of_name);
        let (name, rest) = self.rest.split_at(length);
        let name = ascii(name);
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return self.expected(format_args!("{}, the name of a time zone,", at.name()));
        }
        if self.said.zone.is_some_and(|before| before != name) {
            return twice(at);
        }
        (self.said.zone, self.rest) = (Some(name), rest);
        Ok(())
    }

    #[inline]
    fn put(&mut self, at: Letter<'_>, field: Field, value: i32) -> Result<(), Mismatch> {
        if self.said.get(field).is_some_and(|before| before != value) {
            return twice(at);
        }
        self.said.fields[field as usize] = value;
        self.said.known |= 1 << field as u16;
        Ok(())
    }
}

impl<'f> Letter<'f> {
    /// All of it, for messages.
    fn name(&self) -> std::borrow::Cow<'f, str> {
        String::from_utf8_lossy(self.written)
    }

    /// A letter right after its `%`.
    #[inline]
    fn plain(written: &'f [u8], letter: u8) -> Self {
        Letter { written, letter, padded: matches!(letter, b'e' | b'k' | b'l'), width: None, colons: 0 }
    }

    /// The letter whose `%` begins a format.
    fn at(format: &'f [u8]) -> Result<Self, Mismatch> {
        let bytes = format;
        let flag = bytes.get(1).copied().filter(|byte| b"-_0^#".contains(byte));
        let mut at = 1 + usize::from(flag.is_some());
        let width = |at: &mut usize| {
            let length = leading(&format[*at..], 3, |byte| byte.is_ascii_digit());
            let width = ascii(&format[*at..*at + length]).parse().ok();
            *at += length;
            width
        };
        let mut width_of = width(&mut at);
        let colons = leading(&format[at..], 3, |byte| byte == b':');
        at += colons;
        let mut letter = bytes.get(at).copied().unwrap_or(b' ');
        if letter == b'.' {
            at += 1;
            width_of = width(&mut at);
            // The point is read with its fraction.
            letter = if bytes.get(at) == Some(&b'f') { b'.' } else { b' ' };
        }
        let rest = format.get(at + 1..).unwrap_or_default();
        let end = at + 1 + rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
        let end = end.min(format.len());
        let written = &format[..end];
        if colons > 0 && !matches!(letter, b'z' | b'Q') || !letter.is_ascii_alphabetic() && !b".%".contains(&letter) {
            return mismatch(format_args!("{} is no letter that weir reads", String::from_utf8_lossy(written)));
        }
        let padded = flag == Some(b'_') || matches!(letter, b'e' | b'k' | b'l');
        Ok(Letter { written, letter, padded, width: width_of, colons })
    }
}

#[cold]
fn twice<T>(at: Letter<'_>) -> Result<T, Mismatch> {
    mismatch(format_args!("{} says something else than what was said before", at.name()))
}

/// Bytes that were seen to be ASCII, as text.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// How many bytes at the start of a text are such ones, up to `most`.
#[inline]
fn leading(text: &[u8], most: usize, is: impl Fn(u8) -> bool) -> usize {
    text.iter().copied().take(most).take_while(|byte| is(*byte)).count()
}

/// The seconds of an offset at the start of a text, and what follows. Without colons: hours and minutes, perhaps seconds.
/// With one: the same, with colons between. With two: seconds, too. With three: at least hours.
fn offset(text: &[u8], colons: usize) -> Option<(i64, &[u8])> {
    let (negative, text) = match text {
        [sign @ (b'+' | b'-'), text @ ..] => (*sign == b'-', text),
        _ => return None,
    };
    let part = |text: &'_ [u8], limit: i64| {
        let digits = text.first_chunk::<2>()?;
        let value = civil::two(digits, 0)?;
        (value < limit).then_some((value, 2))
    };
    let next = |text: &'_ [u8]| -> Option<(i64, usize)> {
        match colons {
            0 => part(text, 60),
            _ => part(text.strip_prefix(b":")?, 60).map(|(value, length)| (value, length + 1)),
        }
    };
    let (hours, length) = part(text, 24)?;
    let mut rest = &text[length..];
    let mut seconds = hours * 3600;
    let required = [1, 1, 2, 0][colons.min(3)];
    for (number, unit) in [60, 1].into_iter().enumerate() {
        match next(rest) {
            Some((value, length)) => {
                seconds += value * unit;
                rest = &rest[length..];
            }
            None if number < required => return None,
            None => break,
        }
    }
    Some((if negative { -seconds } else { seconds }, rest))
}

impl Said<'_> {
    #[inline]
    fn get(&self, field: Field) -> Option<i32> {
        (self.known & (1 << field as u16) != 0).then(|| self.fields[field as usize])
    }

    /// Whether it says where its clock is, or an instant.
    pub(crate) fn has_own_zone(&self) -> bool {
        self.offset.is_some() || self.zone.is_some() || self.epoch.is_some()
    }

    /// The instant, in microseconds since 1970, where it is said as seconds since 1970.
    pub(crate) fn instant(&self) -> Option<i128> {
        let (seconds, negative) = self.epoch?;
        let nanos = i128::from(self.get(Field::Nanosecond).unwrap_or(0));
        let nanos = i128::from(seconds) * 1_000_000_000 + if negative { -nanos } else { nanos };
        Some(nanos.div_euclid(1000))
    }

    /// Microseconds from 1970-01-01T00:00:00 on the clock that was read. Finer digits are cut off.
    pub(crate) fn local(&self) -> Result<i64, Mismatch> {
        Ok((self.date()? * DAY + self.seconds()?) * SECOND + i64::from(self.get(Field::Nanosecond).unwrap_or(0) / 1000))
    }

    /// Seconds since midnight.
    fn seconds(&self) -> Result<i64, Mismatch> {
        const TIME: u16 = !((1 << Field::Hour as u16) - 1);
        const PLAIN: u16 = 1 << Field::Hour as u16 | 1 << Field::Minute as u16 | 1 << Field::Second as u16;
        if self.known & TIME & !(1 << Field::Nanosecond as u16) == PLAIN {
            let [hour, minute, second] =
                [Field::Hour, Field::Minute, Field::Second].map(|field| self.fields[field as usize]);
            return Ok(i64::from(hour * 3600 + minute * 60 + second));
        }
        let afternoon = self.get(Field::Afternoon);
        let half = self.get(Field::HalfDayHour).map(|hour| hour % 12 + 12 * afternoon.unwrap_or(0));
        let hour = self.get(Field::Hour);
        if let (Some(hour), Some(half)) = (hour, half)
            && if afternoon.is_some() { hour != half } else { hour % 12 != half % 12 }
        {
            return mismatch("it says two different hours");
        }
        if let (Some(hour), Some(afternoon)) = (hour, afternoon)
            && (hour >= 12) != (afternoon == 1)
        {
            return mismatch(format_args!("it says {hour} o'clock and {}", ["AM", "PM"][usize::from(afternoon == 1)]));
        }
        let parts = [hour.or(half), self.get(Field::Minute), self.get(Field::Second), self.get(Field::Nanosecond)];
        let said = parts.iter().take_while(|part| part.is_some()).count();
        if parts[said..].iter().any(Option::is_some) {
            let missing = ["hour", "minute", "second"][said];
            return mismatch(format_args!("it has parts of a time but no {missing}"));
        }
        let [hour, minute, second, _] = parts.map(|part| i64::from(part.unwrap_or(0)));
        Ok(hour * 3600 + minute * 60 + second)
    }

    /// Days since 1970.
    #[inline]
    pub(crate) fn date(&self) -> Result<i64, Mismatch> {
        let days = self.days()?;
        const PLAIN: u16 = 1 << Field::Year as u16 | 1 << Field::Month as u16 | 1 << Field::Day as u16;
        const DATE: u16 = (1 << Field::Hour as u16) - 1;
        if self.known & DATE & !PLAIN != 0 {
            self.agrees(days)?;
        }
        Ok(days)
    }

    fn days(&self) -> Result<i64, Mismatch> {
        let get = |field| self.get(field).map(i64::from);
        let weekday = get(Field::Weekday);
        if let (Some(year), Some(month), Some(day)) = (get(Field::Year), get(Field::Month), get(Field::Day)) {
            if day > days_in(year, month) {
                return mismatch(format_args!("{year:04}-{month:02} has no day {day}"));
            }
            return Ok(days_since_1970(year, month, day));
        }
        if let (Some(year), Some(day)) = (get(Field::Year), get(Field::DayOfYear)) {
            return Ok(days_since_1970(year, 1, 1) + day - 1);
        }
        if let (Some(year), Some(week), Some(weekday)) = (get(Field::IsoYear), get(Field::IsoWeek), weekday) {
            // Week 1 has January 4.
            return Ok(monday_before(days_since_1970(year, 1, 4)) + (week - 1) * 7 + weekday - 1);
        }
        if let (Some(year), Some(week), Some(weekday)) = (get(Field::Year), get(Field::SundayWeek), weekday) {
            let seventh = days_since_1970(year, 1, 7);
            let first_sunday = seventh - (seventh + 4).rem_euclid(7);
            return Ok(first_sunday + (week - 1) * 7 + weekday % 7);
        }
        if let (Some(year), Some(week), Some(weekday)) = (get(Field::Year), get(Field::MondayWeek), weekday) {
            return Ok(monday_before(days_since_1970(year, 1, 7)) + (week - 1) * 7 + weekday - 1);
        }
        mismatch("it doesn't tell the whole date")
    }

    /// Whether all that was said of a date is true of this one.
    fn agrees(&self, days: i64) -> Result<(), Mismatch> {
        let Some(date) = calendar(days) else { return mismatch("there is no such date") };
        let (day, iso, weekday) = (i32::from(date.day_of_year()), date.iso_week_date(), date.weekday());
        let of = |field| match field {
            Field::Year => i32::from(date.year()),
            Field::Month => i32::from(date.month()),
            Field::Day => i32::from(date.day()),
            Field::DayOfYear => day,
            Field::IsoYear => i32::from(iso.year()),
            Field::IsoWeek => i32::from(iso.week()),
            Field::SundayWeek => (day + 6 - i32::from(weekday.to_sunday_zero_offset())) / 7,
            Field::MondayWeek => (day + 6 - i32::from(weekday.to_monday_zero_offset())) / 7,
            _ => i32::from(weekday.to_monday_one_offset()),
        };
        match DATE_FIELDS.iter().all(|field| self.get(*field).is_none_or(|said| said == of(*field))) {
            true => Ok(()),
            false => mismatch(format_args!("what it says beside the date is not true of {date}")),
        }
    }
}

/// The Monday at or before a day.
fn monday_before(day: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    day - (day + 3).rem_euclid(7)
}

fn calendar(days: i64) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
