//! How a lane starts: it reads its chain, makes sure of what is there, publishes the newest entry's
//! files, and sweeps.
//!
//! A first start, a restart after a crash, and a fenced lane's next try are all this code. It may
//! be killed anywhere and raced by other instances' recoveries and commits, so every step may find
//! its work done.

use super::chain::{Chain, Tip};
use super::entry::Entry;
use super::error::LedgerError;
use super::publish;
use crate::base::failpoint;
use crate::model::names;

impl Chain {
    /// The end of the chain, from which a lane goes on; none if the partition has no entry yet.
    /// Blocks.
    pub fn recover(&self) -> Result<Option<Tip>, LedgerError> {
        let Some(last) = self.read_last()? else {
            return Ok(None);
        };
        failpoint::hit("recover.after_read");
        // What was read may be another process's, and visible only: the lane is about to act on it.
        self.dataset.store().settle_one(&self.entry_name(last.sequence))?;
        failpoint::hit("recover.after_sync_ledger");
        publish::publish_left(&self.dataset, &last)?;
        failpoint::hit("recover.before_sweep");
        self.sweep(&last)?;
        self.fold(last.sequence)?;
        failpoint::hit("recover.before_return");
        Ok(Some(Tip::of(&last)))
    }

    /// Whether it has an entry.
    pub(in crate::ledger) fn exists(&self) -> Result<bool, LedgerError> {
        Ok(!self.listing()?.is_empty())
    }

    /// The newest entry for a reader, none if there is none after `known`, the number of one that
    /// is there: nothing is made durable, published or swept, and nothing may be done with it but
    /// telling.
    pub(in crate::ledger) fn newest_after(&self, known: Option<u64>) -> Result<Option<Entry>, LedgerError> {
        let Some(mut last) = known else { return self.read_last() };
        let every = self.dataset.every();
        loop {
            if self.has_plain(last + 1)? {
                last += 1;
            } else if self.is_covered(last + 1)? {
                last = (last + 1) / every * every + every - 1;
            } else {
                break;
            }
        }
        if known == Some(last) { Ok(None) } else { self.read(last) }
    }

    /// The newest entry. Names only are read of the others; `weir verify` reads them all.
    fn read_last(&self) -> Result<Option<Entry>, LedgerError> {
        let Some(sequence) = self.last_sequence()? else {
            return Ok(None);
        };
        let read = |sequence| self.read(sequence)?.ok_or_else(|| self.hole(&self.entry_name(sequence), sequence));
        let last = read(sequence)?;
        if let Some(before) = sequence.checked_sub(1) {
            self.follows(&last.begin(), Some(&read(before)?.end()))?;
        }
        Ok(Some(last))
    }

    /// The newest entry's number, provided that none before it is missing.
    pub(in crate::ledger) fn last_sequence(&self) -> Result<Option<u64>, LedgerError> {
        let every = self.dataset.every();
        loop {
            let listing = self.listing()?;
            let folded = self.checkpoints(&listing)? * every;
            // A listing isn't a snapshot: it may show an entry that was made meanwhile and not the
            // one made before it. So what it doesn't show is looked up by name, and so is what
            // follows.
            let (mut next, mut missing) = (folded, None);
            for sequence in listing.entries.into_iter().skip_while(|sequence| *sequence < folded) {
                while missing.is_none() && next < sequence {
                    missing = (!self.has_plain(next)?).then_some(next);
                    next += 1;
                }
                next = sequence + 1;
            }
            while self.has_plain(next)? {
                next += 1;
            }
            // What seems to be missing may have been folded since.
            if self.is_covered(folded)? {
                continue;
            }
            return match missing {
                Some(missing) => Err(self.hole(&self.entry_name(missing), next - 1)),
                None => Ok(next.checked_sub(1)),
            };
        }
    }

    pub(in crate::ledger) fn hole(&self, name: &str, last: u64) -> LedgerError {
        LedgerError::Hole { chain: self.to_string(), path: self.dataset.place(name), last }
    }

    /// Removes what crashed and fenced attempts left in `staging/`: only files whose sequence has
    /// an entry, because an attempt without one may still be on its way, and only if that entry
    /// doesn't name the file or it is durably published. A checkpoint that covers the sequence says
    /// the same of all its files.
    fn sweep(&self, last: &Entry) -> Result<(), LedgerError> {
        for name in self.sweepable(last)? {
            failpoint::hit("sweep.before_unlink");
            self.dataset.store().discard(&format!("{}/{name}", names::STAGING))?;
        }
        Ok(())
    }

    /// The names in `staging/` that may be removed.
    pub(in crate::ledger) fn sweepable(&self, last: &Entry) -> Result<Vec<String>, LedgerError> {
        let mut found = Vec::new();
        for name in self.dataset.store().list(names::STAGING)? {
            let Some(sequence) = names::staged_sequence(&self.prefix, &name) else {
                continue;
            };
            if sequence > last.sequence && !failpoint::planted("sweep.early") {
                continue;
            }
            if sequence > last.sequence || self.may_sweep(sequence, last, &format!("{}/{name}", names::STAGING))? {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn may_sweep(&self, sequence: u64, last: &Entry, staged: &str) -> Result<bool, LedgerError> {
        // Whatever an entry of that number says: all that a checkpoint names is published.
        if self.is_covered(sequence)? {
            return Ok(true);
        }
        let entry = self.read(sequence)?.ok_or_else(|| self.hole(&self.entry_name(sequence), last.sequence))?;
        let Some(file) = entry.files.iter().find(|file| file.staged == staged) else {
            return Ok(true);
        };
        if publish::check_content(self.dataset.store(), &entry, file).is_err() {
            return Ok(false);
        }
        self.dataset.store().settle_one(&file.path)?;
        Ok(true)
    }
}
