//! `weir verify`: is the dataset what its ledger says, and nothing else? Offline: it needs no broker and changes nothing.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::words::plural;
use crate::ledger;
use crate::ledger::{Finding, Kind, Report};
use crate::model::Class;

/// Findings that people are shown; a program reads them all from JSON.
const SHOWN_MAX: usize = 50;

/// Check a dataset against its ledger: every entry, file, checksum, row count and column
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline file whose dataset is checked
    #[arg(required_unless_present = "dataset")]
    file: Option<PathBuf>,
    /// The dataset's folder, instead of a pipeline file: <sink.path>/<pipeline's name>
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dataset: Option<PathBuf>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs it. Exit code 1 says that something differs or that the pipeline file is broken, 3 that the dataset could not be
/// read.
pub(crate) fn run(args: &Args) -> ExitCode {
    let folder = match super::dataset::folder(args.file.as_deref(), args.dataset.as_deref()) {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    let report = match ledger::verify(&folder) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {:#}", anyhow::Error::new(error));
            return ExitCode::from(3);
        }
    };
    match args.format {
        Format::Text => super::show(&text(&report)),
        Format::Json => {
            let json = serde_json::to_string_pretty(&report).expect("a report has text keys only");
            super::show(&format!("{json}\n"));
        }
    }
    ExitCode::from(u8::from(!report.findings.is_empty()))
}

fn text(report: &Report) -> String {
    let classes: Vec<String> =
        report.counts.classes().iter().map(|(class, count)| format!("{} {count}", class.name())).collect();
    let mut out = format!(
        "{}\n  {}, {}, {}, {}, {}\n  {}\n",
        report.folder.display(),
        plural(report.partitions, "partition"),
        plural(report.entries, "entry"),
        plural(report.files, "file"),
        plural(report.rows, "row"),
        plural(report.bytes, "byte"),
        classes.join(", "),
    );
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a String does not fail");
    if report.counts[Class::Lost] > 0 {
        let lost = plural(report.counts[Class::Lost], "offset");
        line(format!("  lost: {lost} that `weir skip` gave up, at the most so many records"));
    }
    if !report.unpublished.is_empty() {
        line(format!("  committed but not yet published: {} (the next start does it)", report.unpublished.len()));
    }
    if report.staged > 0 {
        line(format!("  in staging/, under way or left by a crash: {} (a later start sweeps)", report.staged));
    }
    report.findings.iter().take(SHOWN_MAX).for_each(|finding| line(finding_text(finding)));
    match report.findings.len() {
        0 => line("everything is as the ledger says".to_owned()),
        found if found > SHOWN_MAX => line(format!("{found} differences; --format json lists them all")),
        found => line(plural(found as u64, "difference")),
    }
    let mut kinds: Vec<Kind> = Vec::new();
    for Finding { kind, .. } in &report.findings {
        if !kinds.contains(kind) {
            kinds.push(*kind);
            line(format!("  {kind}: {}", kind.way_out()));
        }
    }
    out
}

pub(super) fn finding_text(finding: &Finding) -> String {
    let Finding { kind, path, entry, expected, found } = finding;
    let entry = entry.as_ref().map_or(String::new(), |entry| format!("\n      named by {entry}"));
    format!("  {kind}: {path}{entry}\n      expected: {expected}\n      found:    {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_for_people() {
        let finding = Finding {
            kind: Kind::Rows,
            path: "data/t-0-1-0-r.parquet".into(),
            entry: Some("ledger/t/id/0/1.json".into()),
            expected: "7 rows".into(),
            found: "6 rows".into(),
        };
        let unpublished = vec!["data/t-0-2-0-r.parquet".into()];
        let report =
            Report { folder: "/d".into(), staged: 2, unpublished, findings: vec![finding], ..Report::default() };
        insta::assert_snapshot!(text(&report), @r"
        /d
          0 partitions, 0 entries, 0 files, 0 rows, 0 bytes
          row 0, rejected 0, late 0, filtered 0, tombstone 0, lost 0
          committed but not yet published: 1 (the next start does it)
          in staging/, under way or left by a crash: 2 (a later start sweeps)
          another number of rows: data/t-0-1-0-r.parquet
              named by ledger/t/id/0/1.json
              expected: 7 rows
              found:    6 rows
        1 difference
          another number of rows: the file is the one that was committed, so the ledger was changed, or this is a bug in weir: please report it
        ");
    }
}
