//! How a lane starts: it reads its chain, makes sure of what is there, publishes the newest entry's files, and sweeps.
//!
//! A first start, a restart after a crash, and a fenced lane's next try are all this code. It may be killed anywhere and
//! raced by other instances' recoveries and commits, so every step may find its work done.

use super::chain::{Chain, Tip};
use super::disk::{self, unlink};
use super::entry::Entry;
use super::error::LedgerError;
use super::{names, publish};
use crate::failpoint;

impl Chain {
    /// The end of the chain, from which a lane goes on; none if the partition has no entry yet. Blocks.
    pub fn recover(&self) -> Result<Option<Tip>, LedgerError> {
        let Some(last) = self.read_last()? else {
            return Ok(None);
        };
        failpoint::hit("recover.after_read");
        // What was read may be another process's, and visible only: the lane is about to act on it.
        self.dataset.disk().sync(&self.folder())?;
        failpoint::hit("recover.after_sync_ledger");
        publish::publish(&self.dataset, &[&last]).pop().expect("one entry, one result")?;
        failpoint::hit("recover.before_sweep");
        self.sweep(&last)?;
        failpoint::hit("recover.before_return");
        Ok(Some(Tip::of(&last)))
    }

    /// Whether it has an entry.
    pub(super) fn exists(&self) -> Result<bool, LedgerError> {
        Ok(disk::list(&self.folder())?.iter().any(|name| names::entry_sequence(name).is_some()))
    }

    /// The newest entry for a reader, none if there is none after `known`, the number of one that is there: nothing is made
    /// durable, published or swept, and nothing may be done with it but telling.
    pub(super) fn newest_after(&self, known: Option<u64>) -> Result<Option<Entry>, LedgerError> {
        let Some(mut last) = known.map_or_else(|| self.last_sequence(), |known| Ok(Some(known)))? else {
            return Ok(None);
        };
        while self.entry_path(last + 1).exists() {
            last += 1;
        }
        if known == Some(last) { Ok(None) } else { self.read(last) }
    }

    /// The newest entry. Names only are read of the others; `weir verify` reads them all.
    fn read_last(&self) -> Result<Option<Entry>, LedgerError> {
        let Some(sequence) = self.last_sequence()? else {
            return Ok(None);
        };
        let read = |sequence| self.read(sequence)?.ok_or_else(|| self.hole(sequence, sequence));
        let last = read(sequence)?;
        if let Some(before) = sequence.checked_sub(1) {
            self.follows(&last, Some(read(before)?.to))?;
        }
        Ok(Some(last))
    }

    /// The newest entry's number, provided that none before it is missing.
    pub(super) fn last_sequence(&self) -> Result<Option<u64>, LedgerError> {
        let listed = self.numbers()?;
        // A listing isn't a snapshot: it may show an entry that was made meanwhile and not the one made before it. So what
        // it doesn't show is looked up by name, and so is what follows.
        let is_there = |sequence: u64| self.entry_path(sequence).exists();
        let mut next = 0;
        for sequence in listed {
            if let Some(missing) = (next..sequence).find(|missing| !is_there(*missing)) {
                return Err(self.hole(missing, sequence));
            }
            next = sequence + 1;
        }
        while is_there(next) {
            next += 1;
        }
        Ok(next.checked_sub(1))
    }

    pub(super) fn hole(&self, missing: u64, last: u64) -> LedgerError {
        LedgerError::Hole { chain: self.to_string(), path: self.entry_path(missing), last }
    }

    /// Removes what crashed and fenced attempts left in `staging/`: only files whose sequence has an entry, because an
    /// attempt without one may still be on its way, and only if that entry doesn't name the file or it is durably published.
    fn sweep(&self, last: &Entry) -> Result<(), LedgerError> {
        for name in self.sweepable(last)? {
            failpoint::hit("sweep.before_unlink");
            unlink(&self.dataset.disk().path(names::STAGING).join(name))?;
        }
        Ok(())
    }

    /// The names in `staging/` that may be removed.
    pub(super) fn sweepable(&self, last: &Entry) -> Result<Vec<String>, LedgerError> {
        let (staging, mut found) = (self.dataset.disk().path(names::STAGING), Vec::new());
        for name in disk::list(&staging)? {
            let Some(sequence) =
                names::staged_sequence(&self.prefix, &name).filter(|sequence| *sequence <= last.sequence)
            else {
                continue;
            };
            let entry = self.read(sequence)?.ok_or_else(|| self.hole(sequence, last.sequence))?;
            if self.may_sweep(&entry, &format!("{}/{name}", names::STAGING))? {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn may_sweep(&self, entry: &Entry, staged: &str) -> Result<bool, LedgerError> {
        let disk = self.dataset.disk();
        let Some(file) = entry.files.iter().find(|file| file.staged == staged) else {
            return Ok(true);
        };
        let path = disk.path(&file.path);
        if publish::check_content(entry, file, &disk.path(staged), &path).is_err() {
            return Ok(false);
        }
        disk.sync(publish::folder(&path))?;
        Ok(true)
    }
}
