//! A ledger entry: what one commit made durable, and the state from which its lane goes on.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::names;
use crate::model::window::{Tally, WindowId, WindowState};
use crate::model::{Class, Counts, LastRecord, Reason, Side};

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
    /// The topic's id. A topic that is made again under the same name has another one.
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

impl Entry {
    /// The newest record that its chain has read.
    pub fn last(&self) -> Option<LastRecord> {
        self.last_record.map(|offset| LastRecord { offset, leader_epoch: self.leader_epoch })
    }

    /// Why no weir can have written it, if so. Whoever has it may count with what it says.
    pub(in crate::ledger) fn impossible(&self) -> Option<String> {
        let (late, dropped) = (self.counts[Class::Late], self.counts.dropped);
        let window = self.window.largest_count();
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
        let most = self.counts.total().max(self.counts[Class::Lost]).max(rows);
        if i64::try_from(most).is_err() {
            return Some(format!("no log has {most} records"));
        }
        let of_rows = |tally: &&Tally| tally.window.time().is_none();
        self.tallies
            .iter()
            .find(of_rows)
            .map(|tally| format!("it counts for {:?}, which is no window of time", tally.window))
    }

    /// The same, with its checksum.
    pub(in crate::ledger) fn sealed(mut self) -> Entry {
        self.sha256 = None;
        let content = serde_json::to_vec(&self).expect("an entry has no map with keys other than text");
        self.sha256 = Some(names::hex(&Sha256::digest(content)));
        self
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
