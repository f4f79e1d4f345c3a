//! A ledger entry: what one commit made durable, and the state from which its lane goes on.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::names;
use crate::window::{Tally, WindowId, WindowState};

/// The version of the ledger's format that this code writes.
pub const FORMAT: u32 = 1;

/// One link of a partition's chain. Its name is its sequence number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The process that wrote it: host, process id and a random part, for people.
    pub instance: String,
    /// SHA-256 of the pipeline definition it was written under.
    pub pipeline: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's id, by which a topic made again under the same name is told apart.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
    /// The entry's number in its chain, from 0.
    pub sequence: u64,
    /// First position covered.
    pub from: i64,
    /// The position after the last one covered.
    pub to: i64,
    /// Offset of the newest record that the chain has read, where that is known: before `to`, with nothing but markers,
    /// aborted and compacted records between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_record: Option<i64>,
    /// The leader epoch under which its broker stored it, where brokers tell it.
    pub leader_epoch: Option<i32>,
    /// Records by class.
    pub counts: Counts,
    /// The windows' state at `to`.
    pub window: WindowState,
    /// Why it was written.
    pub reason: Reason,
    /// When, in milliseconds since 1970; for people.
    pub written_at_ms: i64,
    /// For windows of time, what this entry adds to each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<Tally>,
    /// The files that this entry makes part of the dataset.
    pub files: Vec<FileEntry>,
    /// SHA-256 of all the above as JSON without spaces, hex; what a disk gets wrong would else be believed wherever it is
    /// still readable. A field that is added to an entry must be left out of the JSON where an older one doesn't have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The newest record that a chain has read. While Kafka has it, it has all before it, too: whoever reads on asks for it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// The leader epoch under which its broker stored it, where brokers tell it.
    pub leader_epoch: Option<i32>,
}

impl Entry {
    /// The newest record that its chain has read.
    pub fn last(&self) -> Option<LastRecord> {
        self.last_record.map(|offset| LastRecord { offset, leader_epoch: self.leader_epoch })
    }

    /// Why no weir can have written it, if so. Whoever has it may count with what it says.
    pub(super) fn impossible(&self) -> Option<String> {
        let Counts { late, dropped, .. } = self.counts;
        let window = match self.window {
            WindowState::Count { window, rows } => window.max(rows),
            WindowState::Time(_) => 0,
        };
        if self.from < 0 || self.to == i64::MAX {
            return Some(format!("no log has the positions {} to {}", self.from, self.to));
        }
        if dropped > late {
            return Some(format!("of {late} late records {dropped} were dropped"));
        }
        if i64::try_from(window).is_err() {
            return Some(format!("it is in window {window}"));
        }
        let rows = self.files.iter().fold(0, |rows: u64, file| rows.saturating_add(file.rows));
        let most = self.counts.total().max(self.counts.lost).max(rows);
        if i64::try_from(most).is_err() {
            return Some(format!("no log has {most} records"));
        }
        let of_rows = |tally: &&Tally| matches!(tally.window, WindowId::Count(_));
        self.tallies
            .iter()
            .find(of_rows)
            .map(|tally| format!("it counts for {:?}, which is no window of time", tally.window))
    }

    /// The same, with its checksum.
    pub(super) fn sealed(mut self) -> Entry {
        self.sha256 = None;
        let content = serde_json::to_vec(&self).expect("an entry has no map with keys other than text");
        self.sha256 = Some(names::hex(&Sha256::digest(content)));
        self
    }
}

/// Why an entry was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Entry 0: fixes where the chain starts.
    Start,
    /// A file had all its windows.
    Windows,
    /// A file had all its rows.
    Rows,
    /// A file had all its bytes.
    Bytes,
    /// The oldest uncommitted record was old enough.
    Age,
    /// The partition had nothing more to read for so long that its windows were closed.
    Idle,
    /// A person closed the windows.
    Close,
    /// The lane was asked to end.
    Drain,
    /// A person asked for everything to be written.
    Flush,
    /// Memory ran short and this lane held the most.
    Memory,
    /// A person gave up what can't be read any more.
    Skip,
}

impl std::fmt::Display for Reason {
    /// As in an entry.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// Records by class; every record that read_committed shows is in exactly one. What was lost is counted in offsets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Rows in `data/`.
    pub row: u64,
    /// Rows in `rejects/`.
    pub rejected: u64,
    /// Rows that came after their window had closed and are not in `data/`.
    pub late: u64,
    /// Of the late ones, how many are in no file, because the pipeline says so.
    #[serde(default)]
    pub dropped: u64,
    /// Records that the pipeline leaves out.
    pub filtered: u64,
    /// Records without a value.
    pub tombstone: u64,
    /// Offsets that a person gave up. An upper bound of the records that are lost: nobody can read any more which of the
    /// offsets had one, and which were transactions' markers or records that were aborted or compacted away.
    ///
    /// Left out of an entry where there are none, so that a weir that doesn't know the class reads it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way of asking.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Of a range that was given up.
    pub fn lost(offsets: u64) -> Counts {
        Counts { lost: offsets, ..Counts::default() }
    }

    /// All records that were read; `dropped` ones are among the late ones.
    pub fn total(&self) -> u64 {
        let Counts { row, rejected, late, dropped: _, filtered, tombstone, lost: _ } = *self;
        [row, rejected, late, filtered, tombstone].into_iter().fold(0, u64::saturating_add)
    }

    /// The classes by name: every record is in exactly one.
    pub fn classes(&self) -> [(&'static str, u64); 6] {
        let Counts { row, rejected, late, dropped: _, filtered, tombstone, lost } = *self;
        [
            ("row", row),
            ("rejected", rejected),
            ("late", late),
            ("filtered", filtered),
            ("tombstone", tombstone),
            ("lost", lost),
        ]
    }

    /// For reports: every class and the dropped ones, whether there are any or not.
    pub fn report<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.classes().into_iter().chain([("dropped", self.dropped)]))
    }

    /// The classes whose records are rows of files, and in which tree.
    pub fn by_side(&self) -> [(Side, u64); 3] {
        [(Side::Data, self.row), (Side::Rejects, self.rejected), (Side::Late, self.late.saturating_sub(self.dropped))]
    }
}

/// Saturates, because numbers that were read may be any.
impl Add for Counts {
    type Output = Counts;
    fn add(self, other: Counts) -> Counts {
        Counts {
            row: self.row.saturating_add(other.row),
            rejected: self.rejected.saturating_add(other.rejected),
            late: self.late.saturating_add(other.late),
            dropped: self.dropped.saturating_add(other.dropped),
            filtered: self.filtered.saturating_add(other.filtered),
            tombstone: self.tombstone.saturating_add(other.tombstone),
            lost: self.lost.saturating_add(other.lost),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}

/// Which of the dataset's trees a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// `data/`: good rows.
    Data,
    /// `rejects/`: the quarantine.
    Rejects,
    /// `late/`: rows that came after their window had closed.
    Late,
}

impl Side {
    /// The folder's name.
    pub fn folder(self) -> &'static str {
        match self {
            Side::Data => "data",
            Side::Rejects => "rejects",
            Side::Late => "late",
        }
    }
}

/// A finished file. Its two names are opaque to everything but the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The tree it belongs to.
    pub side: Side,
    /// Its name in the dataset, relative to the dataset's folder, with `/` between the parts.
    pub path: String,
    /// Its name before it is published, relative to the dataset's folder.
    pub staged: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// The first and last window whose rows it holds; none for rejects.
    pub windows: Option<(WindowId, WindowId)>,
    /// Smallest and largest event time, microseconds since 1970, where the pipeline has event time.
    pub event_time: Option<(i64, i64)>,
}
