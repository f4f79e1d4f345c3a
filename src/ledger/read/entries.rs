//! Entries, the newest first, each read when it is asked for.

use crate::ledger::protocol::chain::Chain;
use crate::ledger::protocol::dataset::Dataset;
use crate::ledger::protocol::entry::Entry;
use crate::ledger::protocol::error::LedgerError;

/// Limits how many entries of a checkpoint a backward reader holds. One entry may name thousands of files.
const HELD_MAX: u64 = 16;

impl Dataset {
    /// The entries of all chains, the newest first, each read when it is asked for; one a chain is held.
    ///
    /// # Errors
    /// When the chains can't be listed. An entry that can't be read is an error in its place, and the last of its chain.
    pub(in crate::ledger) fn newest(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<>, LedgerError> {
        let chains = self.chains()?.0;
        let mut chains = chains.iter().map(Chain::newest).collect::<Result<Vec<_>, _>>()?;
        let mut heads: Vec<_> = chains.iter_mut().map(Iterator::next).collect();
        Ok(std::iter::from_fn(move || {
            let written = |head: &Option<Result<Entry, LedgerError>>| match head {
                // What can't be read is said at once.
                Some(Err(_)) => Some(i64::MAX),
                Some(Ok(entry)) => Some(entry.written_at_ms),
                None => None,
            };
            let newest = (0..heads.len()).max_by_key(|at| written(&heads[*at]))?;
            let found = heads[newest].take()?;
            heads[newest] = found.is_ok().then(|| chains[newest].next()).flatten();
            Some(found)
        }))
    }
}

impl Chain {
    /// Its entries, the newest first, each read when it is asked for, and each known to end where the one after it begins.
    /// Some are held, because a checkpoint is read from its beginning.
    pub(in crate::ledger) fn newest(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, LedgerError>> + use<>, LedgerError> {
        let newest = self.last_sequence()?;
        let (chain, mut next, mut held, mut after) = (self.clone(), newest, Vec::<Entry>::new(), None);
        Ok(std::iter::from_fn(move || {
            let sequence = next?;
            next = sequence.checked_sub(1);
            if held.is_empty() {
                match chain.up_to(sequence, newest.unwrap_or(sequence)) {
                    Ok(entries) => held = entries,
                    Err(error) => return Some(Err(error)),
                }
            }
            let entry = held.pop()?;
            let after = after.replace(entry.begin());
            let follows = after.map_or(Ok(()), |after| chain.follows(&after, Some(&entry.end())));
            Some(follows.map(|()| entry))
        }))
    }

    /// An entry, and some of those before it where they are read along.
    fn up_to(&self, sequence: u64, newest: u64) -> Result<Vec<Entry>, LedgerError> {
        let in_its_checkpoint = sequence % self.dataset.every();
        let before = if self.is_covered(sequence)? { in_its_checkpoint.min(HELD_MAX - 1) } else { 0 };
        let mut reader = self.reader();
        let read = |sequence| reader.at(sequence)?.ok_or_else(|| self.hole(&self.entry_name(sequence), newest));
        (sequence - before..=sequence).map(read).collect()
    }
}
