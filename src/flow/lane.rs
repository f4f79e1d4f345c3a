//! A lane: the validator, windower and sink of one partition, how one hands on to the next, and how it is known that one of
//! them has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::dev::ToEnvelope;
use actix::{Actor, ActorContext as _, Addr, Context, Handler, MailboxError, Message, Recipient};

use super::messages::{Committed, Drain, Idle, RawBatch};
use super::meters::Meter;
use crate::base::codes::{Code, Coded};
use crate::base::panics;
use crate::ledger::{LedgerError, Tip};
use crate::model::Partition;

/// The answer of a lane that can't go on: this stage or one after it has ended. Why is told by [`Watch::report`], once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// What a stage answers.
pub type Reply = Result<(), Ended>;

/// Why a lane ended.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// A stage panicked, before anything wrong was committed: a bug, or no thread is left.
    #[error("the {0} stage panicked; {blame}", blame = panics::blame())]
    Panicked(&'static str),
    /// No thread for a commit.
    #[error("the operating system gives no more threads: {0}")]
    Thread(#[source] std::io::Error),
    /// A file could not be written.
    #[error(transparent)]
    Files(Box<dyn Coded + Send + Sync>),
    /// Kafka didn't confirm that what was read is of the topic that the dataset is of.
    #[error("{answer}")]
    Unconfirmed {
        /// What was answered, or that nothing was.
        #[source]
        answer: Box<dyn Coded + Send + Sync>,
        /// Whether a later question may be answered otherwise.
        may_pass: bool,
    },
    /// The ledger refused or failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Coded for LaneError {
    fn code(&self) -> Code {
        match self {
            LaneError::Panicked(_) => Code::Panicked,
            LaneError::Thread(_) => Code::NoThread,
            LaneError::Files(error) => error.code(),
            LaneError::Unconfirmed { answer, .. } => answer.code(),
            LaneError::Ledger(error) => error.code(),
        }
    }
}

/// What a stage begins with.
#[derive(Debug)]
pub struct Start<T> {
    /// What it does its work with.
    pub of: T,
    /// The first position that it is to be handed.
    pub position: i64,
    /// Tells when it ends.
    pub watch: Watch,
    /// Counts its time.
    pub meter: Meter,
}

/// The way to the next stage. (One that has an [`Idle`] to say to it has that way beside this.)
#[derive(Debug)]
pub struct Next<B>
where
    B: Message<Result = Reply> + Send,
{
    /// Takes batches.
    pub batches: Recipient<B>,
    /// Takes the order to commit all batches before it.
    pub drain: Recipient<Drain>,
}

// Derived, it would ask the batches to be `Clone`.
impl<B> Clone for Next<B>
where
    B: Message<Result = Reply> + Send,
{
    fn clone(&self) -> Self {
        Next { batches: self.batches.clone(), drain: self.drain.clone() }
    }
}

impl<B> Next<B>
where
    B: Message<Result = Reply> + Send + 'static,
{
    /// To this actor.
    pub fn to<A>(address: &Addr<A>) -> Self
    where
        A: Actor + Handler<B> + Handler<Drain>,
        A::Context: ToEnvelope<A, B> + ToEnvelope<A, Drain>,
    {
        Next { batches: address.clone().recipient(), drain: address.clone().recipient() }
    }
}

/// The ways into a lane. Dropping them ends it.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The first stage takes batches.
    pub batches: Recipient<RawBatch>,
    /// The first stage takes the word that the partition is quiet.
    pub idle: Recipient<Idle>,
    /// The first stage takes the order to commit everything that was handed to the lane.
    pub drain: Recipient<Drain>,
    /// The last stage takes the order to commit what has come to it, past batches that are on their way.
    pub commit: Recipient<Drain>,
    /// Bytes that its open files hold in memory.
    pub held: Held,
    /// Ends the last stage, whose clock would keep it alive, with the last clone of this.
    pub end: Arc<End>,
}

/// What a new lane is to be.
#[derive(Debug)]
pub struct NewLane {
    /// Its partition.
    pub partition: Partition,
    /// Which of the lanes that this partition had.
    pub generation: u64,
    /// Where its chain ends, and so where it starts.
    pub tip: Tip,
    /// Is told what it commits.
    pub committed: Recipient<Committed>,
    /// Is told when it has ended.
    pub ended: Recipient<LaneEnded>,
}

/// Makes lanes, on whatever thread.
pub type MakeLane = Arc<dyn Fn(NewLane) -> Lane + Send + Sync>;

/// Down the lane's last stage: the lane is over, drop what is open.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Abandon;

/// Tells a lane's last stage that nobody has the lane any more.
#[derive(Debug)]
pub struct End(pub Recipient<Abandon>);

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

/// The answer of the next stage, where one that is gone has ended.
pub fn answer(reply: Result<Reply, MailboxError>) -> Reply {
    reply.unwrap_or(Err(Ended))
}

/// Passes the next stage's answer on; a stage whose next one is gone ends, too.
pub fn pass_on<A>(reply: Reply, ctx: &mut Context<A>) -> Reply
where
    A: Actor<Context = Context<A>>,
{
    if reply.is_err() {
        ctx.stop();
    }
    reply
}
