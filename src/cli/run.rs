//! `weir run`: runs pipelines in the foreground, until their topics' end or until it is told to stop.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::show::EMPTY;
use super::{DONE, FAILED, FOUND, INTERRUPTED, LEAVE, OutputFormat};
use crate::base::codes::Coded as _;
use crate::base::machine;
use crate::base::words::{bytes, duration, number, plural};
use crate::base::{logging, words};
use crate::engine::close_windows;
use crate::engine::topology;
use crate::engine::topology::{Arbiters, Running};
use crate::engine::{Limits, RunOptions};
use crate::flow::progress::Snapshot;
use crate::flow::run::Run;
use crate::ledger::{LedgerError, LedgerReader, State};
use crate::model::Class;
use crate::model::Pipeline;
use crate::settings::Service;

/// How often the progress line changes: on a terminal, and elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const PLAIN_LINE: Duration = Duration::from_secs(10);

/// Kinds of rejects that the summary shows.
const REJECTS_SHOWN: usize = 5;

/// Arguments of `weir run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Pipeline files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Read up to where the topics end now, commit, and exit
    #[arg(long)]
    until_end: bool,
    /// At the end, close windows of time that rows alone would leave open
    #[arg(long, requires = "until_end")]
    close: bool,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    let settings = match Service::load() {
        Ok(settings) => settings,
        Err(error) => return super::fail(FOUND, &error),
    };
    let Some(pipelines) = load(&args.files) else { return ExitCode::from(FOUND) };
    if let Some(clash) = clash(&pipelines) {
        return super::fail(FOUND, &clash);
    }
    if let Err(reason) = logging::start(&settings.log, false) {
        return super::fail(FAILED, &reason);
    }
    for pipeline in &pipelines {
        for warning in super::check::warnings(pipeline) {
            tracing::warn!(pipeline = pipeline.name, "{warning}");
        }
    }
    let until = if args.close {
        Until::EndAndClose
    } else if args.until_end {
        Until::End
    } else {
        Until::Stopped
    };
    let outcomes = execute(pipelines, &settings, until);
    for outcome in &outcomes {
        match args.format {
            OutputFormat::Text => super::show(outcome),
            OutputFormat::Json => super::show(&format!("{}\n", outcome.json())),
        }
    }
    ExitCode::from(if outcomes.iter().all(Outcome::is_ok) { DONE } else { FAILED })
}

fn load(files: &[PathBuf]) -> Option<Vec<Pipeline>> {
    let mut pipelines = Vec::new();
    for file in files {
        match Pipeline::load(file) {
            Ok(pipeline) => pipelines.push(pipeline),
            Err(broken) => eprintln!("{}", broken.report()),
        }
    }
    (pipelines.len() == files.len()).then_some(pipelines)
}

/// Why two of them can't run together, if two can't.
fn clash(pipelines: &[Pipeline]) -> Option<String> {
    let pairs =
        pipelines.iter().enumerate().flat_map(|(at, one)| pipelines[..at].iter().map(move |other| (one, other)));
    pairs.into_iter().find_map(|(one, other)| one.clash(other))
}

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It is stopped.
    Stopped,
    /// The topics end.
    End,
    /// The same, and then windows of time are closed.
    EndAndClose,
}

/// A reject's column, rule and count.
fn reject_json((column, rule, count): (&str, &str, u64)) -> serde_json::Value {
    json!({"column": (!column.is_empty()).then_some(column), "rule": rule, "count": count})
}

/// How a pipeline's run went.
pub(crate) struct Outcome {
    name: String,
    folder: PathBuf,
    /// What it did.
    pub(crate) done: Snapshot,
    elapsed: Duration,
    /// Of a run that got as far as reading.
    run: Option<Arc<Run>>,
    /// Why it isn't a success; empty if it is one.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    fn failed(name: String, reason: String) -> Self {
        Outcome {
            name,
            folder: PathBuf::new(),
            done: Snapshot::default(),
            elapsed: Duration::ZERO,
            run: None,
            failures: vec![reason],
        }
    }

    /// Closes windows of time.
    async fn close(&mut self) {
        let Some(run) = self.run.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || close_windows(&run)).await;
        if let Err(error) = closed.expect("closing returns its errors; it panics only on a bug") {
            self.failures.push(format!("its windows could not be closed: {}", words::chain(&error)));
        }
    }

    /// How many windows of time are open, where there are any.
    fn open_windows(&self) -> Option<Result<usize, LedgerError>> {
        let run = self.run.as_ref().filter(|run| run.pipeline.window.kind().is_of_time())?;
        let read = LedgerReader::of(&run.folder()).and_then(|ledger| ledger.completeness());
        Some(read.map(|read| read.windows.iter().filter(|window| window.state == State::Open).count()))
    }

    /// Whether no row was ever written.
    fn has_no_data(&self) -> bool {
        LedgerReader::of(&self.folder).and_then(|ledger| ledger.has_no_data()).unwrap_or(false)
    }

    /// Whether everything that was read is committed and nothing was given up.
    pub(crate) fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }

    fn json(&self) -> serde_json::Value {
        let positions = self.done.lanes.iter().map(|(partition, lane)| (partition.to_string(), json!(lane.position)));
        json!({
            "pipeline": self.name,
            "dataset": self.folder,
            "counts": self.done.counts.report(serde_json::value::Serializer).expect("names and numbers are JSON"),
            "files": self.done.files,
            "bytes": self.done.bytes,
            "commits": self.done.commits,
            "restarts": self.done.restarts,
            "seconds": self.elapsed.as_secs_f64(),
            "rejected_by": self.done.rejects().into_iter().map(reject_json).collect::<Vec<_>>(),
            "positions": positions.collect::<serde_json::Map<_, _>>(),
            "failures": self.failures,
        })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.folder.as_os_str().is_empty() {
            return writeln!(f, "{}: FAILED, {}", self.name, self.failures.join("; "));
        }
        let Snapshot { counts, files, bytes: size, commits, lanes, restarts, .. } = &self.done;
        let total = counts.total();
        let rate = total as f64 / self.elapsed.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "{}: {} in {} ({} a second)",
            self.name,
            plural(total, "record"),
            duration(self.elapsed),
            number(rate as u64)
        )?;
        writeln!(f, "  rows        {:>14}", number(counts[Class::Row]))?;
        writeln!(f, "  rejected    {:>14}", number(counts[Class::Rejected]))?;
        let rejects = self.done.rejects();
        for (column, rule, count) in rejects.iter().take(REJECTS_SHOWN) {
            let of = if column.is_empty() { "the whole record" } else { column };
            writeln!(f, "              {:>14}   {of}: {rule}", number(*count))?;
        }
        if let Some(rest) = rejects.get(REJECTS_SHOWN..).filter(|rest| !rest.is_empty()) {
            let records = rest.iter().map(|(_, _, count)| count).sum();
            writeln!(f, "              {:>14}   for {}", number(records), plural(rest.len() as u64, "more reason"))?;
        }
        if counts[Class::Rejected] > 0 {
            writeln!(f, "              each with its reason in {}", self.folder.join("rejects").display())?;
        }
        for (class, count) in counts.classes() {
            let line = match class {
                // These have their lines above.
                Class::Row | Class::Rejected => continue,
                Class::Tombstone => "tombstones",
                Class::Late | Class::Filtered | Class::Lost => class.name(),
            };
            if count > 0 {
                writeln!(f, "  {line:<11} {:>14}", number(count))?;
            }
        }
        writeln!(f, "  files       {:>14}   {} in {}", number(*files), bytes(*size), plural(*commits, "commit"))?;
        writeln!(f, "  partitions  {:>14}", lanes.len())?;
        if *restarts > 0 {
            writeln!(f, "  restarts    {restarts:>14}   of lanes, each from its ledger")?;
        }
        match self.open_windows() {
            None => {}
            Some(Ok(open)) => {
                let hint = if open > 0 { "   later rows close them, or --until-end --close" } else { "" };
                writeln!(f, "  windows     {open:>14}   open{hint}")?;
            }
            Some(Err(error)) => writeln!(f, "  windows     not known: {}", words::chain(&error))?,
        }
        writeln!(f, "  dataset     {}", self.folder.display())?;
        if self.has_no_data() {
            writeln!(f, "              {EMPTY}")?;
        }
        for failure in &self.failures {
            writeln!(f, "  FAILED      {failure}")?;
        }
        Ok(())
    }
}

/// Runs pipelines on an actix system of their own, until they end or a signal ends them.
pub(crate) fn execute(pipelines: Vec<Pipeline>, settings: &Service, until: Until) -> Vec<Outcome> {
    machine::plan(settings.limits.memory);
    // Each pipeline gets its share of the process's limit.
    let memory = settings.limits.memory / pipelines.len().max(1);
    let limits = Limits { memory, drain: settings.limits.drain };
    let options = RunOptions { limits, restarts: settings.restart, until_end: until != Until::Stopped };
    let system = actix::System::new();
    let outcomes = system.block_on(async move {
        let ctrl_c = signal(SignalKind::interrupt()).expect("the process may handle SIGINT");
        let terminate = signal(SignalKind::terminate()).expect("the process may handle SIGTERM");
        let arbiters = Arbiters::start();
        let (mut running, mut outcomes, mut codes) = (Vec::new(), Vec::new(), Vec::new());
        for pipeline in pipelines {
            let name = pipeline.name.clone();
            match topology::start(pipeline, options, &arbiters).await {
                Ok(started) => running.push(started),
                Err(error) => {
                    codes.push(error.code());
                    outcomes.push(Outcome::failed(name, words::chain(&error)));
                }
            }
        }
        // Where nothing runs, the summary follows at once: on a screen it would all be there twice.
        if !running.is_empty() || settings.log.file.is_some() {
            for (failed, code) in outcomes.iter().zip(codes) {
                tracing::error!(pipeline = failed.name, %code, reason = failed.failures.join("; "), "pipeline can't start");
            }
        }
        outcomes.extend(watch(running, [ctrl_c, terminate], limits.drain + LEAVE).await);
        if until == Until::EndAndClose {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                outcome.close().await;
            }
        }
        outcomes
    });
    // The end of a runtime waits for its blocking threads; what still asks a broker has nothing to say any more.
    std::mem::forget(system);
    outcomes
}

/// Shows progress and waits for the end; a first signal stops in order, a second one at once.
async fn watch(
    mut running: Vec<Running>,
    [mut ctrl_c, mut terminate]: [tokio::signal::unix::Signal; 2],
    deadline: Duration,
) -> Vec<Outcome> {
    let runs: Vec<_> = running.iter().map(|running| running.run.clone()).collect();
    let mut ends = Vec::new();
    for running in &mut running {
        ends.push(running.take_ends());
    }
    let mut all = Box::pin(async move {
        let mut failures = Vec::new();
        for end in ends {
            failures.push(end.await);
        }
        failures
    });
    let bar = logging::bar();
    let mut redraw = tokio::time::interval(if std::io::stderr().is_terminal() { REDRAW } else { PLAIN_LINE });
    redraw.tick().await;
    let mut stop_by = None;
    let failures = loop {
        let late = async {
            match stop_by {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failures = &mut all => break failures,
            _ = ctrl_c.recv() => {}
            _ = terminate.recv() => {}
            _ = redraw.tick() => {
                for run in &runs {
                    logging::progress(&line(&run.pipeline.name, &run.progress.snapshot(), run.progress.started().elapsed()));
                }
                continue;
            }
            () = late => {
                break runs.iter().map(|run| vec![not_in_time(run, deadline)]).collect();
            }
        }
        if stop_by.is_some() {
            eprintln!("weir: ended at once; what was not committed is read again at the next start");
            std::process::exit(INTERRUPTED.into());
        }
        tracing::info!("stopping: lanes commit what they have; a second signal ends at once");
        running.iter().for_each(Running::stop);
        stop_by = Some(tokio::time::Instant::now() + deadline);
    };
    bar.finish_and_clear();
    let outcome = |(run, mut failures): (Arc<Run>, Vec<String>)| {
        let done = run.progress.snapshot();
        if let Some(left) =
            done.remaining().filter(|left| *left > 0 && failures.is_empty() && done.parked().next().is_none())
        {
            failures.push(format!("it was stopped {} before the topics' end", plural(left.unsigned_abs(), "position")));
        }
        failures.extend(done.parked().map(|(partition, reason)| {
            let name = format!("{partition}: ");
            format!("{partition} is parked: {}", reason.strip_prefix(&name).unwrap_or(reason))
        }));
        let folder = std::path::absolute(run.folder()).unwrap_or_else(|_| run.folder());
        let (name, elapsed) = (run.pipeline.name.clone(), run.progress.started().elapsed());
        Outcome { name, folder, done, elapsed, run: Some(run), failures }
    };
    runs.into_iter().zip(failures).map(outcome).collect()
}

/// Says how far each lane of a run is that did not stop in time.
fn not_in_time(run: &Run, deadline: Duration) -> String {
    for (partition, lane) in run.progress.snapshot().lanes {
        tracing::error!(
            pipeline = %run.pipeline.name, %partition, position = lane.position, seconds = deadline.as_secs(),
            "the pipeline did not stop in time; what was read after this position may not be committed, and is read again"
        );
    }
    "it did not stop in time; what was not committed is read again at the next start".to_owned()
}

/// That consumers wait for their group, if some do.
fn waiting(now: &Snapshot) -> &'static str {
    match now.waiting.values().map(|waiting| waiting.refused).max() {
        Some(true) => ", the group refuses weir (see the log)",
        Some(false) => ", waits for the group to give partitions",
        None => "",
    }
}

/// One line that says how far a run is.
fn line(name: &str, now: &Snapshot, elapsed: Duration) -> String {
    let rate = (now.read as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
    let left =
        now.remaining().map(|left| format!(", {} to go", plural(left.unsigned_abs(), "position"))).unwrap_or_default();
    format!(
        "{name}: {} read, {} committed ({} rejected) in {}, {} a second{left}{}",
        plural(now.read, "record"),
        number(now.counts.total()),
        number(now.counts[Class::Rejected]),
        plural(now.files, "file"),
        number(rate),
        waiting(now),
    )
}
