//! A partition of a topic, and positions in it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

/// A half-open range of positions: `from` is in it, `to` is the next one to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first position.
    pub from: i64,
    /// The position after the last.
    pub to: i64,
}

impl Range {
    /// The range `next`, provided that it starts where this one ends.
    ///
    /// **Invariant:** a partition's ranges are one unbroken chain; a hole or an overlap is a bug, so it panics.
    pub fn follow(self, next: Range) -> Range {
        assert!(next.from == self.to && next.from <= next.to, "range {next:?} does not follow {self:?}");
        next
    }
}

/// The newest record that a chain has read. While Kafka has it, it has all before it, too: whoever reads on asks for it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// The leader epoch under which its broker stored it, where brokers tell it.
    pub leader_epoch: Option<i32>,
}
