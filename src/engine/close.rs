//! Closing windows by hand.

use crate::flow::run::Run;
use crate::ledger::{LedgerError, NextEntry};
use crate::model::Reason;
use crate::model::window::ClosedBy;
use crate::window::resume;

/// Closes every window of time that has a row, in all partitions; gives how many partitions it closed some in. Blocking.
///
/// # Errors
/// When the ledger refuses: another instance may be writing.
pub fn close_windows(run: &Run) -> Result<usize, LedgerError> {
    let window = &run.pipeline.window;
    if !window.kind().is_of_time() {
        return Ok(0);
    }
    let mut found = Vec::new();
    for chain in run.chains() {
        if let Some(tip) = chain.recover()? {
            let windows = resume(window, Some(tip.window.clone()));
            found.push((chain, tip, windows));
        }
    }
    let to = found.iter_mut().filter_map(|(_, _, windows)| windows.newest_end()).max();
    let mut closed = 0;
    for (chain, tip, mut windows) in found {
        let Some(part) = windows.close(tip.to, to, ClosedBy::Hand) else { continue };
        let next = NextEntry {
            to: tip.to,
            last: tip.last,
            counts: part.counts,
            window: part.state,
            tallies: part.tallies,
            reason: Reason::Close,
            files: Vec::new(),
        };
        let reply = run.committer.commit(chain.entry(&tip, next));
        reply.blocking_recv().expect("the committer ends with its last handle, and this is one")?;
        closed += 1;
    }
    Ok(closed)
}
