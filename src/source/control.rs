//! What people ask of a source while it runs: to pause, to go on, to commit what it has.

use std::collections::VecDeque;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _};
use tokio::sync::oneshot;

use super::actor::Source;
use super::poll_thread::Command;
use crate::flow::lane::answer;
use crate::flow::messages::Drain;
use crate::model::Reason;

/// Read nothing more and commit what was read, but stay in the group; answered as [`Flush`] is.
#[derive(Debug, Message)]
#[rtype(result = "Flushed")]
pub struct PauseReading;

/// Read on after [`PauseReading`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ResumeReading;

/// Commit everything that was read before this; answered when it is in the ledger.
#[derive(Debug, Message)]
#[rtype(result = "Flushed")]
pub struct Flush;

/// Whether every lane committed. One that didn't says why in the log, and starts again.
pub(super) type Flushed = bool;

/// What people asked for.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Who waits until everything read has been handed on and committed, in order.
    waiting: VecDeque<oneshot::Sender<Flushed>>,
    /// Whether nothing is to be read.
    pub(super) paused: bool,
}

impl Source {
    fn request(&mut self, command: Command) -> ResponseFuture<Flushed> {
        let (done, end) = oneshot::channel();
        self.requests.waiting.push_back(done);
        self.command(command);
        Box::pin(async move { end.await.unwrap_or(false) })
    }

    /// The poll thread has handed on what it had for the oldest request: the lanes commit it.
    pub(super) fn handed_on(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.requests.waiting.pop_front() else { return };
        // What a lane holds that is about to end is committed or read again, but nobody knows yet.
        let settled = self.lanes.all_settled();
        let commits: Vec<_> =
            self.lanes.running().map(|lane| lane.drain.send(Drain { reason: Reason::Flush })).collect();
        let all = async move {
            let mut committed = settled;
            for commit in commits {
                committed &= answer(commit.await).is_ok();
            }
            committed
        };
        // After the lanes' last Committed, which are in the mailbox by then.
        ctx.spawn(all.into_actor(self).map(|committed, _, ctx| ctx.notify(Answer { done, committed })));
    }
}

/// Everything that one request was about is committed, or can't be for now.
#[derive(Message)]
#[rtype(result = "()")]
struct Answer {
    done: oneshot::Sender<Flushed>,
    committed: Flushed,
}

impl Handler<Answer> for Source {
    type Result = ();

    fn handle(&mut self, answer: Answer, _: &mut Context<Self>) {
        let _ = answer.done.send(answer.committed);
    }
}

impl Handler<PauseReading> for Source {
    type Result = ResponseFuture<Flushed>;

    fn handle(&mut self, _: PauseReading, _: &mut Context<Self>) -> Self::Result {
        self.requests.paused = true;
        self.run.progress.forget_log_ends();
        self.request(Command::Pause)
    }
}

impl Handler<Flush> for Source {
    type Result = ResponseFuture<Flushed>;

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) -> Self::Result {
        self.request(Command::HandOn)
    }
}

impl Handler<ResumeReading> for Source {
    type Result = ();

    fn handle(&mut self, _: ResumeReading, _: &mut Context<Self>) {
        self.requests.paused = false;
        self.command(Command::Resume);
    }
}
