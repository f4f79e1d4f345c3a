//! Where words go: log lines (standard error, or a file a day) and the progress line.
//!
//! Two things don't follow the level that people set. A line of the audit log is always written.
//! What actix says of requests that are no HTTP never is: whoever sends them would write the log.
//! They are counted, and told once a minute.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The target of the audit log: who changed what. No level and no filter leaves it out.
pub(crate) const AUDIT: &str = "weir::audit";

/// The target of lines about clients' requests that are no HTTP, each an ERROR.
const MALFORMED: &str = "actix_http";

/// Malformed requests that were not told yet.
static MALFORMED_UNTOLD: AtomicU64 = AtomicU64::new(0);

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Directives of `tracing`'s filter: a level, also for parts of weir.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
    /// The file that it goes to, one a day, and how many are kept; none for standard error.
    pub file: Option<(PathBuf, usize)>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// Directives of which each ends in a level: the filter itself takes a misspelt level for the name of a target.
pub(crate) fn log_level(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let ends_in_level = |directive: &str| LEVELS.contains(&directive.rsplit('=').next().unwrap_or_default());
    let good = text.split(',').all(ends_in_level) && tracing_subscriber::EnvFilter::try_new(text).is_ok();
    good.then(|| text.to_owned())
}

/// Adds to the level that people set. Dependencies are silent unless they are named.
fn directives(level: &str) -> String {
    format!("librdkafka=error,actix_server=warn,{level}")
}

/// What is logged: what the level lets through, and the audit log; but no malformed requests.
fn filter<F: Filter<S> + 'static, S: Subscriber + 'static>(level: F) -> impl Filter<S> {
    let audit = |metadata: &Metadata<'_>| metadata.target() == AUDIT && *metadata.level() <= tracing::Level::INFO;
    level.or(filter_fn(audit).with_max_level_hint(LevelFilter::INFO)).and(NoMalformedRequests)
}

/// Lets all lines through but those about requests that are no HTTP, which it counts.
struct NoMalformedRequests;

impl NoMalformedRequests {
    fn is_of_one(metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with(MALFORMED)
    }
}

impl<S> Filter<S> for NoMalformedRequests {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if NoMalformedRequests::is_of_one(metadata) { Interest::sometimes() } else { Interest::always() }
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let malformed = NoMalformedRequests::is_of_one(event.metadata());
        if malformed {
            MALFORMED_UNTOLD.fetch_add(1, Ordering::Relaxed);
        }
        !malformed
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

/// Says how many requests were no HTTP since it was last called, if there were any.
pub(crate) fn tell_malformed() {
    let requests = MALFORMED_UNTOLD.swap(0, Ordering::Relaxed);
    if requests > 0 {
        tracing::warn!(requests, "clients sent requests that are no HTTP, or left an answer unread");
    }
}

/// Changes the level of the log that has been started.
static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    now: Mutex<String>,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging. `RUST_LOG` outranks the settings. `service` says whether programs read the log rather than people.
///
/// # Errors
/// When the log's file can't be made.
pub(crate) fn start(settings: &Log, service: bool) -> Result<(), String> {
    let (level, directives) = match std::env::var("RUST_LOG") {
        Ok(level) if EnvFilter::try_new(&level).is_ok() && !level.is_empty() => (level.clone(), level),
        _ => (settings.level.clone(), directives(&settings.level)),
    };
    let (level_filter, handle) = reload::Layer::new(EnvFilter::new(directives));
    let terminal = settings.file.is_none() && io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => service && !terminal,
    };
    let writer = writer(settings)?;
    let lines: Box<dyn Layer<_> + Send + Sync> = if json {
        Box::new(fmt::layer().json().flatten_event(true).with_writer(writer))
    } else {
        Box::new(fmt::layer().with_ansi(terminal).with_target(false).with_writer(writer))
    };
    // Already started only when a command runs inside another one, as the demo does.
    if tracing_subscriber::registry().with(lines.with_filter(filter(level_filter))).try_init().is_ok() {
        let _ = LEVEL.set(Level { now: Mutex::new(level), filter: handle });
    }
    Ok(())
}

fn writer(settings: &Log) -> Result<BoxMakeWriter, String> {
    let Some((path, _)) = &settings.file else { return Ok(BoxMakeWriter::new(|| AboveTheBar)) };
    let unusable = |error: &dyn std::fmt::Display| format!("log.file {} can't be made: {error}", path.display());
    let Some((folder, stem, extension)) = parts(path) else { return Err(unusable(&"it names no file")) };
    std::fs::create_dir_all(folder).map_err(|error| unusable(&error))?;
    let mut builder = RollingFileAppender::builder().rotation(Rotation::DAILY).filename_prefix(stem);
    if let Some(extension) = extension {
        builder = builder.filename_suffix(extension);
    }
    // Lines are few, and none may be lost when the process dies: each is written before its thread goes on.
    Ok(BoxMakeWriter::new(builder.build(folder).map_err(|error| unusable(&error))?))
}

/// The folder of the log's files, and what stands before and after the day in their names.
fn parts(path: &Path) -> Option<(&Path, &str, Option<&str>)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let extension = path.extension().map(|extension| extension.to_str());
    Some((folder, path.file_stem()?.to_str()?, extension.unwrap_or_default()))
}

/// Deletes the log's files of days long past: all but the newest `keep`, and nothing whose name isn't one of theirs.
pub(crate) fn prune(settings: &Log) {
    let Some((path, keep)) = &settings.file else { return };
    let Some((folder, stem, extension)) = parts(path) else { return };
    let after = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
    let is_day = |name: &str| {
        let day = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(&after)?;
        (day.len() == 10).then(|| day.parse::<jiff::civil::Date>().ok()).flatten()
    };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut days: Vec<_> =
        names.filter_map(|entry| Some((is_day(entry.file_name().to_str()?)?, entry.path()))).collect();
    days.sort();
    for (_, old) in days.iter().rev().skip(*keep) {
        if let Err(error) = std::fs::remove_file(old) {
            tracing::warn!(path = %old.display(), %error, "an old log file stays");
        }
    }
}

/// The log's level now; empty before it is started.
pub(crate) fn level() -> String {
    LEVEL.get().map(|level| level.now.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
}

/// Changes the log's level, until the process ends.
///
/// # Errors
/// When it is none.
pub(crate) fn set_level(wanted: &str) -> Result<(), String> {
    let level = LEVEL.get().ok_or("the log has not been started")?;
    let wanted = Some(wanted)
        .filter(|wanted| !wanted.contains(AUDIT))
        .and_then(log_level)
        .ok_or_else(|| format!("{wanted:?} is no level; write one such as info or info,weir::sink=debug"))?;
    level.filter.reload(EnvFilter::new(directives(&wanted))).map_err(|error| error.to_string())?;
    *level.now.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    Ok(())
}

/// The process's progress line; hidden where stderr is no terminal.
pub(crate) fn bar() -> &'static ProgressBar {
    static BAR: OnceLock<ProgressBar> = OnceLock::new();
    BAR.get_or_init(|| {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is valid"));
        bar
    })
}

/// Shows how far a run is: redrawn in place on a terminal, a line elsewhere.
pub(crate) fn progress(line: &str) {
    if io::stderr().is_terminal() {
        bar().enable_steady_tick(Duration::from_millis(100));
        bar().set_message(line.to_owned());
    } else {
        eprintln!("{line}");
    }
}

/// Writes to stderr without tearing the progress line.
struct AboveTheBar;

impl Write for AboveTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bar().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    pub(crate) struct Written(pub(crate) std::sync::Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_audit_log_has_no_level_and_malformed_requests_are_counted() {
        for level in ["off", "error", "warn", "weir::audit=off", "info,weir::audit=off", "trace"] {
            let written = Written::default();
            let writer = written.clone();
            let lines = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
            // As `RUST_LOG` gives it: whole, without weir's own additions.
            let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(EnvFilter::new(level))));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(target: AUDIT, "asked to change something");
                tracing::debug!(target: AUDIT, "no line of it");
                for _ in 0..2_000 {
                    tracing::error!(target: "actix_http::h1::dispatcher", "stream error");
                }
                tell_malformed();
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let lines = |words: &str| text.lines().filter(|line| line.contains(words)).count();
            assert_eq!(lines("asked to change something"), 1, "{level}: {text}");
            assert_eq!(lines("stream error"), 0, "{level}");
            let counted = ["warn", "info,weir::audit=off", "trace"].contains(&level);
            assert_eq!(lines("requests=2000"), usize::from(counted), "{level}: {text}");
        }
    }

    #[test]
    fn only_old_files_of_the_log_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ["weir.2026-01-01.log", "weir.2026-01-02.log", "weir.2025-12-31.log"];
        let others = [
            "weir-backup-2020.log",
            "weir.log",
            "weir.2026-01-01.log.gz",
            "weir.2026-1-1.log",
            "weir.20260101.log",
            "w.2020-01-01.log",
        ];
        for name in ours.iter().chain(&others) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let file = Some((folder.path().join("weir.log"), 2));
        let settings = Log { level: "info".to_owned(), format: LogFormat::Auto, file };
        prune(&settings);
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<_> = others.iter().chain(&ours[..2]).map(|name| (*name).to_owned()).collect();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn log_levels() {
        for text in ["info", "off", "info,weir::sink=debug", "weir[lane]=trace"] {
            assert_eq!(log_level(text).as_deref(), Some(text));
        }
        for text in ["", "inof", "info,", "weir::sink", "weir=inof", "weir[=info"] {
            assert_eq!(log_level(text), None, "{text}");
        }
    }
}
