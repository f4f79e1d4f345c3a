//! The messages of a lane, in the order in which data flows. A message is a batch, never a record. (How a lane ends is said
//! in `lane.rs`, how a source does in `source/actor.rs`.)
//!
//! ```text
//! Source ── RawBatch ──► Validator ── CheckedBatch ──► Windower ── WindowedBatch ──► Sink ── Committed ──► Source
//!        ── Idle, Drain ──►         ── the same way, in their place among the batches ──►
//! ```
//!
//! Each batch carries the range of positions it stands for, also when no record in it is left. A receiver asserts that
//! the range starts where the one before it ended: see [`Range::follow`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix::Message;
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::ledger::{Counts, LastRecord, Reason, Side};
use crate::pipeline::credits::Credit;
use crate::pipeline::lane::LaneError;
use crate::pipeline::rows::Rows;
use crate::window::{Tally, WindowId, WindowState};

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

/// Records as they came from Kafka, column by column; all values stand end to end in one buffer.
#[derive(Debug, Default)]
pub struct RawRecords {
    /// All values, end to end.
    pub values: Vec<u8>,
    /// Where each record's value ends in `values`; it starts where the one before it ended.
    pub value_ends: Vec<usize>,
    /// Which records have no value at all (tombstones), by index, ascending.
    pub tombstones: Vec<usize>,
    /// Each record's offset, ascending.
    pub offsets: Vec<i64>,
    /// Each record's Kafka timestamp in milliseconds since 1970, where it has one.
    pub timestamps: Vec<Option<i64>>,
    /// All keys, end to end.
    pub keys: Vec<u8>,
    /// Where each record's key ends in `keys`, and whether it has one.
    pub key_ends: Vec<(usize, bool)>,
    /// Headers of the records that have any: index, and the headers in order.
    pub headers: Vec<(usize, Headers)>,
    /// Bytes of all headers, about.
    pub header_bytes: usize,
}

/// A record's headers: names and values, in order.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

impl RawRecords {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The value of the record at `index`; empty for a tombstone.
    pub fn value(&self, index: usize) -> &[u8] {
        &self.values[self.value_at(index)]
    }

    /// Where in `values` the value of the record at `index` is.
    pub fn value_at(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.value_ends[index - 1] };
        start..self.value_ends[index]
    }

    /// The key of the record at `index`.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.key_ends[index - 1].0 };
        let (end, present) = self.key_ends[index];
        present.then(|| &self.keys[start..end])
    }

    /// The headers of the record at `index`, when it has any.
    pub fn headers(&self, index: usize) -> Option<&Headers> {
        let found = self.headers.binary_search_by_key(&index, |entry| entry.0).ok()?;
        Some(&self.headers[found].1)
    }

    /// No records, with room for so many that have so many bytes of values and of keys.
    pub fn with_room(records: usize, values: usize, keys: usize) -> RawRecords {
        RawRecords {
            values: Vec::with_capacity(values),
            value_ends: Vec::with_capacity(records),
            offsets: Vec::with_capacity(records),
            timestamps: Vec::with_capacity(records),
            keys: Vec::with_capacity(keys),
            key_ends: Vec::with_capacity(records),
            ..RawRecords::default()
        }
    }

    /// Adds a record.
    pub fn push(&mut self, offset: i64, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        if value.is_none() {
            self.tombstones.push(self.offsets.len());
        }
        self.values.extend_from_slice(value.unwrap_or_default());
        self.value_ends.push(self.values.len());
        self.keys.extend_from_slice(key.unwrap_or_default());
        self.key_ends.push((self.keys.len(), key.is_some()));
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
    }

    /// Bytes that this holds, about.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 8 + 8 + 16 + 16;
        self.values.len() + self.keys.len() + self.header_bytes + self.offsets.len() * FIXED
    }
}

/// Source → Validator: what was read of one partition, unchecked.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), LaneError>")]
pub struct RawBatch {
    /// The positions that this batch stands for; gaps (aborted records, markers) are inside.
    pub range: Range,
    /// The last record, where there is any.
    pub last: Option<LastRecord>,
    /// When it was handed on; all its records were read before.
    pub read_at: Instant,
    /// The records, in offset order.
    pub records: RawRecords,
    /// The bytes this batch may keep in memory; returned to the source when the batch's rows are written.
    pub credit: Credit,
}

/// Validator → Windower: every record in its class.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), LaneError>")]
pub struct CheckedBatch {
    /// As in [`RawBatch`].
    pub range: Range,
    /// As in [`RawBatch`].
    pub last: Option<LastRecord>,
    /// As in [`RawBatch`].
    pub read_at: Instant,
    /// The records, by class.
    pub records: CheckedRecords,
    /// As in [`RawBatch`].
    pub credit: Credit,
}

/// Records by class; every offset is in exactly one of them.
#[derive(Debug, Clone)]
pub struct CheckedRecords {
    /// Good rows: the pipeline's columns and then the `_kafka_*` ones, in offset order.
    pub rows: RecordBatch,
    /// Rejected records in the schema of `rejects/`, in offset order.
    pub rejects: RecordBatch,
    /// Offsets of the tombstones, ascending.
    pub tombstones: Vec<i64>,
}

/// Windower → Sink: rows by window, and which windows end.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), LaneError>")]
pub struct WindowedBatch {
    /// As in [`RawBatch`].
    pub range: Range,
    /// As in [`RawBatch`].
    pub last: Option<LastRecord>,
    /// As in [`RawBatch`].
    pub read_at: Instant,
    /// Consecutive parts of the range; together they are all of it. Never empty.
    pub parts: Vec<WindowedPart>,
    /// As in [`RawBatch`].
    pub credit: Credit,
}

/// A part of a batch, its rows by window.
#[derive(Debug)]
pub struct WindowedPart {
    /// The positions of this part; none where windows were closed and nothing came.
    pub range: Range,
    /// The rows that go to files; none of these is empty.
    pub rows: Vec<WindowRows>,
    /// Rejected records.
    pub rejects: Rows,
    /// Records by class.
    pub counts: Counts,
    /// For windows of time, what came for each.
    pub tallies: Vec<Tally>,
    /// How many windows end with this part; of windows of time, of those that got rows in this lane.
    pub closes: u64,
    /// Whether files may end with this part without dividing a window that could be whole.
    pub ends: bool,
    /// The windows' state after this part: what a commit at its end writes into the ledger.
    pub state: WindowState,
}

/// Rows of one window for one of the dataset's trees.
#[derive(Debug)]
pub struct WindowRows {
    /// Their window.
    pub window: WindowId,
    /// `data/` or `late/`.
    pub side: Side,
    /// The rows, in offset order; those of `late/` have one column more.
    pub rows: Rows,
}

/// Down the lane: the partition has nothing more to read for now, so its windows of time close; if any does, the lane commits.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), LaneError>")]
pub struct Idle {
    /// Beside the windows that have rows, close all that end at or before this; microseconds since 1970.
    pub to: Option<i64>,
}

/// Down the lane: write and commit everything that is left, then answer.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), LaneError>")]
pub struct Drain {
    /// Why the lane ends what it has open.
    pub reason: Reason,
}

/// Sink → Source: the ledger holds everything of this partition up to `to`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// The partition.
    pub partition: Partition,
    /// Which of the lanes that this partition had.
    pub generation: u64,
    /// The position that the newest entry ends at.
    pub to: i64,
    /// Records by class since the last commit.
    pub counts: Counts,
    /// Of the rejected ones, how many by column and rule.
    pub rejected_by: BTreeMap<(String, String), u64>,
    /// The Kafka timestamp of its newest record, in microseconds since 1970.
    pub newest_us: Option<i64>,
    /// The watermark of windows of time after it, in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// Files that the commit published.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}
