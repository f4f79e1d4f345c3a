//! The command line: one file a command. Data goes to stdout, words to stderr.
//!
//! Exit codes: 0 done (rejected records are no failure), 1 something was found (differences, a broken pipeline file) or a
//! wait timed out, 2 usage, 3 the environment failed, 130 ended by a second signal.

mod backup;
mod check;
mod dataset;
mod demo;
mod inspect;
mod produce;
pub mod readings;
mod repair;
mod run;
mod serve;
mod show;
mod skip;
mod verify;
mod windows;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::model::Pipeline;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Something was found: differences, a broken pipeline file.
pub(crate) const FOUND: u8 = 1;
/// The environment failed: a broker, a disk.
pub(crate) const FAILED: u8 = 3;
/// A second signal ended what a first one had begun to stop.
pub(crate) const INTERRUPTED: u8 = 130;
/// What an orderly stop may take beyond the lanes' own deadline, to leave the group.
pub(crate) const LEAVE: Duration = Duration::from_secs(10);

/// Kafka topics into Parquet datasets: exactly once, provably, from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole path on real air-quality readings, with a broker inside the process
    Demo(demo::DemoArgs),
    /// Run a pipeline: read its topics and write its dataset
    Run(run::RunArgs),
    /// Run every pipeline of a folder as a service, with metrics and an API over HTTP
    Serve(serve::ServeArgs),
    /// Check pipeline files and report every mistake in them
    Check(check::CheckArgs),
    /// Give up offsets that can't be read any more, so that a stopped partition goes on
    Skip(skip::SkipArgs),
    /// Prove that a dataset is what its ledger says
    Verify(verify::Args),
    /// Show what a Parquet file says of itself, and whether its ledger agrees
    Inspect(inspect::InspectArgs),
    /// Copy a dataset, also while it is written to
    Backup(backup::BackupArgs),
    /// Mend what can be mended of a damaged dataset, and name the rest
    Repair(repair::RepairArgs),
    /// Show which windows of time are complete, and what holds the others back
    Windows(windows::WindowsArgs),
    /// Wait until all windows up to a time are complete: for schedulers
    Wait(windows::WaitArgs),
    /// Send readings or your own records to a topic
    Produce(produce::ProduceArgs),
}

/// How a command prints its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Writes a command's data. Whoever stops reading, as `head` does, has had enough: that is no failure.
pub(crate) fn show(text: &dyn std::fmt::Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Reads a pipeline file; a broken one is reported.
pub(crate) fn load(file: &Path) -> Result<Pipeline, ExitCode> {
    Pipeline::load(file).map_err(|broken| {
        eprint!("{}", broken.report());
        ExitCode::from(FOUND)
    })
}

/// Says why a command ends, and gives its exit code.
pub(crate) fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("weir: {error}");
    ExitCode::from(code)
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    crate::base::panics::listen();
    match Cli::parse().command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Check(args) => check::check(&args),
        Command::Skip(args) => skip::skip(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Repair(args) => repair::repair(&args),
        Command::Windows(args) => windows::windows(&args),
        Command::Wait(args) => windows::wait(&args),
        Command::Produce(args) => match produce::produce(&args) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &format!("{error:#}")),
        },
    }
}
