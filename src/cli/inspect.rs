//! `weir inspect`: what a Parquet file says of itself, and whether its ledger agrees. Offline, and
//! changes nothing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{DONE, FAILED, FOUND, OutputFormat, fail, show};
use crate::base::words;
use crate::base::words::plural;
use crate::ledger;
use crate::ledger::Inspection;

/// Arguments of `weir inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The Parquet files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder of the dataset to compare them with; without it, the one that each file is in
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs it. Exit code 1 says that a ledger says otherwise, 3 that a file or a ledger can't be read.
pub(crate) fn inspect(args: &InspectArgs) -> ExitCode {
    let inspect = |file: &PathBuf| ledger::inspect(file, args.dataset.as_deref());
    let inspections: Vec<Inspection> = match args.files.iter().map(inspect).collect() {
        Ok(inspections) => inspections,
        Err(error) => return fail(FAILED, &words::chain(&error)),
    };
    match args.format {
        OutputFormat::Text => inspections.iter().for_each(|inspection| show(&text(inspection))),
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&inspections).expect("a report has text keys only");
            show(&format!("{json}\n"));
        }
    }
    let differs =
        |inspection: &Inspection| inspection.ledger.as_ref().is_some_and(|ledger| !ledger.differences.is_empty());
    ExitCode::from(if inspections.iter().any(differs) { FOUND } else { DONE })
}

fn text(inspection: &Inspection) -> String {
    // A footer may be anybody's, and so may a name: no terminal is to obey them.
    let plain = |text: &str| text.replace(char::is_control, "\u{fffd}");
    let mut out = format!("{}\n", plain(&inspection.file.display().to_string()));
    let mut line =
        |what: &str, text: String| writeln!(out, "  {:<14}{}", plain(what), plain(&text)).expect("a String takes it");
    let groups = plural(inspection.row_groups as u64, "row group");
    line("content", format!("{} in {groups}", plural(inspection.rows, "row")));
    line("size", plural(inspection.bytes, "byte"));
    line("sha256", inspection.sha256.clone());
    line("written by", inspection.written_by.clone().unwrap_or_else(|| "unknown".to_owned()));
    for (key, value) in &inspection.receipt {
        line(key, value.clone());
    }
    line("columns", "by their field ids".to_owned());
    for column in &inspection.columns {
        let id = column.id.map_or("-".to_owned(), |id| id.to_string());
        line("", format!("{id:>6}  {} {}", column.column.name, column.column.kind));
    }
    match &inspection.ledger {
        None => line("ledger", "no ledger found; name the dataset with --dataset DIR".to_owned()),
        Some(ledger) if ledger.differences.is_empty() => {
            line("ledger", format!("the same as in the ledger of {}", ledger.folder.display()));
        }
        Some(ledger) => {
            line("ledger", format!("differs from the ledger of {}", ledger.folder.display()));
            ledger.differences.iter().for_each(|difference| line("", difference.clone()));
        }
    }
    out
}
