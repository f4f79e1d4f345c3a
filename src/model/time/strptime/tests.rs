//! Formats and texts: what is taken, what is refused, and that Python agrees.

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
    assert_eq!(micros(format, text).map_err(|error| error.to_string()), Err(why.to_owned()), "{text:?} by {format:?}");
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
        "Y m d", "d m Y", "m d y", "y m d", "Y j", "d b Y", "B d Y", "a d b Y", "Y m d j", "Y W w", "Y U a", "G V u",
        "Y m d A", "G V a", "Y m d U", "Y j W",
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
    let mut letters: Vec<&str> = date.split(' ').chain(time.split(' ')).filter(|letter| !letter.is_empty()).collect();
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
