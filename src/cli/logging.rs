//! Where words go: log lines and the progress line, both on stderr.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::settings::service::{LogFormat, Service};

/// Starts logging. `RUST_LOG` outranks the settings.
pub(crate) fn start(settings: &Service) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("librdkafka=error,{}", settings.log.level)));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| AboveTheBar);
    // Already started only when a command runs inside another one, as the demo does.
    let _ = match settings.log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Pretty | LogFormat::Auto => {
            builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
        }
    };
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
