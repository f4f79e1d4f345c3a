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
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Microseconds of the instant, or of the clock where there is no offset.
    fn micros(format: &str, text: &str) -> Result<i128, Mismatch> {
        let said = read(format, text)?;
        match said.instant() {
            Some(instant) => Ok(instant),
            None => Ok(i128::from(said.local()?) - i128::from(said.offset.unwrap_or(0)) * i128::from(SECOND)),
        }
    }

    #[track_caller]
    fn good(format: &str, text: &str, same: &str) {
        let expected = civil::typed(same).unwrap().local;
        assert_eq!(micros(format, text), Ok(expected.into()), "{text:?} by {format:?}");
    }

    #[track_caller]
    fn refused(format: &str, text: &str, why: &str) {
        assert_eq!(
            micros(format, text).map_err(|error| error.to_string()),
            Err(why.to_owned()),
            "{text:?} by {format:?}"
        );
    }

    #[test]
    fn every_letter() {
        for (format, text, same) in [
            ("%Y-%m-%d %H:%M:%S", "2024-02-29 23:59:59", "2024-02-29T23:59:59"),
            ("%d/%m/%y", "1/2/24", "2024-02-01"),
            ("%y%m%d", "690101", "1969-01-01"),
            ("%F %T%.f", "2024-01-02 03:04:05.6789", "2024-01-02T03:04:05.6789"),
            ("%F %T%.f", "2024-01-02 03:04:05", "2024-01-02T03:04:05"),
            ("%F %T.%f", "2024-01-02 03:04:05.123456789", "2024-01-02T03:04:05.123456"),
            ("%D %R", "01/02/24 03:04", "2024-01-02T03:04"),
            ("%e %b %Y %l:%M %p", " 1 jan 2024 12:30 am", "2024-01-01T00:30"),
            ("%A, %d %B %Y %I%p", "TUESDAY, 2 January 2024 12PM", "2024-01-02T12:00"),
            ("%a %Y %j", "Tue 2024 002", "2024-01-02"),
            ("%Y-%j", "2024-366", "2024-12-31"),
            ("%G-W%V-%u", "2020-W53-7", "2021-01-03"),
            ("%g %V %w", "24 1 0", "2024-01-07"),
            ("%Y %U %w", "2024 1 0", "2024-01-07"),
            ("%Y %U %w", "2024 0 6", "2024-01-06"),
            ("%Y %W %a", "2024 1 Sun", "2024-01-07"),
            ("%Y %W %a", "2023 0 Sun", "2023-01-01"),
            ("%Y%n%m%t%d", "2024 \n1\t 2", "2024-01-02"),
            ("%Y %m %d", "2024   1 2", "2024-01-02"),
            ("%Y%%%m%%%d", "2024%1%2", "2024-01-02"),
            ("%Yé%mé%d", "2024é1é2", "2024-01-02"),
            ("%Y-%m-%d %z", "1970-01-01 -0130", "1970-01-01T01:30"),
            ("%Y-%m-%d %:z", "1970-01-01 -01:30", "1970-01-01T01:30"),
            ("%Y-%m-%d %::z", "1970-01-01 -01:30:15", "1970-01-01T01:30:15"),
            ("%Y-%m-%d %:::z", "1970-01-01 -01", "1970-01-01T01:00"),
            ("%s", "60", "1970-01-01T00:01"),
            ("%s.%f", "60.5", "1970-01-01T00:01:00.5"),
            ("%4Y-%-m-%_d", "2024-1- 2", "2024-01-02"),
        ] {
            good(format, text, same);
        }
        assert_eq!(micros("%s%.f", "-0.25"), Ok(-250_000));
        assert_eq!(read("%F %Q", "2024-01-01 Europe/Rome").unwrap().zone, Some("Europe/Rome"));
        assert_eq!(read("%F %:Q", "2024-01-01 +01:00").unwrap().offset, Some(3600));
    }

    #[test]
    fn what_could_be_another_time_is_refused() {
        refused("%d/%m/%Y", "01/02/24", "%Y, which is four digits, is expected before \"24\"");
        refused("%Y-%m-%d", "2-2-1", "%Y, which is four digits, is expected before \"2-2-1\"");
        refused("%Y-%m-%d", "+2024-02-01", "%Y, which is four digits, is expected before \"+2024-02-01\"");
        refused("%Y-%m-%d", "20240-2-1", "'-' is expected before \"0-2-1\"");
        refused("%T", "23:59:60", "%S, a number from 0 to 59, is expected before \"60\"");
        refused("%F %z", "0000-12-31 -0630", "%Y, a year from 1 to 9999, is expected before \"0000-12-31 -0630\"");
        refused("%G-W%V-%u", "0000-W53-7", "%G, a year from 1 to 9999, is expected before \"0000-W53-7\"");
        refused("%d/%m/%Y", " 1/2/2024", "%d, a number from 1 to 31, is expected before \" 1/2/2024\"");
        refused("%d/%m/%y", "1/2/2", "%y, a number from 0 to 99, is expected before \"2\"");
        // Without the blank the text could mean anything.
        refused("%Y-%m-%d %H", "2024-01-023", "whitespace is expected before \"3\"");
        refused("%Y-%m-%d", "2024-01-02 ", "the format ends before \" \"");
        refused("%Y-%m-%d", "2024-01", "'-' is expected where the text ends");
        refused("%Y-%m-%d", "2023-02-29", "2023-02 has no day 29");
        refused("%Y-%j", "2023-366", "what it says beside the date is not true of 2024-01-01");
        refused("%G-W%V-%u", "2021-W53-1", "what it says beside the date is not true of 2022-01-03");
        refused("%F %z", "2024-01-01 +2400", "%z, an offset from UTC, is expected before \"+2400\"");
        refused("%F %z", "2024-01-01 +01", "%z, an offset from UTC, is expected before \"+01\"");
    }

    #[test]
    fn what_is_said_twice_must_agree() {
        good("%F %a %j", "2024-01-02 Tue 2", "2024-01-02");
        good("%F %H %p", "2024-01-02 13 PM", "2024-01-02T13:00");
        good("%F %H %I", "2024-01-02 13 1", "2024-01-02T13:00");
        refused("%F %a", "2024-01-02 Wed", "what it says beside the date is not true of 2024-01-02");
        refused("%F %j", "2024-01-02 3", "what it says beside the date is not true of 2024-01-02");
        refused("%F %H %p", "2024-01-02 13 AM", "it says 13 o'clock and AM");
        refused("%F %H %I %p", "2024-01-02 13 2 PM", "it says two different hours");
        refused("%F %d", "2024-01-02 3", "%d says something else than what was said before");
        refused("%F %b", "2024-01-02 Feb", "%b says something else than what was said before");
    }

    #[test]
    fn formats_that_make_no_sense() {
        refused("%C", "20", "%C is no letter that weir reads");
        refused("%Z", "CET", "%Z is no letter that weir reads");
        refused("%", "%", "% is no letter that weir reads");
        refused("%é", "é", "%é is no letter that weir reads");
        refused("%5Y", "02024", "%5Y can't have this width");
        refused("%9b", "Jan", "%9b can't have a width");
        refused("%F %M", "2024-01-02 3", "it has parts of a time but no hour");
        refused("%F %H:%S", "2024-01-02 3:4", "it has parts of a time but no minute");
        refused("%Y %m", "2024 1", "it doesn't tell the whole date");
    }

    /// A number that follows from its arguments alone: SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % limit as u64) as usize
        }

        fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
            choices[self.below(choices.len())]
        }
    }

    /// A random format of letters that Python has, each once: letters, and what stands before each.
    fn format(dice: &mut Dice) -> Vec<(&'static str, &'static str)> {
        let date = dice.one_of(&[
            "Y m d", "d m Y", "m d y", "y m d", "Y j", "d b Y", "B d Y", "a d b Y", "Y m d j", "Y W w", "Y U a",
            "G V u", "Y m d A", "G V a", "Y m d U", "Y j W",
        ]);
        let time = dice.one_of(&[
            "",
            "H",
            "H M",
            "H M S",
            "H M S f",
            "I p",
            "I M p",
            "I M S p",
            "H M S z",
            "H M S f z",
            "H p",
            "z",
        ]);
        let mut letters: Vec<&str> =
            date.split(' ').chain(time.split(' ')).filter(|letter| !letter.is_empty()).collect();
        if dice.below(8) == 0 {
            let (one, other) = (dice.below(letters.len()), dice.below(letters.len()));
            letters.swap(one, other);
        }
        let usual = dice.one_of(&["-", "/", " ", ":", ".", "", "T", ", ", "%%"]);
        let before = |(at, letter)| match (at, dice.below(4)) {
            (0, _) => ("", letter),
            (_, 0) => (dice.one_of(&["-", " ", "T", "", ":"]), letter),
            _ => (usual, letter),
        };
        letters.into_iter().enumerate().map(before).collect()
    }

    /// A text that is in a format, or nearly so.
    fn text(format: &[(&str, &str)], dice: &mut Dice) -> String {
        let mut text = String::new();
        for (before, letter) in format {
            text.push_str(if *before == "%%" { "%" } else { before });
            text.push_str(&value(letter, dice));
        }
        // A slip.
        if dice.below(3) == 0 && !text.is_empty() {
            let at = dice.below(text.len() + 1);
            match dice.below(3) {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text.replace_range(at..=at, dice.one_of(&["0", "1", "9", " ", "-", "6", "é"])),
                _ => text.insert_str(at, dice.one_of(&["0", "1", " ", "  ", "+", "2", "-", "Z"])),
            }
        }
        text
    }

    /// A value for a letter, now and then one out of its range or without its leading zero.
    fn value(letter: &str, dice: &mut Dice) -> String {
        let mut number = |from: usize, to: usize, width: usize| {
            let number = from + dice.below(to + 1 - from) + usize::from(dice.below(40) == 0);
            let width = if dice.below(4) == 0 { 1 } else { width };
            format!("{number:0width$}")
        };
        match letter {
            "Y" | "G" => number(1900, 2100, 4),
            "y" => number(0, 99, 2),
            "m" => number(1, 12, 2),
            "d" => number(1, 31, 2),
            "H" => number(0, 23, 2),
            "I" => number(1, 12, 2),
            "M" | "S" => number(0, 59, 2),
            "f" => number(0, 999_999, 6),
            "j" => number(1, 366, 3),
            "U" | "W" => number(0, 53, 2),
            "V" => number(1, 53, 2),
            "w" => number(0, 6, 1),
            "u" => number(1, 7, 1),
            "z" => {
                format!("{}{}{}", ["+", "-"][usize::from(number(0, 1, 1) != "0")], number(0, 23, 2), number(0, 59, 2))
            }
            "p" => ["AM", "PM", "am", "pm"][number(0, 2, 1).parse::<usize>().unwrap()].to_owned(),
            "b" => MONTHS[number(0, 10, 1).parse::<usize>().unwrap()][..3].to_owned(),
            "B" => MONTHS[number(0, 10, 1).parse::<usize>().unwrap()].to_owned(),
            "a" => WEEKDAYS[number(0, 5, 1).parse::<usize>().unwrap()][..3].to_owned(),
            _ => WEEKDAYS[number(0, 5, 1).parse::<usize>().unwrap()].to_owned(),
        }
    }

    /// Python's answers, a line each.
    fn python(samples: &[(String, String)]) -> Vec<Option<i128>> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/strptime.py");
        let mut child = Command::new("python3")
            .args(["-I", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test asks Python: install python3, 3.11 or newer");
        let lines: String = samples.iter().map(|sample| serde_json::to_string(sample).unwrap() + "\n").collect();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "strptime.py failed");
        let answers = String::from_utf8(output.stdout).unwrap();
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn nothing_is_taken_that_python_refuses_and_nothing_becomes_another_instant() {
        let seed = std::env::var("WEIR_SEED").map_or_else(|_| std::process::id().into(), |seed| seed.parse().unwrap());
        println!("WEIR_SEED={seed}");
        let mut dice = Dice(seed);
        // Python compiles each format anew: many texts have one.
        let mut samples = Vec::new();
        for _ in 0..1_000 {
            let letters = format(&mut dice);
            let format: String = letters.iter().map(|(before, letter)| format!("{before}%{letter}")).collect();
            samples.extend((0..100).map(|_| (format.clone(), text(&letters, &mut dice))));
        }
        let answers = python(&samples);
        assert_eq!(answers.len(), samples.len());
        let (mut both, mut neither, mut python_alone) = (0, 0, Vec::new());
        for ((format, text), python) in samples.iter().zip(answers) {
            match (micros(format, text).ok(), python) {
                (None, None) => neither += 1,
                (None, Some(_)) => python_alone.push((format, text)),
                (Some(ours), Some(python)) if ours == python => both += 1,
                // A fraction of seven to nine digits, which Python hasn't.
                (Some(_), None) if format.contains("%f") && digits_in_a_row(text) > 6 => {}
                (ours, python) => panic!("seed {seed}: {text:?} by {format:?} is {ours:?}, and {python:?} for Python"),
            }
        }
        println!("{both} taken by both, {neither} by none, {} by Python alone", python_alone.len());
        for (format, text) in python_alone.iter().take(40) {
            println!("  {text:?} by {format:?}: {}", micros(format, text).unwrap_err());
        }
        assert!(both > 30_000 && neither > 5_000, "{both} and {neither}: this compares too little");
    }

    fn digits_in_a_row(text: &str) -> usize {
        text.split(|letter: char| !letter.is_ascii_digit()).map(str::len).max().unwrap_or(0)
    }
}
