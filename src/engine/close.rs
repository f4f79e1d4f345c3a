//! Closing windows by hand.

use crate::flow::run::Run;
use crate::ledger::{LedgerError, NextEntry};
use crate::model::Reason;
use crate::model::pipeline::Window;
use crate::model::window::{ClosedBy, WindowState};
use crate::window::Windows;

/// Closes every window of time that has a row, in all partitions; gives how many partitions it closed some in. Blocking.
///
/// # Errors
/// When the ledger refuses: another instance may be writing.
pub fn close_windows(run: &Run) -> Result<usize, LedgerError> {
    let Window::Tumbling(tumbling) = &run.pipeline.window else { return Ok(0) };
    let mut tips = Vec::new();
    for chain in run.chains() {
        if let Some(tip) = chain.recover()? {
            tips.push((chain, tip));
        }
    }
    let mut calendar = tumbling.calendar();
    let ends = tips.iter().filter_map(|(_, tip)| match &tip.window {
        WindowState::Time(state) => state.largest.map(|largest| calendar.window(largest).1).max(state.watermark),
        WindowState::Count { .. } => None,
    });
    let to = ends.max();
    let mut closed = 0;
    for (chain, tip) in tips {
        let mut windows = Windows::new(&run.pipeline.window, Some(tip.window.clone()));
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
