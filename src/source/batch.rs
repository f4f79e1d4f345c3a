//! Collects one partition's records until they are worth a message.

use std::time::Instant;

use super::ffi::Record;
use crate::failpoint;
use crate::pipeline::messages::{Range, RawRecords};

/// What was read of one partition and not yet handed on.
#[derive(Debug)]
pub(super) struct Collecting {
    /// Told apart from an earlier lane of the same partition by this number.
    pub(super) generation: u64,
    /// Where the partition ends for this run, when it is to end.
    pub(super) end: Option<i64>,
    /// Whether its end was reported.
    pub(super) ended: bool,
    /// The position up to which batches were handed on.
    handed: i64,
    /// The position after the last record collected.
    next: i64,
    leader_epoch: Option<i32>,
    records: RawRecords,
    /// Records, bytes of values and of keys that the batch before had: the next one gets as much room with its first record,
    /// and not before, because of a thousand partitions few have records at a time.
    room: (usize, usize, usize),
    since: Option<Instant>,
}

/// A batch without its credit.
pub(super) type Collected = (Range, Option<i32>, RawRecords);

impl Collecting {
    /// Starts at `position`.
    pub(super) fn new(generation: u64, position: i64, end: Option<i64>) -> Self {
        Collecting {
            generation,
            end,
            ended: false,
            handed: position,
            next: position,
            leader_epoch: None,
            records: RawRecords::default(),
            room: (0, 0, 0),
            since: None,
        }
    }

    /// Adds a record, unless it is at or past this run's end. Returns the bytes collected so far.
    ///
    /// **Invariant:** every record is at or after the position that is next; none where the client has gone back (it may,
    /// when a pause for a group event overlaps a poll), and then the lane must start again from its ledger.
    pub(super) fn push(&mut self, record: &Record) -> Option<usize> {
        let offset = record.offset();
        if offset < self.next {
            return None;
        }
        if self.end.is_some_and(|end| offset >= end) {
            self.pass(offset);
            return Some(self.records.bytes());
        }
        if failpoint::planted("range.off_by_one") && offset > 0 && offset == self.handed {
            self.pass(offset + 1);
            return Some(self.records.bytes());
        }
        self.since.get_or_insert_with(Instant::now);
        if self.records.is_empty() {
            let (records, values, keys) = self.room;
            self.records = RawRecords::with_room(records, values, keys);
        }
        if let Some(headers) = record.headers() {
            self.records.header_bytes += headers.iter().map(header_bytes).sum::<usize>();
            self.records.headers.push((self.records.len(), headers));
        }
        self.records.push(offset, record.timestamp_ms(), record.key(), record.value());
        self.leader_epoch = record.leader_epoch().or(self.leader_epoch);
        self.next = offset + 1;
        Some(self.records.bytes())
    }

    /// Moves on to `position` without a record: markers and aborted records. Never back, never past this run's end.
    pub(super) fn pass(&mut self, position: i64) {
        let position = self.end.map_or(position, |end| position.min(end));
        if position > self.next {
            self.since.get_or_insert_with(Instant::now);
            self.next = position;
        }
    }

    /// Whether this run's end is reached.
    pub(super) fn at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Bytes collected and not yet handed on.
    pub(super) fn bytes(&self) -> usize {
        self.records.bytes()
    }

    /// Since when something waits to be handed on.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether anything waits to be handed on.
    pub(super) fn waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Takes what was collected.
    pub(super) fn take(&mut self) -> Collected {
        let range = Range { from: self.handed, to: self.next };
        self.handed = self.next;
        self.since = None;
        self.room = (self.records.len(), self.records.values.len(), self.records.keys.len());
        (range, self.leader_epoch, std::mem::take(&mut self.records))
    }
}

fn header_bytes((key, value): &(String, Option<Vec<u8>>)) -> usize {
    size_of::<(String, Option<Vec<u8>>)>() + key.len() + value.as_ref().map_or(0, Vec::len)
}
