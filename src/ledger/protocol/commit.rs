//! A commit: entries of several chains and all their files, step by step, so that they share their
//! fsyncs.
//!
//! The steps carry the names that they have in the protocol's model
//! (`tests/model/ledger_model.rs`): fsync staged files, fsync staging/, link entry (**the commit
//! point**), fsync ledger directory, look for a newer checkpoint, publish, fsync data/ and
//! rejects/, unlink staged names; at times, fold. An entry that fails a step drops out, and the
//! others go on. If it fails after its link, its records are committed all the same: the lane is
//! told of the error, and finds the entry when it recovers.
//!
//! An attempt that failed takes its staged files along, or a full disk would stay full. It may only
//! if no entry can name them: its own was never tried to be linked, or another one stands in its
//! place, or a checkpoint covers its number. A link that was tried may have been made whatever was
//! answered.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::chain::{Chain, Tip};
use super::dataset::Dataset;
use super::entry::Entry;
use super::error::LedgerError;
use super::publish;
use crate::base::failpoint;
use crate::model::names;
use crate::store::{Claim, New, Readers};

/// Commits entries of different chains, and says how each went. Blocks.
pub(in crate::ledger) fn commit(dataset: &Dataset, entries: &[Entry]) -> Vec<Result<Tip, LedgerError>> {
    let store = dataset.store();
    let mut batch = Batch::new(dataset, entries);
    // Only a chain's first entry finds none.
    let room = store.make_room(batch.names(|one| vec![one.name.clone()]));
    batch.step(|one| Ok(room.of(&one.name)?));
    failpoint::hit("commit.before_write_entry");
    batch.step(|one| Ok(one.as_file(|file| store.prepare(file))?));
    failpoint::hit("commit.before_sync_files");
    let unless_planted = |names: Vec<String>| if failpoint::planted("commit.no_fsync") { vec![] } else { names };
    let staged = |one: &One| unless_planted(one.staged());
    let prepared = |one: &One| unless_planted(vec![one.temporary.clone()]);
    let durable = store.make_durable(batch.names(staged), batch.names(prepared));
    let is_durable = |one: &One| Ok(durable.of_all(staged(one).into_iter().chain(prepared(one)))?);
    // Swept by another instance before its fsync, or between that and the look at its size: fenced
    // all the same.
    batch.step(|one| one.unless_fenced(is_durable(one).and_then(|()| one.check_sizes())));
    failpoint::hit("commit.before_sync_staging");
    let staged_names = store.settle(batch.all.iter().map(|one| one.temporary.clone()).collect());
    batch.step(|one| Ok(staged_names.of(&one.temporary)?));
    if failpoint::planted("commit.publish_first") {
        let _ = publish::publish(dataset, &entries.iter().collect::<Vec<_>>());
    }
    failpoint::hit("commit.before_link");
    // What leads out of the dataset is refused before anything is committed that would be published
    // there.
    batch.step(|one| one.check_inside());
    batch.step(|one| one.create());
    failpoint::hit("commit.after_link");
    let created_names = store.settle(batch.names(|one| vec![one.name.clone()]));
    batch.step(|one| Ok(created_names.of(&one.name)?));
    failpoint::hit("commit.after_sync_ledger");
    batch.step(|one| one.unless_covered());
    let committed: Vec<&Entry> = batch.all.iter().filter(|one| one.result.is_ok()).map(|one| one.entry).collect();
    let mut published = publish::publish(dataset, &committed).into_iter();
    batch.step(|one| published.next().expect("one result an entry").and_then(|()| Ok(store.discard(&one.temporary)?)));
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
    /// The entry's name.
    name: String,
    /// Its name in `staging/`.
    temporary: String,
    /// Whether its name was tried.
    tried: Cell<bool>,
    result: Result<(), LedgerError>,
}

impl<'a> Batch<'a> {
    fn new(dataset: &Dataset, entries: &'a [Entry]) -> Batch<'a> {
        let one = |entry: &'a Entry| {
            let chain = Chain::of(dataset, entry);
            let temporary = names::staged(&chain.prefix, entry.sequence, "entry", &names::random(), "json");
            let name = chain.entry_name(entry.sequence);
            One { entry, chain, name, temporary, tried: Cell::new(false), result: Ok(()) }
        };
        Batch { all: entries.iter().map(one).collect() }
    }

    /// Takes every entry that is still in through one step.
    fn step(&mut self, mut step: impl FnMut(&One) -> Result<(), LedgerError>) {
        for one in self.all.iter_mut().filter(|one| one.result.is_ok()) {
            one.result = step(one);
        }
    }

    /// The names of every entry that is still in, each once.
    fn names(&self, names: impl Fn(&One) -> Vec<String>) -> BTreeSet<String> {
        self.all.iter().filter(|one| one.result.is_ok()).flat_map(names).collect()
    }
}

impl One<'_> {
    /// A step with the file that it becomes.
    fn as_file<T>(&self, step: impl FnOnce(&New<'_>) -> T) -> T {
        let content = || self.entry.line();
        step(&New { name: &self.name, temporary: &self.temporary, content: &content, readers: Readers::All })
    }

    /// Its staged files.
    fn staged(&self) -> Vec<String> {
        self.entry.files.iter().map(|file| file.staged.clone()).collect()
    }

    fn check_sizes(&self) -> Result<(), LedgerError> {
        let store = self.chain.dataset.store();
        self.entry.files.iter().try_for_each(|file| publish::check_size(store, self.entry, file, &file.staged))
    }

    /// Nothing on the way to where its files are to be published may lead out of the dataset.
    fn check_inside(&self) -> Result<(), LedgerError> {
        let prefixes: BTreeSet<&str> =
            self.entry.files.iter().filter_map(|file| Some(file.path.rsplit_once('/')?.0)).collect();
        Ok(prefixes.into_iter().try_for_each(|prefix| self.chain.dataset.store().check_inside(prefix, 0))?)
    }

    /// The commit point.
    fn create(&self) -> Result<(), LedgerError> {
        self.tried.set(true);
        match self.as_file(|file| self.chain.dataset.store().create(file)) {
            Ok(Claim::Won) => Ok(()),
            Ok(Claim::Taken) => match failpoint::planted("fence.ignored") {
                true => Ok(()),
                false => Err(self.fenced()?),
            },
            Err(error) => self.unless_fenced(Err(error.into())),
        }
    }

    /// A staged file that is gone was swept by an instance that found this sequence taken: that is
    /// fencing, not damage.
    fn unless_fenced(&self, result: Result<(), LedgerError>) -> Result<(), LedgerError> {
        match result {
            Err(error) if error.is_not_found() && self.chain.has(self.entry.sequence)? => Err(self.fenced()?),
            result => result,
        }
    }

    /// Covered means fenced, because the number was free once entries of it were folded; but not
    /// where it is this entry that was folded: another instance had gone on from it before this one
    /// came to look.
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
            for name in self.staged().iter().chain([&self.temporary]) {
                // What stays is swept once the number is taken.
                let _ = self.chain.dataset.store().discard(name);
            }
        }
    }

    /// Whether no entry names its staged files, nor ever will; or they are published.
    fn may_discard(&self) -> Result<bool, LedgerError> {
        let sequence = self.entry.sequence;
        if !self.tried.get() || failpoint::planted("discard.tried") || self.chain.is_covered(sequence)? {
            return Ok(true);
        }
        Ok(self.chain.read_plain(sequence)?.is_some_and(|there| there.entry != *self.entry))
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
        let path = self.chain.dataset.place(&self.name);
        Ok(LedgerError::Fenced { chain: self.chain.to_string(), sequence, winner, path })
    }
}
