//! `weir repair`: mends what can be mended without a doubt, and names the rest. Offline: it needs no broker.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::verify::finding_text;
use super::{DONE, FAILED, FOUND, OutputFormat, dataset, fail, show};
use crate::base::words;
use crate::ledger;
use crate::ledger::{Action, ActionKind, Left, Repair, RepairError};

/// Arguments of `weir repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The pipeline file whose dataset is mended
    #[arg(required_unless_present = "dataset")]
    file: Option<PathBuf>,
    /// The dataset's folder, instead of a pipeline file: <sink.path>/<pipeline's name>
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dataset: Option<PathBuf>,
    /// A backup of the dataset, from which missing and damaged files and entries are put back
    #[arg(long, value_name = "BACKUP")]
    from: Option<PathBuf>,
    /// Change nothing, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs it. Exit code 1 says that something is left, that it was refused or that the pipeline file is broken, 3 that a disk
/// failed.
pub(crate) fn repair(args: &RepairArgs) -> ExitCode {
    let folder = match dataset::folder(args.file.as_deref(), args.dataset.as_deref()) {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    match ledger::repair(&folder, args.from.as_deref(), args.dry_run) {
        Ok(repair) => {
            match args.format {
                OutputFormat::Text => show(&text(&repair, args.dry_run)),
                OutputFormat::Json => {
                    let json = serde_json::to_string_pretty(&repair).expect("a report has text keys only");
                    show(&format!("{json}\n"));
                }
            }
            ExitCode::from(if repair.left.is_empty() { DONE } else { FOUND })
        }
        Err(error @ RepairError::Ledger(_)) => fail(FAILED, &words::chain(&error)),
        Err(error) => fail(FOUND, &words::chain(&error)),
    }
}

fn text(repair: &Repair, dry_run: bool) -> String {
    let mut out = format!("{}\n", repair.folder.display());
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a String does not fail");
    for Action { kind, path, aside, why } in &repair.actions {
        line(format!("  {}: {path}\n      because:  {why}", verb(*kind, dry_run)));
        if let Some(aside) = aside {
            line(format!("      moved to: {aside}"));
        }
    }
    for Left { finding, way_out } in &repair.left {
        line(format!("{}\n      left:     {way_out}", finding_text(finding)));
    }
    let would = if dry_run { "to be " } else { "" };
    line(match (repair.actions.len(), repair.left.len()) {
        (0, 0) => "everything is as the ledger says".to_owned(),
        (done, 0) => format!("{done} {would}mended, nothing left"),
        (done, left) => format!("{done} {would}mended, {left} left"),
    });
    out
}

fn verb(kind: ActionKind, dry_run: bool) -> &'static str {
    match (kind, dry_run) {
        (ActionKind::RestoreEntry, false) => "put the entry back",
        (ActionKind::RestoreEntry, true) => "would put the entry back",
        (ActionKind::RestoreFile, false) => "put the file back",
        (ActionKind::RestoreFile, true) => "would put the file back",
        (ActionKind::Publish, false) => "put in place from staging/",
        (ActionKind::Publish, true) => "would put in place from staging/",
        (ActionKind::Sweep, false) => "swept",
        (ActionKind::Sweep, true) => "would sweep",
        (ActionKind::MoveAside, false) => "moved aside",
        (ActionKind::MoveAside, true) => "would move aside",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Finding, Kind};

    #[test]
    fn what_people_are_told() {
        let file = Action {
            kind: ActionKind::RestoreFile,
            path: "data/a.parquet".into(),
            aside: Some("aside/data/a.parquet.ab".into()),
            why: "it is the right one",
        };
        let finding = Finding {
            kind: Kind::MissingFile,
            path: "data/b.parquet".into(),
            entry: Some("ledger/t/id/0/7.json".into()),
            expected: "7 rows".into(),
            found: "no file".into(),
        };
        let left = Left { finding, way_out: "try another backup".into() };
        let repair = Repair { folder: "/d/air".into(), actions: vec![file], left: vec![left] };
        insta::assert_snapshot!(text(&repair, false), @r"
        /d/air
          put the file back: data/a.parquet
              because:  it is the right one
              moved to: aside/data/a.parquet.ab
          missing file: data/b.parquet
              named by ledger/t/id/0/7.json
              expected: 7 rows
              found:    no file
              left:     try another backup
        1 mended, 1 left
        ");
        let nothing = Repair { folder: "/d/air".into(), ..Repair::default() };
        assert!(text(&nothing, true).ends_with("everything is as the ledger says\n"));
    }
}
