//! Mends what can be mended without a doubt; everything else is left as it is, and named with what a person can do.
//!
//! What it does, and why nothing can be lost or doubled by it:
//!
//! | what is wrong | what is done | why it is safe |
//! |---|---|---|
//! | an entry or a checkpoint is missing or can't be read | the backup's is put in its place | it fits: the backup's entry before it is this ledger's, and the ranges join on both sides |
//! | a file is missing or damaged | the right one is put in its place, from `staging/` or the backup | its SHA-256 is the ledger's |
//! | the newest entry's files are in `staging/` | they are published | a start does the same |
//! | attempts are left in `staging/` | they are swept | a start does the same, by the same rule |
//! | no entry names a file | it is moved aside | readers must not see it, and it can't be a commit under way: those are named by the ledger before they are published |
//!
//! What is in the way is moved to `aside/`, which no reader looks into; nothing is deleted but what recovery deletes. A
//! damaged file gets its second name there *before* the right one takes its first, in one step, so that at no instant a
//! file that the ledger names is gone. So it may run beside a running weir, as a recovery may.
//!
//! The newest entry of a chain leaves no hole when it is gone. So a file that only such an entry can have named is left
//! where it is: it may be all that is left of a commit.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::verify::{Finding, Kind, Report, verify_dataset};
use crate::base::codes::{Code, Coded};
use crate::ledger::protocol::chain::Chain;
use crate::ledger::protocol::columns::Columns;
use crate::ledger::protocol::dataset::{Dataset, refuse_all_strange};
use crate::ledger::protocol::entry::{End, Entry, FileEntry};
use crate::ledger::protocol::error::LedgerError;
use crate::ledger::protocol::publish;
use crate::model::names;
use crate::store::{Claim, Readers, Store, StoreError};

/// Where what was in the way is moved to.
const ASIDE: &str = "aside";

/// What was done, and what is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The dataset's folder.
    pub folder: PathBuf,
    /// What was done, in order; what would be done, where that was asked.
    pub actions: Vec<Action>,
    /// What is left.
    pub left: Vec<Left>,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// To which file, relative to the dataset's folder.
    pub path: String,
    /// Where what was in the way is now, relative to the dataset's folder.
    pub aside: Option<String>,
    /// Why it is safe.
    pub why: &'static str,
}

/// Kinds of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// An entry was put back.
    RestoreEntry,
    /// A file was put back from the backup.
    RestoreFile,
    /// A file was put in its place from `staging/`.
    Publish,
    /// What a crash or a fenced attempt left was removed from `staging/`.
    Sweep,
    /// A file that no entry names was moved aside.
    MoveAside,
}

/// What could not be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The difference.
    #[serde(flatten)]
    pub finding: Finding,
    /// Why it was left, and what a person can do.
    pub way_out: String,
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A ledger can't be read, or a disk fails.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The backup is of something else.
    #[error(
        "{} is no backup of {}: its dataset.json has another id ({found}, not {expected}). A backup is a copy of this very \
         dataset, as `weir backup` makes it",
        .backup.display(), .folder.display()
    )]
    OtherBackup {
        /// The dataset's folder.
        folder: PathBuf,
        /// The backup's folder.
        backup: PathBuf,
        /// The dataset's id.
        expected: String,
        /// The backup's id.
        found: String,
    },
}

impl Coded for RepairError {
    fn code(&self) -> Code {
        match self {
            RepairError::Ledger(error) => error.code(),
            RepairError::OtherBackup { .. } => Code::RepairOtherBackup,
        }
    }
}

impl Kind {
    /// What a person can do about it.
    pub fn way_out(self) -> &'static str {
        match self {
            Kind::MissingEntry | Kind::UnreadableEntry => {
                "`weir repair FILE --from BACKUP` puts entries back from a backup"
            }
            Kind::MissingFile => {
                "`weir repair FILE` puts it in place if it is in staging/, `--from BACKUP` if it is in a backup"
            }
            Kind::Size | Kind::Checksum => {
                "`weir repair FILE --from BACKUP` moves it aside and puts the right one in its place"
            }
            Kind::UnknownFile => "`weir repair FILE` moves it aside if it can't be what is left of a commit",
            Kind::UnreadableColumns => {
                "put it back from a backup by hand; version 0 can be moved away: the next start makes it again from dataset.json"
            }
            Kind::BrokenRange | Kind::OtherHistory | Kind::Counts | Kind::Path => {
                "somebody changed an entry, or one is of another copy of the dataset: restore the dataset from a backup"
            }
            Kind::ShorterThanBackup => {
                "this dataset is older than the backup, or its newest entries are gone: if it hasn't gone on by itself since, put \
                 the whole backup in its place"
            }
            Kind::Parquet | Kind::Rows | Kind::Schema => {
                "the file is the one that was committed, so the ledger was changed, or this is a bug in weir: please report it"
            }
        }
    }
}

/// Mends the dataset in a folder, with what a backup of it has; with `dry_run` it only says what it would do. Blocks.
///
/// # Errors
/// When the folder holds no dataset, the backup is of another one, or a disk fails.
pub fn repair(folder: &Path, backup: Option<&Path>, dry_run: bool) -> Result<Repair, RepairError> {
    let dataset = Dataset::existing(folder)?;
    let backup = backup.map(Dataset::existing).transpose()?;
    if let Some(backup) = backup.as_ref().filter(|backup| backup.id() != dataset.id()) {
        return Err(RepairError::OtherBackup {
            folder: dataset.folder().to_owned(),
            backup: backup.folder().to_owned(),
            expected: dataset.id().to_owned(),
            found: backup.id().to_owned(),
        });
    }
    // What a link leads to may be committed, and looks like nothing that the ledger names.
    for whole in std::iter::once(&dataset).chain(&backup) {
        refuse_all_strange(whole.store())?;
    }
    let report = Repair { folder: dataset.folder().to_owned(), ..Repair::default() };
    let mut mender = Mender { dataset, backup, dry_run, report };
    mender.entries()?;
    let mut found = verify_dataset(Dataset::existing(folder)?)?;
    found.findings.extend(mender.shorter()?);
    mender.files(&found.findings)?;
    mender.unknown(&found.findings)?;
    if found.staged > 0 || !found.unpublished.is_empty() {
        mender.staging(&found)?;
    }
    mender.left(found.findings);
    Ok(mender.report)
}

struct Mender {
    dataset: Dataset,
    backup: Option<Dataset>,
    dry_run: bool,
    report: Repair,
}

impl Mender {
    /// Puts entries back that are missing between others, or can't be read.
    fn entries(&mut self) -> Result<(), LedgerError> {
        let Some(backup) = self.backup.clone() else { return Ok(()) };
        // All are looked at before anything is changed: one of a newer weir may be among them. Damage is for later.
        let read = self.dataset.topics().map(drop).and_then(|()| Columns::read_all(self.dataset.store()).map(drop));
        unless_damaged(read)?;
        let chains = self.dataset.chains()?.0;
        let runs = chains.iter().map(bad_runs).collect::<Result<Vec<_>, _>>()?;
        for (chain, runs) in chains.into_iter().zip(runs) {
            let copy = chain.in_dataset(&backup);
            for run in runs {
                for (name, piece) in fitting(&chain, &copy, run).unwrap_or_default() {
                    let in_the_way = self.dataset.store().exists(&name)?;
                    let aside = match &piece {
                        Piece::Entry(line) => self.put(&name, Content::Bytes(line), in_the_way)?,
                        Piece::Checkpoint => self.put(&name, Content::File(backup.store(), &name), in_the_way)?,
                    };
                    let why = "the backup's entry before it is the same as here, and the ranges join on both sides";
                    self.did(ActionKind::RestoreEntry, name, aside, why);
                }
            }
        }
        Ok(())
    }

    /// Puts files in place that are missing or damaged.
    fn files(&mut self, findings: &[Finding]) -> Result<(), LedgerError> {
        let kinds = [Kind::MissingFile, Kind::Size, Kind::Checksum];
        let wanted = findings.iter().filter(|finding| kinds.contains(&finding.kind));
        let wanted: HashSet<&str> = wanted.map(|finding| &*finding.path).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for (entry, file) in named(&self.dataset, &wanted)? {
            let Some((source, from_backup)) = self.source(&entry, &file) else { continue };
            let dataset = self.dataset.clone();
            if from_backup && dataset.store().exists(&file.staged)? {
                // Recovery would want to publish it.
                let aside = self.move_aside(&file.staged)?;
                self.did(ActionKind::MoveAside, file.staged.clone(), Some(aside), "it is not what the ledger says");
            }
            let in_the_way = dataset.store().exists(&file.path)?;
            let of = self.backup.as_ref().filter(|_| from_backup).unwrap_or(&dataset);
            let aside = self.put(&file.path, Content::File(of.store(), &source), in_the_way)?;
            let (kind, why) = if from_backup {
                (ActionKind::RestoreFile, "the backup's file has the size and the SHA-256 that the ledger says")
            } else {
                (ActionKind::Publish, "the file in staging/ has the size and the SHA-256 that the ledger says")
            };
            self.did(kind, file.path.clone(), aside, why);
        }
        Ok(())
    }

    /// The name of a file that is what the ledger says, and whether it is the backup's.
    fn source(&self, entry: &Entry, file: &FileEntry) -> Option<(String, bool)> {
        let own = [(&self.dataset, &file.staged, false)];
        let backup = self.backup.iter().flat_map(|backup| [&file.path, &file.staged].map(|name| (backup, name, true)));
        own.into_iter()
            .chain(backup)
            .find(|(of, name, _)| publish::check_whole(of.store(), entry, file, name).is_ok())
            .map(|(_, name, from_backup)| (name.clone(), from_backup))
    }

    /// Moves files aside that no entry names, as long as no entry is missing that may have named them.
    fn unknown(&mut self, findings: &[Finding]) -> Result<(), LedgerError> {
        if findings.iter().any(|finding| finding.kind.is_of_an_entry()) {
            return Ok(());
        }
        let tips = self.tips()?;
        for finding in findings.iter().filter(|finding| finding.kind == Kind::UnknownFile && finding.entry.is_none()) {
            let name = finding.path.rsplit('/').next().unwrap_or_default();
            if !in_a_tree(&finding.path) || may_be_a_commit(&finding.path, &tips) || names::is_of_another_chain(name) {
                continue;
            }
            // One whose name is no text can't be found under what is shown of it.
            if !self.dataset.store().exists(&finding.path)? {
                continue;
            }
            let aside = self.move_aside(&finding.path)?;
            let why = "the ledger has every entry, was read after the folder, and names it nowhere";
            self.did(ActionKind::MoveAside, finding.path.clone(), Some(aside), why);
        }
        Ok(())
    }

    /// Does what a start does: publishes the newest entries' files, and sweeps.
    fn staging(&mut self, found: &Report) -> Result<(), LedgerError> {
        let done: HashSet<String> = self.report.actions.iter().map(|action| action.path.clone()).collect();
        let left = found.findings.iter().map(|finding| &finding.path).filter(|path| !done.contains(*path));
        let left: HashSet<&String> = left.collect();
        for chain in self.dataset.chains()?.0 {
            // What is damaged is among the findings.
            let newest = unless_damaged(chain.newest_after(None))?.flatten();
            // To publish looks at sizes only.
            let whole = |last: &Entry| !last.files.iter().any(|file| left.contains(&file.path));
            let Some(last) = newest.filter(whole) else { continue };
            let Some(sweep) = unless_damaged(chain.sweepable(&last))? else { continue };
            if !self.dry_run && unless_damaged(chain.recover())?.is_none() {
                continue;
            }
            let published = |file: &&FileEntry| found.unpublished.contains(&file.path) && !done.contains(&file.path);
            for file in last.files.iter().filter(published) {
                let why = "the newest entry names it; the next start would do the same";
                self.did(ActionKind::Publish, file.path.clone(), None, why);
            }
            for name in sweep {
                let why = "its number has an entry that doesn't name it, or it is published; the next start would do the same";
                self.did(ActionKind::Sweep, format!("{}/{name}", names::STAGING), None, why);
            }
        }
        Ok(())
    }

    /// What nothing was done about.
    fn left(&mut self, findings: Vec<Finding>) {
        let done: HashSet<String> = self.report.actions.iter().map(|action| action.path.clone()).collect();
        for finding in findings.into_iter().filter(|finding| !done.contains(&finding.path)) {
            let way_out = self.way_out(&finding);
            self.report.left.push(Left { finding, way_out });
        }
    }

    fn way_out(&self, finding: &Finding) -> String {
        let backup = self.backup.is_some();
        match finding.kind {
            Kind::MissingEntry | Kind::UnreadableEntry if backup => {
                "the backup has no entry that fits between its neighbours; try another backup, or restore the dataset from one"
            }
            Kind::MissingFile | Kind::Size | Kind::Checksum if backup => {
                "the backup doesn't have the file whole either (a linked file shares its bytes); try another one. Without any, \
                 write a new dataset (another `name`) from what Kafka still has"
            }
            Kind::UnknownFile if in_a_tree(&finding.path) => {
                "it may be what is left of a commit whose entry is missing: mend the ledger first, with `--from` a newer backup. \
                 If there is none, move it out of the dataset by hand: weir reads its records again, if Kafka still has them"
            }
            Kind::UnknownFile => "weir makes no such file in ledger/: look where it comes from, and move it away by hand",
            kind => kind.way_out(),
        }
        .to_owned()
    }

    /// Chains that end earlier here than in the backup: nothing but a newer copy tells that newest entries are gone.
    fn shorter(&self) -> Result<Vec<Finding>, LedgerError> {
        let Some(backup) = &self.backup else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for copy in backup.chains()?.0 {
            let own = copy.in_dataset(&self.dataset);
            let (newest, here) = (copy.listing()?.last(), own.listing()?.last());
            if newest > here {
                found.push(Finding {
                    kind: Kind::ShorterThanBackup,
                    path: own.entry_name(here.map_or(0, |here| here + 1)),
                    entry: None,
                    expected: format!("entries up to {}, as in the backup", newest.unwrap_or_default()),
                    found: "the chain ends before".to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// The newest entry's number of each chain.
    fn tips(&self) -> Result<BTreeMap<(String, i32), u64>, LedgerError> {
        let mut tips = BTreeMap::new();
        for chain in self.dataset.chains()?.0 {
            if let Some(newest) = chain.last_sequence()? {
                tips.insert(chain.partition(), newest);
            }
        }
        Ok(tips)
    }

    /// Gives a file its name in the dataset. One that is `damaged` gets another name in `aside/` first, which is returned.
    fn put(&self, name: &str, content: Content<'_>, damaged: bool) -> Result<Option<String>, LedgerError> {
        let store = self.dataset.store();
        let aside = damaged.then(|| self.set_aside(name)).transpose()?;
        if self.dry_run {
            return Ok(aside);
        }
        store.make_room_for(name)?;
        let temporary = format!("{}/repair.{}.tmp", names::STAGING, names::random());
        store.make_room_for(&temporary)?;
        match content {
            Content::Bytes(bytes) => store.write(&temporary, bytes, Readers::All)?,
            Content::File(of, source) => store.copy_from(of, source, &temporary)?,
        }
        store.make_one_durable(&temporary)?;
        if damaged {
            store.replace(&temporary, name)?;
        } else {
            // Where it is taken, a running weir has published it meanwhile, or written an entry of this number.
            let _: Claim = store.publish(&temporary, name)?;
            store.discard(&temporary)?;
        }
        store.settle_one(name)?;
        Ok(aside)
    }

    /// Gives a file a second name in `aside/`, durably.
    fn set_aside(&self, name: &str) -> Result<String, LedgerError> {
        let store = self.dataset.store();
        let aside = format!("{ASIDE}/{name}.{}", names::random());
        if !self.dry_run {
            store.make_room_for(&aside)?;
            if store.publish(name, &aside)? == Claim::Taken {
                let taken = io::ErrorKind::AlreadyExists.into();
                return Err(StoreError::io("link", store.place(&aside))(taken).into());
            }
            store.settle_one(&aside)?;
        }
        Ok(aside)
    }

    /// Moves a file to `aside/`.
    fn move_aside(&self, name: &str) -> Result<String, LedgerError> {
        let aside = self.set_aside(name)?;
        if !self.dry_run {
            self.dataset.store().discard(name)?;
            self.dataset.store().settle_one(name)?;
        }
        Ok(aside)
    }

    fn did(&mut self, kind: ActionKind, path: String, aside: Option<String>, why: &'static str) {
        self.report.actions.push(Action { kind, path, aside, why });
    }
}

/// What a file is made of.
enum Content<'a> {
    Bytes(&'a [u8]),
    /// A name, in a store.
    File(&'a dyn Store, &'a str),
}

impl Kind {
    /// Whether an entry is not there, or not what it was: then what the ledger names isn't known.
    fn is_of_an_entry(self) -> bool {
        matches!(
            self,
            Kind::MissingEntry
                | Kind::UnreadableEntry
                | Kind::BrokenRange
                | Kind::OtherHistory
                | Kind::Counts
                | Kind::Path
                | Kind::ShorterThanBackup
        )
    }
}

/// Nothing where the ledger is damaged; any other error is one.
fn unless_damaged<T>(result: Result<T, LedgerError>) -> Result<Option<T>, LedgerError> {
    match result {
        Err(
            LedgerError::Hole { .. }
            | LedgerError::Broken { .. }
            | LedgerError::Forked { .. }
            | LedgerError::Unreadable { .. }
            | LedgerError::Store(StoreError::Strange { .. })
            | LedgerError::FileLost { .. }
            | LedgerError::FileDiffers { .. },
        ) => Ok(None),
        result => result.map(Some),
    }
}

/// A part of a chain.
enum Piece {
    /// An entry's bytes.
    Entry(Vec<u8>),
    /// The backup has it under the same name.
    Checkpoint,
}

/// Entries that may be missing next to each other.
const GAP_MAX: u64 = 10_000_000;

/// Numbers of a chain's entries that are missing or can't be read, next to each other. Of a checkpoint that can't be read to
/// its end, all are.
fn bad_runs(chain: &Chain) -> Result<Vec<RangeInclusive<u64>>, LedgerError> {
    let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
    let mut bad = |units: RangeInclusive<u64>| match runs.last_mut() {
        Some(run) if *run.end() + 1 == *units.start() => *run = *run.start()..=*units.end(),
        _ => runs.push(units),
    };
    let listing = chain.listing()?;
    let Some(last) = listing.last() else { return Ok(runs) };
    let folded = listing.checkpoints.last().map_or(0, |last| last + 1);
    let every = chain.dataset.every();
    let (mut next, mut in_gap) = (0, false);
    while next <= last {
        // The numbers of one file.
        let unit = if next < folded { next..=next + every - 1 } else { next..=next };
        let mut reader = chain.reader();
        let mut there = |whole, sequence| Ok::<_, LedgerError>(whole && is_there(reader.at(sequence))?);
        let whole = unit.clone().try_fold(true, &mut there)?;
        next = unit.end() + 1;
        if !whole {
            bad(unit);
            // After a gap that no backup fills comes the name of a stray file.
            let after = if in_gap { None } else { chain.first_from(&listing, next)? };
            if after.is_some_and(|after| after - next > GAP_MAX) {
                break;
            }
        }
        in_gap = !whole;
    }
    Ok(runs)
}

fn is_there(read: Result<Option<Entry>, LedgerError>) -> Result<bool, LedgerError> {
    match read {
        Ok(None) | Err(LedgerError::Unreadable { .. } | LedgerError::Store(StoreError::Strange { .. })) => Ok(false),
        Ok(Some(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A backup's pieces for these numbers, each with its name, if they fit in.
///
/// The entry before them must be the same in both, so that they are of one history, and the ranges must join. Where there is
/// none before, the one after them must join; and where there is neither, nothing tells.
fn fitting(chain: &Chain, copy: &Chain, run: RangeInclusive<u64>) -> Option<Vec<(String, Piece)>> {
    let entry = |chain: &Chain, sequence| chain.read(sequence).ok().flatten();
    let before = match run.start().checked_sub(1) {
        Some(number) => {
            let before = entry(chain, number)?;
            Some(entry(copy, number).filter(|copied| *copied == before)?)
        }
        None => None,
    };
    let after = chain.read(*run.end() + 1).ok()?;
    if before.is_none() && after.is_none() {
        return None;
    }
    let every = chain.dataset.every();
    let folded = chain.listing().ok()?.checkpoints.last().map_or(0, |last| last + 1);
    let (mut reader, mut end, mut found) = (copy.reader(), before.map(|before| before.end()), Vec::new());
    let follows = |entry: &Entry, end: Option<&End>| chain.follows(&entry.begin(), end).is_ok();
    for sequence in run {
        let stored = reader.stored(sequence).ok().flatten().filter(|stored| follows(&stored.entry, end.as_ref()))?;
        end = Some(stored.entry.end());
        if sequence >= folded {
            found.push((chain.entry_name(sequence), Piece::Entry(stored.line())));
        } else if sequence % every == 0 {
            // Entries at covered numbers don't exist, so only the whole checkpoint will do.
            copy.is_covered(sequence).ok().filter(|covered| *covered)?;
            found.push((chain.checkpoint_name(sequence / every), Piece::Checkpoint));
        }
    }
    after.is_none_or(|after| follows(&after, end.as_ref())).then_some(found)
}

/// The files of these paths, with the entries that name them. What can't be read names nothing.
fn named(dataset: &Dataset, wanted: &HashSet<&str>) -> Result<Vec<(Entry, FileEntry)>, LedgerError> {
    let mut found = Vec::new();
    for chain in dataset.chains()?.0 {
        let listing = chain.listing()?;
        let Some(last) = listing.last() else { continue };
        let (mut reader, mut sequence) = (chain.reader(), 0);
        while sequence <= last {
            match unless_damaged(reader.at(sequence))? {
                Some(Some(entry)) => {
                    let files = entry.files.iter().filter(|file| wanted.contains(&*file.path)).cloned();
                    found.extend(files.map(|file| (entry.clone(), file)));
                    sequence += 1;
                }
                // No more of a checkpoint can be read.
                None if chain.is_covered(sequence)? => {
                    let every = dataset.every();
                    (reader, sequence) = (chain.reader(), (sequence / every + 1) * every);
                }
                Some(None) => sequence = chain.first_from(&listing, sequence + 1)?.unwrap_or(last + 1),
                None => sequence += 1,
            }
        }
    }
    Ok(found)
}

fn in_a_tree(path: &str) -> bool {
    ["data/", "rejects/", "late/"].iter().any(|tree| path.starts_with(tree))
}

/// Whether its name is one that a commit after a chain's newest entry would have, or one of a chain that isn't there.
fn may_be_a_commit(path: &str, tips: &BTreeMap<(String, i32), u64>) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((topic, partition, sequence)) = names::published(name) else { return false };
    let of = tips.iter().filter(|((known, number), _)| names::file_topic(known) == topic && *number == partition);
    // Long topics may have names that begin alike: then it may be of any of them.
    of.clone().count() == 0 || of.into_iter().any(|(_, newest)| sequence > *newest)
}
