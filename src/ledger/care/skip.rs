//! Giving offsets up: the one entry that a person asks for and no lane writes.
//!
//! It has no files and leaves the windows as they were. It is committed like any other, so of it and a lane's entry of the
//! same number one wins: a lane that loses finds it when it recovers, and goes on from its end.

use crate::ledger::protocol::chain::{Chain, NextEntry, Tip};
use crate::ledger::protocol::commit;
use crate::ledger::protocol::error::LedgerError;
use crate::model::{Class, Counts, Reason};

impl Chain {
    /// Counts every offset from the chain's end up to `to` as lost, and gives the new end. Blocks.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] if another process has written the next entry since `tip`: nothing is given up then.
    pub fn skip(&self, tip: &Tip, to: i64) -> Result<Tip, LedgerError> {
        let next = NextEntry {
            to,
            // What is between it and the new end may still be there, and isn't to be looked at.
            last: None,
            counts: Counts::from([(Class::Lost, tip.to.abs_diff(to))]),
            window: tip.window.clone(),
            tallies: Vec::new(),
            reason: Reason::Skip,
            files: Vec::new(),
        };
        commit::commit(&self.dataset, &[self.entry(tip, next)]).pop().expect("one entry, one result")
    }
}
