//! A lane: the validator, windower and sink of one partition, and how it is known that one of them has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, ActorContext as _, Addr, Context, MailboxError, Message, Recipient};

use crate::base::panics;
use crate::ledger::LedgerError;
use crate::model::Partition;
use crate::sink::{Sink, SinkError};
use crate::source::StartError;
use crate::validate::Validator;

/// Why a lane ended.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// A neighbour in the lane is gone; its own end says why.
    #[error("the lane's next stage has ended")]
    Ended,
    /// A stage panicked, before anything wrong was committed: a bug, or no thread is left.
    #[error("the {0} stage panicked; {blame}", blame = panics::blame())]
    Panicked(&'static str),
    /// No thread for a commit.
    #[error("the operating system gives no more threads: {0}")]
    Thread(#[source] std::io::Error),
    /// A file could not be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Kafka didn't confirm that what was read is of the topic that the dataset is of.
    #[error(transparent)]
    Unconfirmed(#[from] StartError),
    /// The ledger refused or failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The addresses of a lane. Dropping them ends it.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The first stage.
    pub validator: Addr<Validator>,
    /// The last stage.
    pub sink: Addr<Sink>,
    /// Bytes that its open files hold in memory.
    pub held: Held,
    /// Ends the last stage, whose clock would keep it alive, with the last clone of this.
    pub end: Arc<End>,
}

/// Down the lane's last stage: the lane is over, drop what is open.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Abandon;

/// Tells a lane's sink that nobody has the lane any more.
#[derive(Debug)]
pub struct End(pub Addr<Sink>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.do_send(Abandon);
    }
}

/// How many bytes a lane's open files hold in memory; the sink writes it, the source reads it.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// Bytes.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the number.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// A stage → Source: a lane has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LaneEnded {
    /// Whose lane.
    pub partition: Partition,
    /// Which of the lanes that this partition had.
    pub generation: u64,
    /// Why.
    pub error: LaneError,
}

/// Held by each stage of a lane: tells the source when the stage ends, whatever ends it.
///
/// A panic in an actor is caught by its arbiter and the actor just disappears; this guard is what notices.
#[derive(Debug)]
pub struct Watch {
    /// Whose lane.
    pub partition: Partition,
    generation: u64,
    stage: &'static str,
    source: Recipient<LaneEnded>,
}

impl Watch {
    /// Watches a stage.
    pub fn new(partition: Partition, generation: u64, stage: &'static str, source: Recipient<LaneEnded>) -> Self {
        Watch { partition, generation, stage, source }
    }

    /// Reports why the lane ends. The first report of a lane counts.
    pub fn report(&self, error: LaneError) {
        let (partition, generation) = (self.partition.clone(), self.generation);
        self.source.do_send(LaneEnded { partition, generation, error });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.report(LaneError::Panicked(self.stage));
    }
}

/// The answer of the next stage, where a stage that is gone answers [`LaneError::Ended`].
pub fn answer(reply: Result<Result<(), LaneError>, MailboxError>) -> Result<(), LaneError> {
    reply.unwrap_or(Err(LaneError::Ended))
}

/// Passes the next stage's answer on; a stage whose next one is gone ends, too.
pub fn pass_on<A>(reply: Result<(), LaneError>, ctx: &mut Context<A>) -> Result<(), LaneError>
where
    A: Actor<Context = Context<A>>,
{
    if reply.is_err() {
        ctx.stop();
    }
    reply
}
