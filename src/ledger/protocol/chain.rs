//! One partition's chain of entries: where it starts, how the next entry is made, what its files
//! are called.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;

use super::commit;
use super::dataset::Dataset;
use super::entry::{Begin, End, Entry, EntryKind, FileEntry};
use super::error::LedgerError;
use super::format::{FORMAT, FORMAT_1, unreadable};
use crate::model::names;
use crate::model::names::StagedName;
use crate::model::window::{Tally, WindowState};
use crate::model::{BEHAVIOUR, Class, Counts, LastRecord, Reason, Side};

/// The end of a chain, durable, with all its files published: from here a lane may read on and
/// commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The newest entry's number.
    pub sequence: u64,
    /// The position that it ends at: the next one to read.
    pub to: i64,
    /// The newest record that was read, where that is known.
    pub last: Option<LastRecord>,
    /// The windows' state at `to`.
    pub window: WindowState,
    /// When the entry was written, in milliseconds since 1970.
    pub written_at_ms: i64,
    /// Offsets that the newest entry gives up: [`Class::Lost`].
    pub lost: u64,
    /// The newest entry's checksum, which the next one has in it.
    pub sha256: String,
    /// What the newest entry requires, and the next one repeats.
    pub requires: Vec<String>,
}

impl Tip {
    pub(in crate::ledger) fn of(entry: &Entry) -> Tip {
        Tip {
            sequence: entry.sequence,
            to: entry.to,
            last: entry.last(),
            window: entry.window.clone(),
            written_at_ms: entry.written_at_ms,
            lost: entry.counts[Class::Lost],
            sha256: entry.end().sha256,
            requires: entry.requires.clone(),
        }
    }
}

/// What a lane has to say about its next entry; [`Chain::entry`] knows the rest.
#[derive(Debug, Clone)]
pub struct NextEntry {
    /// The position after the last one covered.
    pub to: i64,
    /// The newest record that was read, where that is known.
    pub last: Option<LastRecord>,
    /// Records by class, of the range.
    pub counts: Counts,
    /// The windows' state at `to`.
    pub window: WindowState,
    /// For windows of time, what came for each.
    pub tallies: Vec<Tally>,
    /// Why it is written.
    pub reason: Reason,
    /// The staged files, closed.
    pub files: Vec<FileEntry>,
}

/// Keys and values in a Parquet footer that name the file's entry.
pub type Receipt = Vec<(&'static str, String)>;

/// An entry, and its bytes as they were read.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Stored {
    pub(in crate::ledger) entry: Entry,
    pub(in crate::ledger) content: Vec<u8>,
}

impl Stored {
    /// The entry as one line. Its bytes stay as they are: there may be more in them than this weir
    /// knows.
    pub(in crate::ledger) fn line(self) -> Vec<u8> {
        match self.entry.format {
            // On a disk it has many lines.
            FORMAT_1 => self.entry.line(),
            _ => self.content,
        }
    }
}

/// A partition's chain. Cheap to make; it holds no state of the disk.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(in crate::ledger) dataset: Dataset,
    topic: String,
    topic_id: String,
    partition: i32,
    /// How the names of its staged files begin.
    pub(in crate::ledger) prefix: String,
}

impl Chain {
    pub(in crate::ledger) fn new(dataset: Dataset, topic: &str, topic_id: &str, partition: i32) -> Chain {
        let prefix = names::staged_prefix(topic, topic_id, partition);
        Chain { dataset, topic: topic.to_owned(), topic_id: topic_id.to_owned(), partition, prefix }
    }

    /// The chain that an entry belongs to.
    pub(in crate::ledger) fn of(dataset: &Dataset, entry: &Entry) -> Chain {
        Chain::new(dataset.clone(), &entry.topic, &entry.topic_id, entry.partition)
    }

    /// Fixes the position at which the chain starts, before the first record is read. Where another
    /// process already did, this one adopts the other's chain, wherever that ends by now.
    pub fn start(&self, position: i64, window: WindowState) -> Result<Tip, LedgerError> {
        let entry = self.first_entry(position, window);
        self.adopt(commit::commit(&self.dataset, &[entry]).pop().expect("one entry, one result"))
    }

    /// Entry 0 of a chain that starts at `position`, to be committed with those of other chains.
    pub(crate) fn first_entry(&self, position: i64, window: WindowState) -> Entry {
        let next = NextEntry {
            to: position,
            last: None,
            counts: Counts::default(),
            window,
            tallies: vec![],
            reason: Reason::Start,
            files: vec![],
        };
        self.build(EntryKind::Start, 0, position, None, next).sealed()
    }

    /// The chain's end, after its first entry was committed or another process's was found in its
    /// place.
    pub(crate) fn adopt(&self, committed: Result<Tip, LedgerError>) -> Result<Tip, LedgerError> {
        match committed {
            Err(LedgerError::Fenced { .. }) => {
                Ok(self.recover()?.expect("an entry stays, or a checkpoint that covers it"))
            }
            result => result,
        }
    }

    /// Names for a new file of the entry `sequence`. `hive_path` is `key=value/…`, already encoded,
    /// or empty. The names are new for every call, so that no attempt ever meets another's file.
    pub fn name(&self, sequence: u64, side: Side, hive_path: &str, n: u32) -> StagedName {
        names::file(&self.topic, &self.prefix, self.partition, sequence, side.folder(), hive_path, n)
    }

    /// The schema of a side's files, each column with its id.
    pub fn with_ids(&self, side: Side, schema: &SchemaRef) -> SchemaRef {
        self.dataset.with_ids(side, schema)
    }

    /// Makes a new file for an entry, under the staged name that it was given. It is not durable.
    pub fn create(&self, staged: &str) -> io::Result<Box<dyn Write + Send>> {
        self.dataset.store().stage(staged)
    }

    /// Removes a staged file of an attempt whose entry nobody has tried to link, nor will: no entry
    /// can name it.
    pub fn discard(&self, staged: &str) {
        // What stays is swept once its number is taken.
        let _ = self.dataset.store().discard(staged);
    }

    /// The receipt of the files of entry `sequence`; `previous` is the checksum of the entry before
    /// it.
    pub fn receipt(&self, sequence: u64, previous: &str) -> Receipt {
        let mut receipt = vec![
            ("weir.dataset", self.dataset.id().to_owned()),
            ("weir.topic_id", self.topic_id.clone()),
            ("weir.sequence", sequence.to_string()),
            ("weir.previous", previous.to_owned()),
        ];
        receipt.extend(self.dataset.definition().map(|definition| ("weir.definition", definition.to_owned())));
        receipt
    }

    /// The entry after `tip`.
    ///
    /// **Invariant:** ranges are contiguous, and the counts are those of the files: what breaks either is a bug, so it
    /// panics.
    pub fn entry(&self, tip: &Tip, next: NextEntry) -> Entry {
        assert!(tip.to <= next.to, "{self}: an entry to {} cannot follow one to {}", next.to, tip.to);
        for (side, counted) in next.counts.by_side() {
            let rows: u64 = next.files.iter().filter(|file| file.side == side).map(|file| file.rows).sum();
            assert_eq!(rows, counted, "{self}: rows in files of {} and records counted", side.folder());
        }
        let last = next.last.map_or(-1, |last| last.offset);
        assert!(last < next.to, "{self}: the last record read is {last}, and the position {} is not after it", next.to);
        let kind = if next.reason == Reason::Skip { EntryKind::Skip } else { EntryKind::Commit };
        let entry = self.build(kind, tip.sequence + 1, tip.to, Some(tip.sha256.clone()), next);
        Entry { requires: tip.requires.clone(), ..entry }.sealed()
    }

    fn build(&self, kind: EntryKind, sequence: u64, from: i64, previous: Option<String>, next: NextEntry) -> Entry {
        let dataset = &self.dataset;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Entry {
            format: FORMAT,
            requires: Vec::new(),
            kind: Some(kind),
            dataset: Some(dataset.id().to_owned()),
            attempt: Some(format!("{}{}", names::random(), names::random())),
            previous,
            instance: names::instance().to_owned(),
            pipeline: dataset.pipeline().to_owned(),
            definition: Some(dataset.definition().unwrap_or_default().to_owned()),
            behaviour: Some(BEHAVIOUR),
            topic: self.topic.clone(),
            topic_id: self.topic_id.clone(),
            partition: self.partition,
            sequence,
            from,
            to: next.to,
            last_record: next.last.map(|last| last.offset),
            leader_epoch: next.last.and_then(|last| last.leader_epoch),
            counts: next.counts,
            window: next.window,
            reason: next.reason.to_string(),
            written_at_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            tallies: next.tallies,
            files: next.files.into_iter().map(|file| dataset.described(file)).collect(),
            sha256: None,
        }
    }

    /// The same partition's chain in a copy of the dataset.
    pub(in crate::ledger) fn in_dataset(&self, dataset: &Dataset) -> Chain {
        Chain::new(dataset.clone(), &self.topic, &self.topic_id, self.partition)
    }

    /// Its entries from the first to the one that is the newest now, each read when it is asked
    /// for, and each known to begin where the one before it ended.
    pub(in crate::ledger) fn all(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<>, LedgerError> {
        let (chain, newest, mut reader, mut end) = (self.clone(), self.last_sequence()?, self.reader(), None);
        let numbers = newest.map(|newest| 0..=newest).into_iter().flatten();
        Ok(numbers.map(move |sequence| {
            let hole = || chain.hole(&chain.entry_name(sequence), newest.unwrap_or(sequence));
            let entry = reader.at(sequence)?.ok_or_else(hole)?;
            chain.follows(&entry.begin(), end.as_ref())?;
            end = Some(entry.end());
            Ok(entry)
        }))
    }

    /// Whether `entry` starts where `before` ends, and has its checksum, if it has any. Without
    /// `before` nothing is checked.
    pub(in crate::ledger) fn follows(&self, entry: &Begin, before: Option<&End>) -> Result<(), LedgerError> {
        let Some(before) = before else { return Ok(()) };
        let (chain, path) = (|| self.to_string(), || self.dataset.place(&self.entry_name(entry.sequence)));
        if before.to != entry.from {
            return Err(LedgerError::Broken { chain: chain(), path: path(), expected: before.to, found: entry.from });
        }
        match entry.previous.as_ref().filter(|previous| **previous != before.sha256) {
            Some(previous) => {
                let (expected, found) = (before.sha256.clone(), previous.clone());
                Err(LedgerError::Forked { chain: chain(), path: path(), expected, found })
            }
            None => Ok(()),
        }
    }

    /// Its topic and partition.
    pub(in crate::ledger) fn partition(&self) -> (String, i32) {
        (self.topic.clone(), self.partition)
    }

    /// The prefix of its entries.
    pub(in crate::ledger) fn entries_prefix(&self) -> String {
        let topic = names::topic_folder(&self.topic);
        format!("ledger/{topic}/{}/{}", names::encode(&self.topic_id), names::partition_folder(self.partition))
    }

    /// The name that an entry has, or would have.
    pub(in crate::ledger) fn entry_name(&self, sequence: u64) -> String {
        format!("{}/{}", self.entries_prefix(), names::entry_name(sequence))
    }

    /// Whether there is an entry of that number, in no checkpoint.
    pub(in crate::ledger) fn has_plain(&self, sequence: u64) -> Result<bool, LedgerError> {
        Ok(self.dataset.store().exists(&self.entry_name(sequence))?)
    }

    /// Whether there is an entry of that number.
    pub(in crate::ledger) fn has(&self, sequence: u64) -> Result<bool, LedgerError> {
        Ok(self.has_plain(sequence)? || self.is_covered(sequence)?)
    }

    /// Reads an entry; none if there is none of that number.
    pub(in crate::ledger) fn read(&self, sequence: u64) -> Result<Option<Entry>, LedgerError> {
        self.reader().at(sequence)
    }

    /// Reads an entry that is in no checkpoint.
    pub(in crate::ledger) fn read_plain(&self, sequence: u64) -> Result<Option<Stored>, LedgerError> {
        let name = self.entry_name(sequence);
        match self.dataset.store().read(&name) {
            Err(error) if error.is_not_found() => Ok(None),
            content => {
                let content = content?;
                let entry = self.parse(&self.dataset.place(&name), &content, sequence)?;
                Ok(Some(Stored { entry, content }))
            }
        }
    }

    /// The entry of this number, as it was found at a path.
    pub(in crate::ledger) fn parse(&self, path: &Path, content: &[u8], sequence: u64) -> Result<Entry, LedgerError> {
        let entry = Entry::read(path, content)?;
        let own = (&*self.topic, &*self.topic_id, self.partition, sequence);
        let found = (&*entry.topic, &*entry.topic_id, entry.partition, entry.sequence);
        if found != own || entry.from > entry.to {
            let reason =
                format!("it says that it is {found:?} from {} to {}, its place says {own:?}", entry.from, entry.to);
            return Err(unreadable(path, reason));
        }
        if let Some(other) = entry.dataset.as_ref().filter(|dataset| *dataset != self.dataset.id()) {
            let reason = format!("it is of the dataset with the id {other}, and this one's is {}", self.dataset.id());
            return Err(unreadable(path, reason));
        }
        match entry.impossible() {
            Some(reason) => Err(unreadable(path, reason)),
            None => Ok(entry),
        }
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}
