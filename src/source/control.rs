//! What people ask of a source while it runs: to hold, to go on, to commit what it has.

use std::collections::VecDeque;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _};
use tokio::sync::oneshot;

use super::actor::Source;
use super::poll_thread::Command;
use crate::ledger::Reason;
use crate::pipeline::lane::answer;
use crate::pipeline::messages::Drain;

/// Read nothing more and commit what was read, but stay in the group; answered as [`Flush`] is.
#[derive(Debug, Message)]
#[rtype(result = "Flushed")]
pub struct Hold;

/// Read on after [`Hold`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Release;

/// Commit everything that was read before this; answered when it is in the ledger.
#[derive(Debug, Message)]
#[rtype(result = "Flushed")]
pub struct Flush;

/// Whether every lane committed. One that didn't says why in the log, and starts again.
pub(super) type Flushed = bool;

/// Who waits until everything read has been handed on and committed, in order.
#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<oneshot::Sender<Flushed>>);

impl Source {
    fn request(&mut self, command: Command) -> ResponseFuture<Flushed> {
        let (done, end) = oneshot::channel();
        self.requests.0.push_back(done);
        self.command(command);
        Box::pin(async move { end.await.unwrap_or(false) })
    }

    /// The poll thread has handed on what it had for the oldest request: the lanes commit it.
    pub(super) fn handed_on(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.requests.0.pop_front() else { return };
        let commits: Vec<_> = self.running().map(|lane| lane.validator.send(Drain { reason: Reason::Flush })).collect();
        let all = async move {
            let mut committed = true;
            for commit in commits {
                committed &= answer(commit.await).is_ok();
            }
            committed
        };
        ctx.spawn(all.into_actor(self).map(|committed, _, _| {
            let _ = done.send(committed);
        }));
    }
}

impl Handler<Hold> for Source {
    type Result = ResponseFuture<Flushed>;

    fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Self::Result {
        self.request(Command::Hold)
    }
}

impl Handler<Flush> for Source {
    type Result = ResponseFuture<Flushed>;

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) -> Self::Result {
        self.request(Command::HandOn)
    }
}

impl Handler<Release> for Source {
    type Result = ();

    fn handle(&mut self, _: Release, _: &mut Context<Self>) {
        self.command(Command::Release);
    }
}
