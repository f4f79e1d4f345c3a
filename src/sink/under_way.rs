//! A lane's commit on its way: Kafka is asked, the entry becomes durable, its files are published, and meanwhile the lane
//! writes its next files.
//!
//! A lane has one at the most: the next entry is made from this one's end. Who drops it doesn't stop it: the entry is
//! committed all the same, the source is told of it, and the lane's next start finds it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::Discard;
use crate::base::background;
use crate::base::words::chain;
use crate::flow::lane::LaneError;
use crate::flow::messages::Committed;
use crate::flow::meters::Meters;
use crate::ledger::{Committer, Entry, Tip};
use crate::model::Partition;

/// Asked before a commit of what was read by that instant: is the topic still the same? Blocks.
pub type ConfirmTopic = Arc<dyn Fn(Instant) -> Result<(), LaneError> + Send + Sync>;

/// Told what was committed, once it is.
pub type TellSource = Arc<dyn Fn(Committed) + Send + Sync>;

/// An entry that the committer does not have. If it never gets it, its staged files go.
pub(super) struct Untried {
    entry: Option<Entry>,
    discard: Discard,
}

impl Untried {
    pub(super) fn new(entry: Entry, discard: Discard) -> Self {
        Untried { entry: Some(entry), discard }
    }

    /// Hands it to the committer, to whom its files belong from here on.
    fn commit(mut self, committer: &Committer) -> Result<Tip, LaneError> {
        let entry = self.entry.take().expect("it is taken here only");
        let reply = background::wait(committer.commit(entry));
        Ok(reply.map_err(|_| LaneError::Panicked("commit"))??)
    }
}

impl Drop for Untried {
    fn drop(&mut self) {
        let files = self.entry.iter().flat_map(|entry| &entry.files);
        files.for_each(|file| (self.discard)(&file.staged));
    }
}

/// What a commit is begun with.
pub(super) struct Attempt {
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// When the newest of its records had been read.
    pub(super) received: Instant,
    /// What the source is told when it is done.
    pub(super) committed: Committed,
    pub(super) confirm: ConfirmTopic,
    pub(super) committer: Committer,
    pub(super) tell: TellSource,
    pub(super) meters: Arc<Meters>,
}

/// A commit that has begun.
pub(super) struct UnderWay {
    end: oneshot::Receiver<Result<Tip, LaneError>>,
    /// How many files it has.
    pub(super) files: usize,
}

impl UnderWay {
    /// Begins one, on a thread of its own: on one of the runtime's blocking threads it would wait for those of lanes that
    /// wait for their commits.
    pub(super) fn begin(attempt: Attempt, untried: Untried) -> Result<Self, LaneError> {
        let Attempt { pipeline, received, committed, confirm, committer, tell, meters } = attempt;
        let (done, end) = oneshot::channel();
        let entry = untried.entry.as_ref().expect("nobody has taken it yet");
        let (began, files) = (Instant::now(), entry.files.len());
        let Partition { topic, partition } = committed.partition.clone();
        let begun = background::spawn("commit", move || {
            // Dropped where it isn't confirmed: before the lane knows, so that its next start finds the files gone.
            let end = confirm(received).and_then(|()| untried.commit(&committer));
            meters.commit_seconds.observe(began.elapsed().as_secs_f64());
            match &end {
                Ok(_) => tell(committed),
                // The lane ends by it, if it is still there.
                Err(error) => {
                    let reason = chain(error);
                    tracing::warn!(pipeline, %topic, partition, reason, "a commit has failed");
                }
            }
            // A lane that is gone finds its entry when it recovers.
            let _ = done.send(end);
        });
        begun.map_err(LaneError::Thread)?;
        Ok(UnderWay { end, files })
    }

    /// Waits for its end: the chain's new tip. Blocks.
    pub(super) fn wait(self) -> Result<Tip, LaneError> {
        background::wait(self.end).map_err(|_| LaneError::Panicked("commit"))?
    }

    /// Its end, if it has come; otherwise itself.
    pub(super) fn look(mut self) -> Result<Result<Tip, LaneError>, Self> {
        match self.end.try_recv() {
            Ok(end) => Ok(end),
            Err(TryRecvError::Closed) => Ok(Err(LaneError::Panicked("commit"))),
            Err(TryRecvError::Empty) => Err(self),
        }
    }
}
