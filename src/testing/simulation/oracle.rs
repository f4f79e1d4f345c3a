//! What must hold at every step, watched from outside: the oracle sees each name that is made or removed in the dataset, and
//! what the lanes report. It knows nothing of how the code works.
//!
//! - A chain has no hole, its ranges are contiguous, and each entry's counts and windows are those of an undisturbed run.
//! - `data/`, `rejects/` and `late/` hold whole files only, and only such as an entry names at this instant.
//! - An entry that another one follows has all its files there; a checkpoint holds the entries that it covers, as they were.
//! - What was reported is never lost: there, durable, with its files, whatever a power failure may take.
//! - At the end every record is in one file of its class, once, and in its window; nothing is left to sweep.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use flate2::read::GzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use super::Violation;
use super::disk::State;
use super::world::{Class, ROOT, TOPIC, TOPIC_ID, World};
use crate::ledger::{Entry, FileEntry};
use crate::model::Side;
use crate::model::names::hex;

/// Something that others can see.
#[derive(Debug)]
pub(super) enum Event {
    /// A name was made.
    Linked(String),
    /// A name was removed.
    Unlinked(String),
    /// A lane says that all below this position is committed.
    Reported { partition: i32, to: i64 },
}

#[derive(Debug)]
pub(super) struct Oracle {
    world: Arc<World>,
    chains: Vec<Chain>,
    /// Files that entries name, by path, and whether they are there.
    named: BTreeMap<String, Named>,
    pub(super) commits: u64,
    pub(super) folds: u64,
}

#[derive(Debug, Default)]
struct Chain {
    entries: Vec<Entry>,
    /// How many of them checkpoints cover.
    covered: u64,
    reported: i64,
}

#[derive(Debug)]
struct Named {
    file: FileEntry,
    published: bool,
}

/// What a path in the dataset is.
enum Place<'a> {
    Entry(usize, u64),
    /// By the last entry that it covers.
    Checkpoint(usize, u64),
    File(&'a str),
    Other,
}

type Checked = Result<(), Violation>;

fn wrong(text: impl Into<String>) -> Checked {
    Err(Violation(text.into()))
}

fn place(path: &str) -> Place<'_> {
    let Some(path) = path.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')) else { return Place::Other };
    if let Some(name) = path.strip_prefix(&format!("ledger/{TOPIC}/{TOPIC_ID}/")) {
        let number = |text: &str| text.parse().ok();
        let Some((partition, name)) = name.split_once('/') else { return Place::Other };
        let (Ok(partition), Some((digits, kind))) = (partition.parse(), name.split_once('.')) else {
            return Place::Other;
        };
        return match (number(digits), kind) {
            (Some(sequence), "json") => Place::Entry(partition, sequence),
            (Some(last), "checkpoint.jsonl.gz") => Place::Checkpoint(partition, last),
            _ => Place::Other,
        };
    }
    let sides = [Side::Data, Side::Rejects, Side::Late];
    let inside = sides.iter().any(|side| path.starts_with(&format!("{}/", side.folder())));
    if inside { Place::File(path) } else { Place::Other }
}

fn at(path: &str) -> String {
    format!("{ROOT}/{path}")
}

fn entry_path(partition: usize, sequence: u64) -> String {
    at(&format!("ledger/{TOPIC}/{TOPIC_ID}/{partition}/{sequence:020}.json"))
}

fn checkpoint_path(partition: usize, last: u64) -> String {
    at(&format!("ledger/{TOPIC}/{TOPIC_ID}/{partition}/{last:020}.checkpoint.jsonl.gz"))
}

impl Oracle {
    pub(super) fn new(world: &Arc<World>) -> Oracle {
        let chains = (0..world.config.partitions).map(|_| Chain::default()).collect();
        Oracle { world: world.clone(), chains, named: BTreeMap::new(), commits: 0, folds: 0 }
    }

    /// Whether everything in the log is committed.
    pub(super) fn is_at_end(&self) -> bool {
        let ends = self.chains.iter().zip(&self.world.logs);
        ends.into_iter().all(|(chain, log)| chain.entries.last().is_some_and(|entry| entry.to == log.end))
    }

    pub(super) fn see(&mut self, event: &Event, state: &State) -> Checked {
        match event {
            Event::Linked(path) => match place(path) {
                Place::Entry(partition, sequence) => self.entry(partition, sequence, state),
                Place::Checkpoint(partition, last) => self.checkpoint(partition, last, state),
                Place::File(name) => self.published(name, state),
                Place::Other => Ok(()),
            },
            Event::Unlinked(path) => match place(path) {
                Place::Entry(partition, sequence) if sequence < self.chains[partition].covered => Ok(()),
                Place::Other => self.unlinked(path),
                _ => wrong(format!("{path} is removed")),
            },
            Event::Reported { partition, to } => self.reported(usize::try_from(*partition).unwrap_or(0), *to, state),
        }
    }

    fn entry(&mut self, partition: usize, sequence: u64, state: &State) -> Checked {
        let chain = &self.chains[partition];
        // At a number that is covered it doesn't exist.
        if sequence < chain.covered {
            return Ok(());
        }
        if sequence != chain.entries.len() as u64 {
            return wrong(format!("entry {sequence} of {partition} follows {}", chain.entries.len()));
        }
        let entry = read_entry(&entry_path(partition, sequence), state)?;
        // Of the bytes as they are, not of what was read of them.
        let line = state.content(&entry_path(partition, sequence)).unwrap_or_default();
        let before_the_seal = line.len().saturating_sub(r#","sha256":""}"#.len() + 64 + 1);
        if entry.sha256 != Some(hex(&Sha256::digest(&line[..before_the_seal]))) {
            return wrong(format!("entry {sequence} of {partition} has another checksum than its bytes"));
        }
        if chain.entries.iter().any(|other| other.attempt == entry.attempt) {
            return wrong(format!("entry {sequence} of {partition} has another one's attempt"));
        }
        if let Some(before) = chain.entries.last() {
            if entry.previous != before.sha256 {
                return wrong(format!(
                    "entry {sequence} of {partition} was written after another one than stands before it"
                ));
            }
            if before.to != entry.from {
                return wrong(format!("entry {sequence} is from {}, the one before to {}", entry.from, before.to));
            }
            if let Some(file) = before.files.iter().find(|file| !self.is_published(file)) {
                return wrong(format!("entry {sequence} of {partition} is made, but {} is not published", file.path));
            }
        }
        let reference = &self.world.logs[partition].reference;
        if entry.window != *reference.state(entry.to) || entry.counts != reference.counts(entry.from, entry.to) {
            return wrong(format!("entry {sequence} of {partition} has other counts or windows: {entry:?}"));
        }
        for file in &entry.files {
            if state.content(&at(&file.staged)).is_none() {
                return wrong(format!("entry {sequence} of {partition} names {}, which is not there", file.staged));
            }
            let named = Named { file: file.clone(), published: false };
            if self.named.insert(file.path.clone(), named).is_some() {
                return wrong(format!("{} is named twice", file.path));
            }
        }
        self.chains[partition].entries.push(entry);
        self.commits += 1;
        Ok(())
    }

    fn is_published(&self, file: &FileEntry) -> bool {
        self.named.get(&file.path).is_some_and(|named| named.published)
    }

    fn checkpoint(&mut self, partition: usize, last: u64, state: &State) -> Checked {
        let chain = &self.chains[partition];
        let path = checkpoint_path(partition, last);
        let first = chain.covered;
        if last + 1 != first + self.world.config.every || last >= chain.entries.len() as u64 {
            return wrong(format!("checkpoint {last} of {partition} follows {first}"));
        }
        let mut text = String::new();
        let content = state.content(&path).unwrap_or_default();
        GzDecoder::new(content).read_to_string(&mut text).map_err(|error| Violation(format!("{path}: {error}")))?;
        let entries: Result<Vec<Entry>, _> = text.lines().map(serde_json::from_str).collect();
        let covered = &chain.entries[usize::try_from(first).unwrap_or(0)..=usize::try_from(last).unwrap_or(0)];
        if entries.map_err(|error| Violation(format!("{path}: {error}")))? != covered {
            return wrong(format!("checkpoint {last} of {partition} doesn't hold the entries that it covers"));
        }
        if let Some(file) = covered.iter().flat_map(|entry| &entry.files).find(|file| !self.is_published(file)) {
            return wrong(format!("checkpoint {last} of {partition} covers {}, which is not published", file.path));
        }
        self.chains[partition].covered = last + 1;
        self.folds += 1;
        Ok(())
    }

    fn published(&mut self, name: &str, state: &State) -> Checked {
        let Some(named) = self.named.get_mut(name) else {
            return wrong(format!("{name} is there, and no entry names it"));
        };
        let content = state.content(&at(name)).unwrap_or_default();
        if content.len() as u64 != named.file.bytes || hex(&Sha256::digest(content)) != named.file.sha256 {
            return wrong(format!("{name} is not the file that its entry names"));
        }
        named.published = true;
        Ok(())
    }

    /// A staged name goes: its file must have its other name.
    fn unlinked(&self, path: &str) -> Checked {
        let staged = |chain: &Chain| {
            let last = chain.entries.last()?;
            last.files.iter().find(|file| at(&file.staged) == path && !self.is_published(file)).cloned()
        };
        match self.chains.iter().find_map(staged) {
            Some(file) => wrong(format!("{path} is removed before {} is published", file.path)),
            None => Ok(()),
        }
    }

    /// **Invariant:** what is reported is durable, entries and files, whatever a power failure may take.
    fn reported(&mut self, partition: usize, to: i64, state: &State) -> Checked {
        let chain = &self.chains[partition];
        if chain.entries.last().is_none_or(|entry| entry.to < to) {
            return wrong(format!("{partition} is reported to {to}, and no entry has it"));
        }
        let news = chain.entries.iter().filter(|entry| entry.to <= to && entry.to > chain.reported);
        for entry in news {
            let sequence = entry.sequence;
            let every = self.world.config.every;
            let checkpoint = checkpoint_path(partition, sequence / every * every + every - 1);
            if !state.is_durable(&entry_path(partition, sequence)) && !state.is_durable(&checkpoint) {
                return wrong(format!("entry {sequence} of {partition} is reported, and a power failure may take it"));
            }
            for file in &entry.files {
                if !state.is_durable(&at(&file.path)) {
                    return wrong(format!("{} is reported, and a power failure may take it", file.path));
                }
            }
        }
        let chain = &mut self.chains[partition];
        chain.reported = chain.reported.max(to);
        Ok(())
    }

    /// After a power failure: looks at all of the disk.
    pub(super) fn look_again(&mut self, state: &State) -> Checked {
        for partition in 0..self.chains.len() {
            self.look_at_chain(partition, state)?;
        }
        for side in [Side::Data, Side::Rejects, Side::Late] {
            let folder = at(side.folder());
            for path in state.files_below(&folder) {
                let name = path.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')).unwrap_or(&path);
                if !self.named.contains_key(name) {
                    return wrong(format!("{name} is left of a power failure, and no entry names it"));
                }
                if !state.is_whole(&path) {
                    return wrong(format!("{name} is damaged by a power failure"));
                }
            }
        }
        Ok(())
    }

    fn look_at_chain(&mut self, partition: usize, state: &State) -> Checked {
        let every = self.world.config.every;
        let chain = &mut self.chains[partition];
        let mut covered = 0;
        while state.content(&checkpoint_path(partition, covered + every - 1)).is_some() {
            covered += every;
            if !state.is_whole(&checkpoint_path(partition, covered - 1)) {
                return wrong(format!("checkpoint {} of {partition} is damaged by a power failure", covered - 1));
            }
        }
        if covered > chain.covered {
            return wrong(format!("{partition} has more checkpoints than were made"));
        }
        chain.covered = covered;
        let mut left = covered;
        while state.content(&entry_path(partition, left)).is_some() {
            if read_entry(&entry_path(partition, left), state).ok().as_ref()
                != chain.entries.get(usize::try_from(left).unwrap_or(0))
            {
                return wrong(format!("entry {left} of {partition} is damaged by a power failure"));
            }
            left += 1;
        }
        let had = chain.entries.len() as u64;
        if let Some(later) = (left..had).find(|later| state.content(&entry_path(partition, *later)).is_some()) {
            return wrong(format!("entry {left} of {partition} is lost by a power failure, entry {later} is not"));
        }
        for entry in chain.entries.drain(usize::try_from(left).unwrap_or(0)..) {
            for file in entry.files {
                self.named.remove(&file.path);
            }
        }
        if chain.entries.last().map_or(0, |entry| entry.to) < chain.reported {
            return wrong(format!("{partition} was reported to {}, and a power failure has taken it", chain.reported));
        }
        for (entry, next) in chain.entries.iter().map(|entry| (entry, entry.sequence + 1)) {
            for file in &entry.files {
                let published = state.content(&at(&file.path)).is_some();
                if !published && next < left {
                    return wrong(format!("{} is taken by a power failure, and its entry is not the last", file.path));
                }
                if !published && !state.is_whole(&at(&file.staged)) {
                    return wrong(format!("{} and its staged file are taken by a power failure", file.path));
                }
                self.named.get_mut(&file.path).expect("its entry is there").published = published;
            }
        }
        Ok(())
    }

    /// After the last instance came to the end of the log, and a start after that: reads everything.
    pub(super) fn end(&self, state: &State) -> Checked {
        for (partition, chain) in self.chains.iter().enumerate() {
            let log = &self.world.logs[partition];
            if chain.entries.last().is_none_or(|entry| entry.to != log.end) {
                return wrong(format!("{partition} ends before {}", log.end));
            }
            let mut left = log.reference.classes.clone();
            left.retain(|_, class| *class != Class::Tombstone);
            for file in chain.entries.iter().flat_map(|entry| &entry.files) {
                rows(partition, file, state, &mut left)?;
            }
            if let Some((offset, class)) = left.first_key_value() {
                return wrong(format!("offset {offset} of {partition}, {class:?}, is in no file"));
            }
            for path in state.files_below(&at("staging")) {
                let fields: Vec<&str> = path.split('.').collect();
                if let [_, _, of, sequence, ..] = fields[..]
                    && of.parse() == Ok(partition)
                    && sequence.parse::<usize>().is_ok_and(|sequence| sequence < chain.entries.len())
                {
                    return wrong(format!("{path} is left in staging/"));
                }
            }
        }
        Ok(())
    }
}

fn read_entry(path: &str, state: &State) -> Result<Entry, Violation> {
    serde_json::from_slice(state.content(path).unwrap_or_default())
        .map_err(|error| Violation(format!("{path} is unreadable: {error}")))
}

/// Takes a file's rows from those that are to be found.
fn rows(partition: usize, file: &FileEntry, state: &State, left: &mut BTreeMap<i64, Class>) -> Checked {
    let content = Bytes::copy_from_slice(state.content(&at(&file.path)).unwrap_or_default());
    let unreadable = |error: &dyn std::fmt::Display| Violation(format!("{} is unreadable: {error}", file.path));
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).and_then(|reader| reader.build());
    for batch in reader.map_err(|error| unreadable(&error))? {
        let batch = batch.map_err(|error| unreadable(&error))?;
        let offsets = batch["_kafka_offset"].as_primitive::<Int64Type>().values();
        let partitions = batch["_kafka_partition"].as_primitive::<Int32Type>().values();
        if partitions.iter().any(|of| usize::try_from(*of) != Ok(partition)) {
            return wrong(format!("{} has rows of another partition", file.path));
        }
        for offset in offsets {
            let Some(class) = left.remove(offset) else {
                return wrong(format!("offset {offset} of {partition} is in {}, and elsewhere", file.path));
            };
            let windows = file.windows.as_ref();
            let in_window = match class {
                Class::Row(window) | Class::Late(window) => {
                    windows.is_some_and(|(first, last)| *first <= window && window <= *last)
                }
                _ => windows.is_none(),
            };
            if class.side() != Some(file.side) || !in_window {
                return wrong(format!("offset {offset} of {partition}, {class:?}, is in {}, {windows:?}", file.path));
            }
        }
    }
    Ok(())
}
