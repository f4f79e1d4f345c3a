//! `weir serve`: every pipeline of a folder, as a service.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix::Actor as _;
use clap::Args;
use futures_util::FutureExt as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{DONE, FAILED, FOUND, INTERRUPTED, LEAVE, fail};
use crate::base::logging;
use crate::base::machine;
use crate::service::{Board, Fleet, Reload, Server, Shutdown, openapi};
use crate::settings::Service;

/// Signals that come so soon after the first one are part of it.
const ONE_STOP: Duration = Duration::from_millis(200);

/// Arguments of `weir serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder of the pipeline files
    #[arg(default_value = "pipelines")]
    folder: PathBuf,
    /// Print the API's description (OpenAPI, JSON) and exit
    #[arg(long)]
    openapi: bool,
}

/// Runs the command.
pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    if args.openapi {
        super::show(&format!("{}\n", openapi()));
        return ExitCode::from(DONE);
    }
    let settings = match Service::load() {
        Ok(settings) => settings,
        Err(error) => return fail(FOUND, &error),
    };
    if !args.folder.is_dir() {
        let folder = args.folder.display();
        return fail(FOUND, &format!("{folder} is no folder; name the one that holds the pipeline files"));
    }
    if let Err(reason) = logging::start(&settings.log, true) {
        return fail(FAILED, &reason);
    }
    let system = actix::System::new();
    let code = system.block_on(run(args.folder.clone(), &settings));
    // The end of a runtime waits for its blocking threads; what still asks a broker has nothing to say any more.
    std::mem::forget(system);
    ExitCode::from(code)
}

async fn run(folder: PathBuf, settings: &Service) -> u8 {
    let handler = |kind| signal(kind).expect("the process may handle its signals");
    let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt()), handler(SignalKind::terminate()));
    let mut hang_up = handler(SignalKind::hangup());
    machine::plan(settings.limits.memory);
    let board = Board::default();
    let fleet = Fleet::new(folder, settings, board.clone()).start();
    let server = match &settings.http {
        Some(http) => match Server::bind(http, settings, board, fleet.clone()) {
            Ok(server) => Some(server),
            Err(error) => {
                eprintln!("weir: {error}");
                return FAILED;
            }
        },
        None => None,
    };
    let server = server.map(|server| {
        let url = server.url();
        tracing::info!(url, "weir answers: /healthz, /readyz, /metrics, /docs/");
        server.start()
    });
    notify(&[NotifyState::Ready]);
    let (mut watchdog, mut hourly) = (watchdog(), tokio::time::interval(Duration::from_secs(3600)));
    let mut each_minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hourly.tick() => logging::prune(&settings.log),
            _ = each_minute.tick() => logging::tell_malformed(),
            _ = hang_up.recv() => {
                tracing::info!("SIGHUP: the pipeline files are read again");
                fleet.do_send(Reload);
            }
            // This thread drives every source; that it comes here is what the watchdog wants to know.
            _ = watchdog.tick() => notify(&[NotifyState::Watchdog]),
        }
    }
    let deadline = settings.limits.drain + LEAVE;
    tracing::info!(
        seconds = deadline.as_secs(),
        "stopping: pipelines commit what they have; a second signal ends at once"
    );
    notify(&[NotifyState::Stopping]);
    let ended = fleet.send(Shutdown);
    // Some supervisors send a signal to the process and to its group: that is one stop, not two.
    tokio::time::sleep(ONE_STOP).await;
    let _ = (interrupt.recv().now_or_never(), terminate.recv().now_or_never());
    let code = tokio::select! {
        committed = ended => if committed.unwrap_or(false) { DONE } else { FAILED },
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => INTERRUPTED,
        () = tokio::time::sleep(deadline) => FAILED,
    };
    match code {
        DONE => tracing::info!("stopped"),
        _ => tracing::error!("ended before everything was committed; it is read again at the next start"),
    }
    if let Some(server) = server {
        server.stop(false).await;
    }
    logging::tell_malformed();
    if code == INTERRUPTED {
        std::process::exit(INTERRUPTED.into());
    }
    code
}

/// Tells systemd, if it asked for it.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd can't be told");
    }
}

/// Ticks twice as often as systemd's watchdog wants to hear; hardly ever where there is none.
fn watchdog() -> tokio::time::Interval {
    let often = sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |within| within / 2);
    tokio::time::interval(often.max(Duration::from_millis(10)))
}
