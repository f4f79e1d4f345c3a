//! The messages of a lane, in the order in which data flows. A message is a batch, never a record. (How a lane ends is said
//! in `lane.rs`, how a source does in `source/ending.rs`.)
//!
//! ```text
//! Source ── RawBatch ──► Validator ── CheckedBatch ──► Windower ── WindowedBatch ──► Sink ── Committed ──► Source
//!        ── Idle, Drain ──►         ── the same way, in their place among the batches ──►
//! ```
//!
//! Each batch carries the range of positions it stands for, also when no record in it is left. A receiver asserts that
//! the range starts where the one before it ended: see [`Range::follow`].

use std::collections::BTreeMap;
use std::time::Instant;

use actix::Message;
use arrow::array::RecordBatch;

use super::lane::Reply;
use crate::base::credits::Credit;
use crate::flow::rows::Rows;
use crate::model::window::{Tally, WindowId, WindowState};
use crate::model::{Counts, LastRecord, Partition, Range, RawRecords, Reason, Side};

/// Source → Validator: what was read of one partition, unchecked.
#[derive(Debug, Message)]
#[rtype(result = "Reply")]
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
#[rtype(result = "Reply")]
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
    /// Offsets of the records that the pipeline leaves out, ascending.
    pub filtered: Vec<i64>,
    /// Offsets of the tombstones, ascending.
    pub tombstones: Vec<i64>,
}

/// Windower → Sink: rows by window, and which windows end.
#[derive(Debug, Message)]
#[rtype(result = "Reply")]
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
    /// The rows, in offset order. Rows for `late/` have one more column.
    pub rows: Rows,
}

/// Down the lane: the partition has nothing more to read for now, so its windows of time close; if any does, the lane commits.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Reply")]
pub struct Idle {
    /// Beside the windows that have rows, close all that end at or before this; microseconds since 1970.
    pub to: Option<i64>,
}

/// Down the lane: write and commit everything that is left, then answer.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Reply")]
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
