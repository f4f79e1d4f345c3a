//! A commit: entries of several chains and all their files, step by step, so that they share their fsyncs.
//!
//! The steps carry the names that they have in the protocol's model (`tests/model/ledger_model.rs`): fsync staged files,
//! fsync staging/, link entry (**the commit point**), fsync ledger directory, look for a newer checkpoint, publish, fsync
//! data/ and rejects/, unlink staged names; at times, fold. An entry that fails a step drops out, and the others go on. If it fails after
//! its link, its records are committed all the same: the lane is told of the error, and finds the entry when it recovers.
//!
//! An attempt that failed takes its staged files along, or a full disk would stay full. It may only if no entry can name them:
//! its own was never tried to be linked, or another one stands in its place, or a checkpoint covers its number. A link that was
//! tried may have been made whatever was answered.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::chain::{Chain, Tip};
use super::dataset::{Dataset, json};
use super::entry::Entry;
use super::error::LedgerError;
use super::publish;
use crate::base::failpoint;
use crate::model::names;
use crate::store::StoreError;

/// Commits entries of different chains, and says how each went. Blocks.
pub(in crate::ledger) fn commit(dataset: &Dataset, entries: &[Entry]) -> Vec<Result<Tip, LedgerError>> {
    let disk = dataset.disk();
    let mut batch = Batch::new(dataset, entries);
    // Only a chain's first entry finds no folder.
    let made = disk.make_dirs(batch.paths(|one| vec![one.chain.folder()]));
    batch.step(|one| Ok(made.all([one.chain.folder()])?));
    failpoint::hit("commit.before_write_entry");
    batch.step(|one| Ok(disk.write(&one.temporary, &json(one.entry))?));
    failpoint::hit("commit.before_sync_files");
    let written = |one: &One| if failpoint::planted("commit.no_fsync") { vec![] } else { one.staged_files() };
    let synced = disk.sync_many(batch.paths(written));
    // Swept by another instance before its fsync, or between that and the look at its size: fenced all the same.
    batch.step(|one| {
        one.unless_fenced(synced.all(written(one)).map_err(LedgerError::from).and_then(|()| one.check_sizes()))
    });
    failpoint::hit("commit.before_sync_staging");
    let staging = disk.sync(&disk.path(names::STAGING));
    batch.step(|_| Ok(staging.clone()?));
    if failpoint::planted("commit.publish_first") {
        let _ = publish::publish(dataset, &entries.iter().collect::<Vec<_>>());
    }
    failpoint::hit("commit.before_link");
    // A link leads out of the dataset: refused before anything is committed that would be published there.
    batch.step(|one| one.no_links());
    batch.step(|one| one.link());
    failpoint::hit("commit.after_link");
    let synced = disk.sync_many(batch.paths(|one| vec![one.chain.folder()]));
    batch.step(|one| Ok(synced.all([one.chain.folder()])?));
    failpoint::hit("commit.after_sync_ledger");
    batch.step(|one| one.unless_covered());
    let committed: Vec<&Entry> = batch.all.iter().filter(|one| one.result.is_ok()).map(|one| one.entry).collect();
    let mut published = publish::publish(dataset, &committed).into_iter();
    batch.step(|one| published.next().expect("one result an entry").and_then(|()| Ok(disk.unlink(&one.temporary)?)));
    batch.step(|one| one.fold());
    batch.all.iter().filter(|one| one.result.is_err()).for_each(One::discard);
    failpoint::hit("commit.before_reply");
    batch.all.into_iter().map(|one| one.result.map(|()| Tip::of(one.entry))).collect()
}

/// The entries of a commit.
struct Batch<'a> {
    all: Vec<One<'a>>,
}

/// One entry on its way.
struct One<'a> {
    entry: &'a Entry,
    chain: Chain,
    /// The entry under its name in `staging/`.
    temporary: PathBuf,
    /// Whether its link was tried.
    tried: Cell<bool>,
    result: Result<(), LedgerError>,
}

impl<'a> Batch<'a> {
    fn new(dataset: &Dataset, entries: &'a [Entry]) -> Batch<'a> {
        let one = |entry: &'a Entry| {
            let chain = Chain::of(dataset, entry);
            let name = names::staged(&chain.prefix, entry.sequence, "entry", &names::random(), "json");
            One { entry, chain, temporary: dataset.disk().path(&name), tried: Cell::new(false), result: Ok(()) }
        };
        Batch { all: entries.iter().map(one).collect() }
    }

    /// Takes every entry that is still in through one step.
    fn step(&mut self, mut step: impl FnMut(&One) -> Result<(), LedgerError>) {
        for one in self.all.iter_mut().filter(|one| one.result.is_ok()) {
            one.result = step(one);
        }
    }

    /// The paths of every entry that is still in, each once.
    fn paths(&self, paths: impl Fn(&One) -> Vec<PathBuf>) -> BTreeSet<PathBuf> {
        self.all.iter().filter(|one| one.result.is_ok()).flat_map(paths).collect()
    }
}

impl One<'_> {
    /// Its staged files, and itself.
    fn staged_files(&self) -> Vec<PathBuf> {
        let disk = self.chain.dataset.disk();
        let files = self.entry.files.iter().map(|file| disk.path(&file.staged));
        files.chain([self.temporary.clone()]).collect()
    }

    fn check_sizes(&self) -> Result<(), LedgerError> {
        let disk = self.chain.dataset.disk();
        self.entry
            .files
            .iter()
            .try_for_each(|file| publish::check_size(disk, self.entry, file, &disk.path(&file.staged)))
    }

    /// No folder that its files are to be published in may be a link, nor be reached through one.
    fn no_links(&self) -> Result<(), LedgerError> {
        let disk = self.chain.dataset.disk();
        publish::folders(&self.chain.dataset, self.entry)
            .into_iter()
            .try_for_each(|path| Ok(disk.no_link_on_the_way(&path)?))
    }

    /// The commit point.
    fn link(&self) -> Result<(), LedgerError> {
        let path = self.chain.entry_path(self.entry.sequence);
        self.tried.set(true);
        match self.chain.dataset.disk().link(&self.temporary, &path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match failpoint::planted("fence.ignored") {
                true => Ok(()),
                false => Err(self.fenced()?),
            },
            Err(error) => self.unless_fenced(Err(StoreError::io("link", path)(error).into())),
        }
    }

    /// A staged file that is gone was swept by an instance that found this sequence taken: that is fencing, not damage.
    fn unless_fenced(&self, result: Result<(), LedgerError>) -> Result<(), LedgerError> {
        match result {
            Err(error) if error.is_not_found() && self.chain.has(self.entry.sequence)? => Err(self.fenced()?),
            result => result,
        }
    }

    /// Covered means fenced, because the number was free once entries of it were folded; but not where it is this entry that was
    /// folded: another instance had gone on from it before this one came to look.
    fn unless_covered(&self) -> Result<(), LedgerError> {
        let sequence = self.entry.sequence;
        if !self.chain.is_covered(sequence)? || failpoint::planted("fold.names_freed") {
            return Ok(());
        }
        match self.chain.read(sequence)? {
            Some(entry) if entry == *self.entry => Ok(()),
            _ => Err(self.fenced()?),
        }
    }

    /// Removes what it staged, if it may.
    fn discard(&self) {
        if matches!(self.may_discard(), Ok(true)) {
            for path in self.staged_files() {
                // What stays is swept once the number is taken.
                let _ = self.chain.dataset.disk().unlink(&path);
            }
        }
    }

    /// Whether no entry names its staged files, nor ever will; or they are published.
    fn may_discard(&self) -> Result<bool, LedgerError> {
        let sequence = self.entry.sequence;
        if !self.tried.get() || failpoint::planted("discard.tried") || self.chain.is_covered(sequence)? {
            return Ok(true);
        }
        Ok(self.chain.read_plain(sequence)?.is_some_and(|there| there != *self.entry))
    }

    /// Folds when enough entries have come together.
    fn fold(&self) -> Result<(), LedgerError> {
        match (self.entry.sequence + 1).is_multiple_of(self.chain.dataset.every()) {
            true => self.chain.fold(self.entry.sequence),
            false => Ok(()),
        }
    }

    fn fenced(&self) -> Result<LedgerError, LedgerError> {
        let sequence = self.entry.sequence;
        let winner = self.chain.read(sequence)?.map_or("gone by now".to_owned(), |entry| entry.instance);
        let path = self.chain.entry_path(sequence);
        Ok(LedgerError::Fenced { chain: self.chain.to_string(), sequence, winner, path })
    }
}
