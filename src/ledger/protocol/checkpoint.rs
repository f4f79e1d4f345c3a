//! Folding: many old entries become one file, a checkpoint, so that a chain of years is a short
//! list of names.
//!
//! Checkpoint `n` holds the entries from `n * every` on, `every` of them, whole: one a line,
//! compressed with gzip. A line of format 2 is the entry's bytes, unchanged. It has the number of
//! the last one for a name. Because the numbers are fixed, processes that fold at the same time
//! make the same file, and who has made an entry sees by one name whether it was covered meanwhile.
//! A checkpoint is linked only if absent and after the one before it is durable, and is never
//! changed, renamed over or removed. Once it is durable, the entries that it covers are removed,
//! whoever made them: their numbers are free then, and **entries at covered numbers don't exist**.
//! So a process that wakes up and creates one is fenced (`commit.rs` looks for the checkpoint
//! before it publishes), and every reader looks for the checkpoint after it has read an entry, or
//! has found none.
//!
//! Only entries whose files are durably published fold: those up to a chain's end as this process
//! has published it or found it so. A fold may be killed anywhere; the lane's next start, or the
//! next fold, ends it.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::chain::{Chain, Stored};
use super::entry::Entry;
use super::error::LedgerError;
use crate::base::failpoint;
use crate::model::names;
use crate::store::{Claim, StoreError, WHOLE_MAX};

/// How many entries a checkpoint of a new dataset holds: as many as are read in some hundredths of
/// a second.
pub(in crate::ledger) const EVERY: u64 = 1_000;

/// How many one of any dataset holds.
pub(in crate::ledger) const EVERY_ALLOWED: RangeInclusive<u64> = 1..=1_000_000;

/// A listing may not show so many names in a row that are there all the same.
const UNLISTED_MAX: u64 = 10_000;

/// What a chain's folder holds, by a listing: no snapshot, so what it doesn't show may still be
/// there.
#[derive(Default)]
pub(in crate::ledger) struct Listing {
    /// Entries by number, ascending; among them such as a checkpoint covers.
    pub(in crate::ledger) entries: Vec<u64>,
    /// The last entry of each checkpoint, ascending.
    pub(in crate::ledger) checkpoints: Vec<u64>,
    /// Names that are neither.
    pub(in crate::ledger) strange: Vec<String>,
}

impl Listing {
    /// The number of the newest entry.
    pub(in crate::ledger) fn last(&self) -> Option<u64> {
        self.entries.last().copied().max(self.checkpoints.last().copied())
    }

    pub(in crate::ledger) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.checkpoints.is_empty()
    }

    /// The first number from this one on that it shows to have an entry.
    fn first_from(&self, sequence: u64, every: u64) -> Option<u64> {
        let entry = self.entries.iter().find(|entry| **entry >= sequence).copied();
        let checkpoint = self.checkpoints.iter().find(|last| **last >= sequence);
        let covered = checkpoint.map(|last| sequence.max((last + 1).saturating_sub(every)));
        entry.into_iter().chain(covered).min()
    }
}

impl Chain {
    pub(in crate::ledger) fn listing(&self) -> Result<Listing, LedgerError> {
        let mut found = Listing::default();
        for name in self.dataset.store().list(&self.entries_prefix())? {
            match (names::entry_sequence(&name), names::checkpoint_sequence(&name)) {
                (Some(sequence), _) => found.entries.push(sequence),
                (_, Some(last)) => found.checkpoints.push(last),
                _ => found.strange.push(name),
            }
        }
        found.entries.sort_unstable();
        found.checkpoints.sort_unstable();
        Ok(found)
    }

    /// How many checkpoints there are, given what a listing shows. They are made in order, so none
    /// may be missing.
    pub(in crate::ledger) fn checkpoints(&self, listing: &Listing) -> Result<u64, LedgerError> {
        let every = self.dataset.every();
        let Some(&last) = listing.checkpoints.last() else {
            return Ok(0);
        };
        let count = last / every + 1;
        let listed = |number: u64| listing.checkpoints.binary_search(&(number * every + every - 1)).is_ok();
        for number in (0..count).filter(|number| !listed(*number)) {
            if !self.is_covered(number * every)? {
                return Err(self.hole(&self.checkpoint_name(number), last));
            }
        }
        Ok(count)
    }

    /// The first number from this one on that has an entry. A gap may be of as many numbers as a
    /// stray file's name says, so it is not looked through to its end.
    pub(in crate::ledger) fn first_from(&self, listing: &Listing, sequence: u64) -> Result<Option<u64>, LedgerError> {
        let Some(listed) = listing.first_from(sequence, self.dataset.every()) else { return Ok(None) };
        for unlisted in sequence..listed.min(sequence + UNLISTED_MAX) {
            if self.has(unlisted)? {
                return Ok(Some(unlisted));
            }
        }
        Ok(Some(listed))
    }

    /// Whether a checkpoint covers this number.
    pub(in crate::ledger) fn is_covered(&self, sequence: u64) -> Result<bool, LedgerError> {
        Ok(self.dataset.store().exists(&self.checkpoint_name(sequence / self.dataset.every()))?)
    }

    /// Where a checkpoint is, or would be.
    pub(in crate::ledger) fn checkpoint_name(&self, number: u64) -> String {
        let every = self.dataset.every();
        format!("{}/{}", self.entries_prefix(), names::checkpoint_name(number * every + every - 1))
    }

    /// Folds what is due once the entry `newest` is durable and published, and removes what
    /// checkpoints cover.
    pub(in crate::ledger) fn fold(&self, newest: u64) -> Result<(), LedgerError> {
        let (store, every) = (self.dataset.store(), self.dataset.every());
        let listing = self.listing()?;
        let due = (newest + 1) / every;
        for number in self.checkpoints(&listing)?..due {
            match self.make_checkpoint(number) {
                // Another process's start has swept what was staged for it, and folds after that
                // itself.
                Err(error) if error.is_not_found() => return Ok(()),
                made => made?,
            }
        }
        let covered: Vec<u64> = listing.entries.into_iter().take_while(|sequence| *sequence < due * every).collect();
        if covered.is_empty() {
            return Ok(());
        }
        // Also where another process made the checkpoint: visible is not durable.
        store.settle_one(&self.checkpoint_name(due - 1))?;
        failpoint::hit("fold.before_unlink");
        for sequence in covered {
            store.discard(&self.entry_name(sequence))?;
            failpoint::hit("fold.after_unlink");
        }
        Ok(())
    }

    /// Makes a checkpoint; one that is there is the same. It is durable when this returns.
    fn make_checkpoint(&self, number: u64) -> Result<(), LedgerError> {
        let (store, every) = (self.dataset.store(), self.dataset.every());
        let (first, name) = (number * every, self.checkpoint_name(number));
        let staged = names::staged(&self.prefix, first + every - 1, "checkpoint", &names::random(), "jsonl.gz");
        let created = store.stage(&staged).map_err(StoreError::io("create", store.place(&staged)))?;
        let mut out = GzEncoder::new(BufWriter::new(created), Compression::default());
        let failed = || StoreError::io("write", store.place(&staged));
        let mut reader = self.reader();
        for sequence in first..first + every {
            let hole = || self.hole(&self.entry_name(sequence), first + every);
            let line = reader.stored(sequence)?.ok_or_else(hole)?.line();
            out.write_all(&line).map_err(failed())?;
        }
        out.finish().and_then(|mut file| file.flush()).map_err(failed())?;
        store.make_one_durable(&staged)?;
        failpoint::hit("fold.before_link");
        // Another process's is the same.
        let _: Claim = store.publish(&staged, &name)?;
        failpoint::hit("fold.after_link");
        store.settle_one(&name)?;
        Ok(store.discard(&staged)?)
    }

    /// Reads entries, best in order.
    pub(in crate::ledger) fn reader(&self) -> Reader {
        Reader { chain: self.clone(), open: None }
    }

    /// The lines of a checkpoint.
    fn checkpoint(&self, number: u64) -> Result<Checkpoint, LedgerError> {
        let name = self.checkpoint_name(number);
        let file = BufReader::new(self.dataset.store().open(&name)?);
        Ok(Checkpoint {
            chain: self.clone(),
            path: self.dataset.place(&name),
            next: number * self.dataset.every(),
            lines: BufReader::new(GzDecoder::new(file)),
        })
    }
}

/// Entries by number, wherever they are. Keeps its place in a checkpoint.
pub(in crate::ledger) struct Reader {
    chain: Chain,
    open: Option<Checkpoint>,
}

impl Reader {
    /// An entry; none if there is none of that number.
    pub(in crate::ledger) fn at(&mut self, sequence: u64) -> Result<Option<Entry>, LedgerError> {
        Ok(self.stored(sequence)?.map(|stored| stored.entry))
    }

    /// The same, with its bytes.
    pub(in crate::ledger) fn stored(&mut self, sequence: u64) -> Result<Option<Stored>, LedgerError> {
        if let Some(open) = self.open.as_mut().filter(|open| open.next == sequence) {
            let entry = open.entry()?;
            if open.next % self.chain.dataset.every() == 0 {
                self.open = None;
            }
            return Ok(Some(entry));
        }
        let plain = match self.chain.is_covered(sequence)? {
            true => None,
            false => self.chain.read_plain(sequence)?,
        };
        // Covered meanwhile, it may be gone, or another process's that made it at a freed number.
        if !self.chain.is_covered(sequence)? {
            return Ok(plain);
        }
        let mut open = self.chain.checkpoint(sequence / self.chain.dataset.every())?;
        while open.next < sequence {
            open.entry()?;
        }
        self.open = Some(open);
        self.stored(sequence)
    }
}

/// A checkpoint that is being read.
struct Checkpoint {
    chain: Chain,
    path: PathBuf,
    /// The number of the next entry.
    next: u64,
    lines: BufReader<GzDecoder<BufReader<Box<dyn std::io::Read + Send>>>>,
}

impl Checkpoint {
    fn entry(&mut self) -> Result<Stored, LedgerError> {
        let unreadable = |reason: String| LedgerError::Unreadable { path: self.path.clone(), reason };
        let mut line = Vec::new();
        let mut read = || {
            let read = self.lines.by_ref().take(WHOLE_MAX + 1).read_until(b'\n', &mut line);
            read.map_err(|error| unreadable(error.to_string()))
        };
        if read()? as u64 > WHOLE_MAX {
            return Err(LedgerError::too_large(self.path.clone()));
        }
        let end = (self.next + 1).is_multiple_of(self.chain.dataset.every());
        // gzip compares its checksum where the file ends, so the last line is not believed before.
        if end && read()? > 0 {
            return Err(unreadable(format!("it goes on after entry {}", self.next)));
        }
        let entry = self.chain.parse(&self.path, &line, self.next)?;
        self.next += 1;
        Ok(Stored { entry, content: line })
    }
}
