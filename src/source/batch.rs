//! Collects one partition's records until they are worth a message.

use std::time::Instant;

use super::place::StartAt;
use crate::base::failpoint;
use crate::kafka::bulk::Message;
use crate::model::LastRecord;
use crate::model::{Range, RawRecords};

/// What was read of one partition and not yet handed on.
#[derive(Debug)]
pub(super) struct Collecting {
    /// Where it began.
    pub(super) start: StartAt,
    /// Whether its end was reported.
    pub(super) ended: bool,
    /// The position up to which batches were handed on.
    handed: i64,
    /// The position after the last record collected.
    next: i64,
    /// Whether anything came of the partition since the start.
    heard: bool,
    /// Where the client may take itself to be, if that is further than it is: it counts an error or an end as a record.
    counted: i64,
    /// The newest record, of this start or of the ledger.
    newest: Option<LastRecord>,
    records: RawRecords,
    /// Records, bytes of values and of keys that the batch before had: the next one gets a little more room with its first record,
    /// and not before, because of a thousand partitions few have records at a time.
    room: [usize; 3],
    since: Option<Instant>,
}

/// The client knows its place.
pub(super) const NOTHING_COUNTED: i64 = i64::MIN;

/// A batch without its credit.
pub(super) type Collected = (Range, Option<LastRecord>, RawRecords);

/// Why a record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The client has gone back (it may, when a pause for a group event overlaps a poll).
    Back,
    /// It is where the ledger has seen that there is none: the log was cut.
    Cut,
}

impl Collecting {
    /// Starts with nothing; the client may have `counted` something before.
    pub(super) fn new(start: StartAt, counted: i64) -> Self {
        Collecting {
            ended: false,
            handed: start.position,
            next: start.position,
            heard: false,
            counted,
            newest: start.last,
            start,
            records: RawRecords::default(),
            room: [0; 3],
            since: None,
        }
    }

    /// Adds a record, unless it is at or past this run's end. Returns the bytes collected so far.
    ///
    /// **Invariant:** every record is at or after the position that is next; else the lane must start again from its ledger.
    pub(super) fn push(&mut self, record: &Message) -> Result<usize, Refused> {
        let offset = record.offset();
        self.heard = true;
        if offset < self.next {
            return Err(if offset < self.start.position { Refused::Cut } else { Refused::Back });
        }
        if self.start.end.is_some_and(|end| offset >= end) {
            self.pass(offset);
            return Ok(self.records.bytes());
        }
        if failpoint::planted("range.off_by_one") && offset > 0 && offset == self.handed {
            self.pass(offset + 1);
            return Ok(self.records.bytes());
        }
        self.since.get_or_insert_with(Instant::now);
        if self.records.is_empty() {
            // A little more, since one that is full takes a copy of all to grow.
            let [records, values, keys] = self.room.map(|room| room + room / 16);
            self.records = RawRecords::with_room(records, values, keys);
        }
        if let Some(headers) = record.headers() {
            self.records.header_bytes += headers.iter().map(header_bytes).sum::<usize>();
            self.records.headers.push((self.records.len(), headers));
        }
        self.records.push(offset, record.timestamp_ms(), record.key(), record.value());
        self.newest = Some(LastRecord { offset, leader_epoch: record.leader_epoch() });
        self.next = offset + 1;
        Ok(self.records.bytes())
    }

    /// How many records are collected.
    pub(super) fn records(&self) -> usize {
        self.records.len()
    }

    /// Moves on to `position` without a record: markers and aborted records. Never back, never past this run's end.
    pub(super) fn pass(&mut self, position: i64) {
        let position = self.start.end.map_or(position, |end| position.min(end));
        if position > self.next {
            self.since.get_or_insert_with(Instant::now);
            self.next = position;
        }
    }

    /// The client has come to the log's end, as it knows it, at that position.
    pub(super) fn reached(&mut self, position: i64) {
        self.heard = true;
        self.pass(position);
    }

    /// The client has told of an error or an end, at that offset where it is known.
    pub(super) fn counts(&mut self, offset: Option<i64>) {
        self.counted = self.counted.max(offset.map_or(i64::MAX, |offset| offset + 1));
    }

    /// The client was sent to where it is to read on.
    pub(super) fn placed(&mut self) {
        self.counted = NOTHING_COUNTED;
    }

    /// Where to read on, if the client may not know. (After just one more record it has the wrong epoch.)
    pub(super) fn place(&self) -> Option<StartAt> {
        let misplaced = self.counted >= self.next;
        misplaced.then(|| StartAt { position: self.next, last: self.newest, ..self.start.clone() })
    }

    /// Where the client is, as it says: past markers and aborted records, for which no record comes, or past what it has counted.
    pub(super) fn is_at(&mut self, position: i64) {
        if position > self.counted {
            self.pass(position);
        }
    }

    /// Whether anything came of the partition since the start.
    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Whether the brokers have the newest record that the ledger knows: the client reads only once they were found to.
    pub(super) fn is_confirmed(&self) -> bool {
        self.heard || self.start.last.is_none()
    }

    /// Whether this run's end is reached.
    pub(super) fn at_end(&self) -> bool {
        self.is_confirmed() && self.start.end.is_some_and(|end| self.next >= end)
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
        self.room = [self.records.len(), self.records.values.len(), self.records.keys.len()];
        let last = self.newest.filter(|_| !self.records.is_empty());
        (range, last, std::mem::take(&mut self.records))
    }
}

fn header_bytes((key, value): &(String, Option<Vec<u8>>)) -> usize {
    size_of::<(String, Option<Vec<u8>>)>() + key.len() + value.as_ref().map_or(0, Vec::len)
}
