//! What a pipeline may use, and how it is to run. How memory is divided: `base/memory.rs`.

use std::time::Duration;

use crate::base::memory;
use crate::flow::run::Run;
use crate::model::Restart;

/// The limits of a process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of records and open files, whatever the number of pipelines, partitions and windows.
    pub memory: usize,
    /// How long lanes may take to commit what they have when they are to end.
    pub drain: Duration,
}

/// How a pipeline is to run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// What it may use.
    pub limits: Limits,
    /// How its lanes are restarted.
    pub restarts: Restart,
    /// Whether it ends by itself where each partition ends now, and joins no group.
    pub until_end: bool,
}

/// Gives a run another share of the process's memory: for batches, files and the lanes that start from now on; what the client
/// fetches ahead stays.
pub fn share(run: &Run, bytes: usize) {
    run.credits.set_limit(memory::credit_bytes(bytes));
}
