//! `weir windows` and `weir wait`: which windows of time are complete. Offline: they read the ledger, and need no broker.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{DONE, FAILED, FOUND, fail};
use crate::base::words;
use crate::base::words::{number, plural};
use crate::ledger::{Completeness, LedgerError, LedgerReader, Lost, PartitionFrontier, State, Window};
use crate::model::Pipeline;
use crate::model::time::{civil, clock};
use crate::model::window::{Calendar, ClosedBy, WindowId};
use crate::settings::duration;

/// How often `wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `weir windows`.
#[derive(Debug, Args)]
pub(crate) struct WindowsArgs {
    /// The pipeline file, with windows of time
    file: PathBuf,
    /// How the windows are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print only the files of complete windows, one path a line
    #[arg(long, conflicts_with = "format")]
    files: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: partitions and windows
    Json,
    /// For programs: windows
    Csv,
}

/// Arguments of `weir wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The pipeline file, with windows of time
    file: PathBuf,
    /// Wait until all data before this time is there: 2004-04-01, 2004-04-01T06:00 (both in the windows' time zone), or 2004-04-01T06:00:00Z
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Give up after this long: 30s, 10m, 2h
    #[arg(long, value_name = "DURATION", value_parser = |text: &str| duration(text).ok_or("write a whole number and ms, s, m, h or d"))]
    timeout: Option<Duration>,
}

/// Prints the windows of a dataset.
pub(crate) fn windows(args: &WindowsArgs) -> ExitCode {
    let (pipeline, calendar) = match load(&args.file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let read = || {
        let ledger = LedgerReader::of(&folder(&pipeline))?;
        Ok::<_, LedgerError>((ledger.completeness()?, ledger))
    };
    let (completeness, ledger) = match read() {
        Ok(read) => read,
        Err(error) => return fail(FAILED, &words::chain(&error)),
    };
    let names = Names(&calendar);
    match (args.files, args.format) {
        (true, _) => super::show(&files(&completeness, &ledger)),
        (_, Format::Table) => super::show(&table(&completeness, &names)),
        (_, Format::Json) => super::show(&format!("{:#}\n", as_json(&completeness, &names))),
        (_, Format::Csv) => super::show(&csv(&completeness, &names)),
    }
    ExitCode::from(DONE)
}

/// Waits until windows are complete.
pub(crate) fn wait(args: &WaitArgs) -> ExitCode {
    let (pipeline, mut calendar) = match load(&args.file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let Some(until) = instant(&args.until, &pipeline.window.kind().zone()) else {
        let help = "write 2004-04-01, 2004-04-01T06:00 (in the windows' time zone), or 2004-04-01T06:00:00Z";
        return fail(2, &format!("--until {:?} is no time; {help}", args.until));
    };
    // Data before an instant is complete when the window that holds the last instant before it is.
    let end = calendar.window(until.saturating_sub(1)).1;
    let asked = Instant::now();
    loop {
        let missing = match LedgerReader::of(&folder(&pipeline)).and_then(|ledger| ledger.frontier()) {
            Ok(partitions) => missing(&partitions, end),
            Err(LedgerError::NotADataset { .. }) => Some("there is no dataset yet".to_owned()),
            Err(error) => return fail(FAILED, &words::chain(&error)),
        };
        let Some(missing) = missing else { return ExitCode::from(DONE) };
        if args.timeout.is_some_and(|timeout| asked.elapsed() >= timeout) {
            return fail(FOUND, &format!("not complete up to {}: {missing}", args.until));
        }
        std::thread::sleep(args.timeout.map_or(LOOK, |timeout| LOOK.min(timeout)));
    }
}

/// What is missing for all windows that end at or before `end` to be complete and in place.
fn missing(partitions: &[PartitionFrontier], end: i64) -> Option<String> {
    if partitions.is_empty() {
        return Some("the dataset has no partition yet".to_owned());
    }
    let open: Vec<String> = partitions.iter().filter(|partition| partition.is_open(end)).map(at).collect();
    if !open.is_empty() {
        return Some(format!("held back by {}", open.join(", ")));
    }
    let unpublished: Vec<&str> =
        partitions.iter().filter(|partition| !partition.published).map(|partition| &*partition.partition).collect();
    (!unpublished.is_empty())
        .then(|| format!("files of {} are committed but not in place; the next start does it", unpublished.join(", ")))
}

/// A partition and how far its watermark is.
fn at(partition: &PartitionFrontier) -> String {
    match partition.watermark_us {
        Some(watermark) => format!("{} (watermark {})", partition.partition, time(watermark)),
        None => format!("{} (no row yet)", partition.partition),
    }
}

fn load(file: &Path) -> Result<(Pipeline, Calendar), ExitCode> {
    let pipeline = super::load(file)?;
    match pipeline.window.kind().calendar() {
        Some(calendar) => Ok((pipeline, calendar)),
        None => {
            let message = format!("{} has windows of rows; only windows of time are complete one day", file.display());
            Err(fail(FOUND, &format!("{message}: [window] type = \"tumbling\"")))
        }
    }
}

fn folder(pipeline: &Pipeline) -> PathBuf {
    pipeline.folder()
}

/// Microseconds since 1970 of what a person wrote.
fn instant(text: &str, zone: &TimeZone) -> Option<i64> {
    let written = civil::typed(text)?;
    match written.offset {
        Some(offset) => Some(written.local - offset * civil::SECOND),
        None => Some(zone.to_timestamp(clock(written.local).ok()?).ok()?.as_microsecond()),
    }
}

fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} us"), |instant| instant.to_string())
}

/// How windows are called.
struct Names<'a>(&'a Calendar);

impl Names<'_> {
    fn of(&self, window: &Window) -> String {
        self.0.name(WindowId::Time { start: window.start_us, end: window.end_us })
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Complete => "complete",
        State::Reopened => "reopened",
    }
}

fn table(completeness: &Completeness, names: &Names<'_>) -> String {
    let mut out = String::new();
    let mut line = |text: &str| writeln!(out, "{}", text.trim_end()).expect("writing to a String does not fail");
    let width = completeness.windows.iter().map(|window| names.of(window).len()).max().unwrap_or(0).max(6);
    line(&format!(
        "{:<width$}  {:<8}  {:>10}  {:>8}  {:>8}  {:>8}  {:>6}  why",
        "window", "state", "rows", "reopened", "late", "rejected", "files"
    ));
    let named = |partition: &String| completeness.partitions.iter().find(|known| known.partition == *partition).map(at);
    for window in &completeness.windows {
        let held: Vec<String> = window.held_back_by.iter().filter_map(named).collect();
        let early = |by| {
            let closed = window.closed_early.iter().filter(|closed| closed.by == by);
            closed.map(|closed| &*closed.partition).collect::<Vec<_>>().join(", ")
        };
        let why = [
            (held.join(", "), "held back by"),
            (early(ClosedBy::Idle), "closed by idle:"),
            (early(ClosedBy::Hand), "closed by hand:"),
        ];
        let why: Vec<_> =
            why.iter().filter(|(which, _)| !which.is_empty()).map(|(which, how)| format!("{how} {which}")).collect();
        line(&format!(
            "{:<width$}  {:<8}  {:>10}  {:>8}  {:>8}  {:>8}  {:>6}  {}",
            names.of(window),
            state(window.state),
            number(window.rows),
            number(window.reopened),
            number(window.late),
            number(window.rejected),
            window.files.len(),
            why.join("; ")
        ));
    }
    completeness.lost.iter().for_each(|lost| line(&lost_text(lost)));
    out
}

/// What was given up, and what that means for windows.
fn lost_text(lost: &Lost) -> String {
    let Lost { partition, from, to, watermark_us } = lost;
    let windows =
        watermark_us.map_or("any window".to_owned(), |after| format!("windows that end after {}", time(after)));
    format!("{partition}: offsets {from} to {to} were given up (weir skip); {windows} may lack rows")
}

fn as_json(completeness: &Completeness, names: &Names<'_>) -> serde_json::Value {
    let partition = |partition: &PartitionFrontier| {
        json!({
            "partition": partition.partition,
            "position": partition.position,
            "largest": partition.largest_us.map(time),
            "watermark": partition.watermark_us.map(time),
            "closed_by": partition.closed_by,
            "published": partition.published,
        })
    };
    let window = |window: &Window| {
        json!({
            "window": names.of(window),
            "start": time(window.start_us),
            "end": time(window.end_us),
            "state": state(window.state),
            "rows": window.rows,
            "reopened": window.reopened,
            "late": window.late,
            "rejected": window.rejected,
            "files": window.files,
            "held_back_by": window.held_back_by,
            "closed_early": window.closed_early,
        })
    };
    let lost = |lost: &Lost| {
        json!({
            "partition": lost.partition,
            "from": lost.from,
            "to": lost.to,
            "windows_after": lost.watermark_us.map(time),
        })
    };
    json!({
        "lost": completeness.lost.iter().map(lost).collect::<Vec<_>>(),
        "partitions": completeness.partitions.iter().map(partition).collect::<Vec<_>>(),
        "windows": completeness.windows.iter().map(window).collect::<Vec<_>>(),
    })
}

fn csv(completeness: &Completeness, names: &Names<'_>) -> String {
    let mut out = "window,start,end,state,rows,reopened,late,rejected,files,held_back_by,closed_early\n".to_owned();
    for window in &completeness.windows {
        // No value has a comma or a quote: names, times, and topics of letters, digits, '.', '_' and '-'.
        writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{}",
            names.of(window),
            time(window.start_us),
            time(window.end_us),
            state(window.state),
            window.rows,
            window.reopened,
            window.late,
            window.rejected,
            window.files.len(),
            window.held_back_by.join(" "),
            window.closed_early.iter().map(|closed| &*closed.partition).collect::<Vec<_>>().join(" ")
        )
        .expect("writing to a String does not fail");
    }
    out
}

/// Files of complete windows that are in place; a newest entry's may not be.
fn files(completeness: &Completeness, ledger: &LedgerReader) -> String {
    let complete = completeness.windows.iter().filter(|window| window.state != State::Open);
    let files: Vec<&String> = complete.flat_map(|window| &window.files).collect();
    let missing: HashSet<&String> = files.iter().copied().filter(|file| !ledger.is_in_place(file)).collect();
    completeness.lost.iter().for_each(|lost| eprintln!("weir: {}", lost_text(lost)));
    if !missing.is_empty() {
        let are = if missing.len() == 1 { "is" } else { "are" };
        let count = plural(missing.len() as u64, "file");
        eprintln!("weir: {count} {are} committed but not in place; the next start does it");
    }
    let there = files.into_iter().filter(|file| !missing.contains(file));
    there.map(|file| format!("{}\n", ledger.place(file).display())).collect()
}
