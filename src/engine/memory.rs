//! What a process's memory is divided into: every fraction of `limits.memory`, with its reason.

use std::time::Duration;

/// The limits of a process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of records and open files, whatever the number of pipelines, partitions and windows.
    pub memory: usize,
    /// How long lanes may take to commit what they have when they are to end.
    pub drain: Duration,
}

impl Limits {
    /// What librdkafka may fetch ahead, all consumers together, as it counts: values only, and compressed batches as they are.
    /// What that takes in memory is bounded by `source/room.rs`, by a third of the credits.
    pub(super) fn fetch_bytes(&self) -> usize {
        self.memory / 16
    }

    /// What half-full batches may hold, all partitions of all consumers together.
    pub(super) fn collecting_bytes(&self) -> usize {
        self.memory / 16
    }

    /// What batches on their way and open files may hold.
    pub(super) fn credit_bytes(&self) -> usize {
        self.memory / 8 * 3
    }
}

/// What the waiting rows of one lane may hold before its files end row groups, of the bytes that batches and files may. Three lanes
/// have three quarters of what there is; where more lanes have rows, the one that holds the most commits.
pub(super) fn lane_bytes(credits: usize) -> usize {
    credits / 4
}
