//! How commands that need no broker name a dataset: by a pipeline file, or by its folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The dataset's folder.
pub(crate) fn folder(file: Option<&Path>, dataset: Option<&Path>) -> Result<PathBuf, ExitCode> {
    match (dataset, file) {
        (Some(dataset), _) => Ok(dataset.to_owned()),
        (None, Some(file)) => super::load(file).map(|pipeline| pipeline.folder()),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}
