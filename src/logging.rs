//! Where words go: log lines (standard error, or a file a day) and the progress line.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::settings::service::{self, LogFormat, Service};

/// A filter's directives beside the level that people set: what others say is for those who ask for it by name, and who changed what is
/// always said.
fn directives(level: &str) -> String {
    format!("librdkafka=error,actix_server=warn,{level},weir::audit=info")
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
pub(crate) fn start(settings: &Service, service: bool) -> Result<(), String> {
    let (level, filter) = match std::env::var("RUST_LOG") {
        Ok(level) if EnvFilter::try_new(&level).is_ok() && !level.is_empty() => (level.clone(), level),
        _ => (settings.log.level.clone(), directives(&settings.log.level)),
    };
    let (filter, handle) = reload::Layer::new(EnvFilter::new(filter));
    let terminal = settings.log.file.is_none() && io::stderr().is_terminal();
    let json = match settings.log.format {
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
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(Level { now: Mutex::new(level), filter: handle });
    }
    Ok(())
}

fn writer(settings: &Service) -> Result<BoxMakeWriter, String> {
    let Some((path, _)) = &settings.log.file else { return Ok(BoxMakeWriter::new(|| AboveTheBar)) };
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
pub(crate) fn prune(settings: &Service) {
    let Some((path, keep)) = &settings.log.file else { return };
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
        .filter(|wanted| !wanted.contains("weir::audit"))
        .and_then(service::log_level)
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
mod tests {
    use super::*;

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
        let mut settings = Service::read(Path::new("nowhere"), Default::default()).unwrap();
        settings.log.file = Some((folder.path().join("weir.log"), 2));
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
}
