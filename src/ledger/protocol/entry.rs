//! A ledger entry: what one commit made durable, and the state from which its lane goes on.
//!
//! An entry of format 2 is one line: a JSON object whose last field, `sha256`, is the SHA-256 of
//! all the bytes before it, and a newline. So nothing of it can change unseen, known to the reader
//! or not. Each entry has the checksum of the one before it: a chain's newest one stands for all of
//! them. The line is kept as it is wherever the entry goes: a checkpoint, a backup.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::error::LedgerError;
use super::format::{FORMAT_1, Head, unreadable};
use crate::model::names;
use crate::model::window::{Tally, WindowId, WindowState};
use crate::model::{Class, Counts, LastRecord, Side};

/// What stands before an entry's checksum, and after it.
const SEAL: (&str, &str) = (",\"sha256\":\"", "\"}\n");

/// Hexadecimal digits of a checksum.
const DIGITS: usize = 64;

/// What an entry is. A reader that meets another kind stops: it can't know what that did.
///
/// Reserved: `replay`, `compact`, `expire`, `columns`, `fence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Entry 0: fixes where the chain starts.
    Start,
    /// Records that were read, and what became of them.
    Commit,
    /// Offsets that a person gave up.
    Skip,
}

impl EntryKind {
    const ALL: [EntryKind; 3] = [EntryKind::Start, EntryKind::Commit, EntryKind::Skip];

    /// As in an entry.
    fn name(self) -> &'static str {
        match self {
            EntryKind::Start => "start",
            EntryKind::Commit => "commit",
            EntryKind::Skip => "skip",
        }
    }
}

/// One link of a partition's chain. Its name is its sequence number.
///
/// A field that is added must be left out of the JSON where an older entry doesn't have it. If a
/// reader must not pass over it, `requires` names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The format that it was written in.
    pub format: u32,
    /// Fields that a reader must know to go on from here: `name`, or `outer.name` for one further
    /// in. What the entry before it requires it repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// What it is. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryKind>,
    /// The dataset's id. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// 128 random bits, hex: no two attempts to write an entry have the same ones. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The checksum of the entry before it; none in entry 0. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The process that wrote it: host, process id and a random part, for people.
    pub instance: String,
    /// SHA-256 of the pipeline definition as written: the name of its file in `ledger/pipelines/`.
    pub pipeline: String,
    /// SHA-256 of the definition with its variables filled in: the name of its file there. Not in
    /// format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Which [`BEHAVIOUR`](crate::model::BEHAVIOUR) the writer had. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<u32>,
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
    /// Offset of the newest record that the chain has read, where that is known: before `to`, with
    /// nothing but markers, aborted and compacted records between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_record: Option<i64>,
    /// The leader epoch under which its broker stored it, where brokers tell it.
    pub leader_epoch: Option<i32>,
    /// Records by class.
    pub counts: Counts,
    /// The windows' state at `to`.
    pub window: WindowState,
    /// Why it was written: text for people, which nothing depends on.
    pub reason: String,
    /// When, in milliseconds since 1970; for people.
    pub written_at_ms: i64,
    /// For windows of time, what this entry adds to each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<Tally>,
    /// The files that this entry makes part of the dataset.
    pub files: Vec<FileEntry>,
    /// SHA-256, hex. In format 2 of all the bytes before it; in format 1 of all the above as JSON
    /// without spaces. The oldest entries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where an entry begins: what must fit the end of the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct Begin {
    pub(in crate::ledger) sequence: u64,
    /// The first position covered.
    pub(in crate::ledger) from: i64,
    /// The checksum of the entry that it was written after, if it says so.
    pub(in crate::ledger) previous: Option<String>,
}

/// Where an entry ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct End {
    /// The position after the last one covered.
    pub(in crate::ledger) to: i64,
    /// Its checksum.
    pub(in crate::ledger) sha256: String,
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

    /// Where it begins.
    pub(in crate::ledger) fn begin(&self) -> Begin {
        Begin { sequence: self.sequence, from: self.from, previous: self.previous.clone() }
    }

    /// Where it ends, and the next one begins.
    pub(in crate::ledger) fn end(&self) -> End {
        // The oldest ones have no checksum written in them.
        End { to: self.to, sha256: self.sha256.clone().unwrap_or_else(|| self.checksum()) }
    }

    /// The checksum of the fields that are known here. An entry of format 2 that was read may have
    /// others: there only its bytes count.
    pub fn checksum(&self) -> String {
        let mut content = match self.sha256 {
            None => json(self),
            Some(_) => json(&Entry { sha256: None, ..self.clone() }),
        };
        if self.format != FORMAT_1 {
            content.pop();
        }
        names::hex(&Sha256::digest(content))
    }

    /// The same, with its checksum.
    pub(in crate::ledger) fn sealed(mut self) -> Entry {
        // An entry may be large: it isn't cloned.
        self.sha256 = None;
        self.sha256 = Some(self.checksum());
        self
    }

    /// It as one line, as entries are written and checkpoints hold them.
    pub fn line(&self) -> Vec<u8> {
        let mut line = json(self);
        line.push(b'\n');
        line
    }

    /// An entry as it was read from a path, which has its checksum if it was written with one.
    pub(in crate::ledger) fn read(path: &Path, content: &[u8]) -> Result<Entry, LedgerError> {
        let head = Head::parse(path, content)?;
        // Before anything in it is believed, its format included.
        if head.format != Some(FORMAT_1)
            && let Some((before, expected)) = unseal(content)
        {
            let found = names::hex(&Sha256::digest(before));
            if found.as_bytes() != expected {
                return Err(changed(path, &String::from_utf8_lossy(expected), &found));
            }
        }
        head.check_format(path)?;
        match head.format {
            None => Err(unreadable(path, "it has no `format`")),
            Some(FORMAT_1) => Entry::read_1(path, content),
            Some(_) => Entry::read_2(path, content, head),
        }
    }

    fn read_1(path: &Path, content: &[u8]) -> Result<Entry, LedgerError> {
        let mut entry: Entry = serde_json::from_slice(content).map_err(|error| unreadable(path, error))?;
        if let Some(expected) = entry.sha256.take() {
            let entry = entry.sealed();
            let found = entry.sha256.clone().unwrap_or_default();
            return if found == expected { Ok(entry) } else { Err(changed(path, &expected, &found)) };
        }
        // Without a checksum, a damaged name of a field shows only as an unknown one.
        let fields: Value = serde_json::from_slice(content).map_err(|error| unreadable(path, error))?;
        let known = serde_json::to_value(&entry).map_err(|error| unreadable(path, error))?;
        match unknown_field(&fields, &known) {
            Some(unknown) => Err(unreadable(path, format!("format 1 has no field `{unknown}`"))),
            None => Ok(entry),
        }
    }

    /// One whose checksum, if it ends with any, has matched.
    fn read_2(path: &Path, content: &[u8], head: Head) -> Result<Entry, LedgerError> {
        if unseal(content).is_none() {
            return Err(unreadable(path, "it doesn't end with its SHA-256: it was changed or cut"));
        }
        if content.iter().filter(|byte| **byte == b'\n').count() != 1 {
            return Err(unreadable(path, "it is more than one line"));
        }
        let Some(kind) = &head.kind else { return Err(unreadable(path, "it has no `kind`")) };
        if !EntryKind::ALL.iter().any(|known| known.name() == kind) {
            return Err(LedgerError::Requires { path: path.to_owned(), what: format!("the kind {kind:?}") });
        }
        head.check_required(path)?;
        let entry: Entry = serde_json::from_slice(content).map_err(|error| unreadable(path, error))?;
        let must = [
            ("dataset", entry.dataset.is_some()),
            ("attempt", entry.attempt.is_some()),
            ("previous", entry.previous.is_some() || entry.sequence == 0),
            ("definition", entry.definition.is_some()),
            ("behaviour", entry.behaviour.is_some()),
        ];
        match must.into_iter().find(|(_, there)| !there) {
            Some((missing, _)) => Err(unreadable(path, format!("it has no `{missing}`"))),
            None => Ok(entry),
        }
    }
}

/// The first field of an object, however far in, that is not in what is known of it.
fn unknown_field<'a>(found: &'a Value, known: &Value) -> Option<&'a str> {
    match found {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match known.get(name) {
            Some(known) => unknown_field(value, known),
            None => Some(name.as_str()),
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, item)| unknown_field(item, known.get(at).unwrap_or(&Value::Null)))
        }
        _ => None,
    }
}

fn json(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry has no map with keys other than text")
}

/// The bytes that the checksum at a line's end covers, and the checksum.
fn unseal(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(SEAL.1.as_bytes())?;
    let (before, sha256) = line.split_at_checked(line.len().checked_sub(DIGITS)?)?;
    Some((before.strip_suffix(SEAL.0.as_bytes())?, sha256))
}

fn changed(path: &Path, expected: &str, found: &str) -> LedgerError {
    unreadable(path, format!("its SHA-256 is {found}, but it was written with {expected}: it was changed since"))
}

/// A finished file. Its two names are opaque to everything but the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The offsets of its first and its last row. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<(i64, i64)>,
    /// The hive keys of all its rows, each of its column's type; the window's name is text. Not in
    /// format 1.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub partition_values: Map<String, Value>,
    /// The version of its columns in `ledger/columns/`; none for rejects. Not in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns_version: Option<u32>,
    /// The columns by which its rows are sorted, ascending, the first one first. Not in format 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort: Vec<String>,
}
