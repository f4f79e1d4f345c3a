//! `weir backup`: a copy of a dataset, taken while it may be written to. Offline: it needs no broker.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{DONE, FAILED, FOUND, OutputFormat, dataset, fail, show};
use crate::base::words;
use crate::base::words::{bytes, number, plural};
use crate::ledger;
use crate::ledger::{Backup, BackupError};
use crate::settings::url;

/// Arguments of `weir backup`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct BackupArgs {
    /// The pipeline file whose dataset is copied
    #[arg(required_unless_present = "dataset")]
    file: Option<PathBuf>,
    /// The folder that the copy is made in; it must be empty or not there
    #[arg(value_parser = local_folder)]
    destination: PathBuf,
    /// The dataset's folder, instead of a pipeline file: <sink.path>/<pipeline's name>
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    dataset: Option<PathBuf>,
    /// Copy every file, also where a link would do: a link costs no space, and shares its bytes with the dataset
    #[arg(long)]
    copy: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// A path; what looks like a URL would be a folder that is called `s3:`.
fn local_folder(path: &str) -> Result<PathBuf, String> {
    match url(path) {
        None => Ok(path.into()),
        Some((scheme, _)) => {
            Err(format!("a backup can't be written to {scheme}:// : name a folder of a local filesystem"))
        }
    }
}

/// Runs it. Exit code 1 says that it was refused, that the dataset is damaged or that the pipeline file is broken, 3 that
/// a disk failed.
pub(crate) fn backup(args: &BackupArgs) -> ExitCode {
    let folder = match dataset::folder(args.file.as_deref(), args.dataset.as_deref()) {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    match ledger::backup(&folder, &args.destination, args.copy) {
        Ok(backup) => {
            match args.format {
                OutputFormat::Text => show(&text(&backup)),
                OutputFormat::Json => {
                    let json = serde_json::to_string_pretty(&backup).expect("a report has text keys only");
                    show(&format!("{json}\n"));
                }
            }
            ExitCode::from(DONE)
        }
        Err(error @ BackupError::Ledger(_)) => fail(FAILED, &words::chain(&error)),
        Err(error) => fail(FOUND, &words::chain(&error)),
    }
}

fn text(backup: &Backup) -> String {
    let Backup { folder, partitions, entries, files, rows, bytes: size, linked } = backup;
    format!(
        "{}\n  {}, {}, {}, {}, {}; each file checked\n  linked {}, copied {}\n",
        folder.display(),
        plural(*partitions, "partition"),
        plural(*entries, "entry"),
        plural(*files, "file"),
        plural(*rows, "row"),
        bytes(*size),
        number(*linked),
        number(files - linked),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_are_told() {
        let backup = Backup {
            folder: "/backup/air".into(),
            partitions: 3,
            entries: 1_200,
            files: 4_000,
            rows: 9_367,
            bytes: 320_495,
            linked: 3_990,
        };
        insta::assert_snapshot!(text(&backup), @r"
        /backup/air
          3 partitions, 1,200 entries, 4,000 files, 9,367 rows, 312.98 KiB; each file checked
          linked 3,990, copied 10
        ");
    }
}
