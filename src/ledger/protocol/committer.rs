//! The committer: one thread a dataset, which takes what several lanes hand in and commits it
//! together.
//!
//! While one batch is on its way, the next one collects; so the more lanes there are, the more
//! entries share an fsync, and a single lane waits for nobody. A lane has at most one entry here,
//! because the next one is made from this one's [`Tip`]: that is the queue's limit.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::chain::Tip;
use super::commit::commit;
use super::dataset::Dataset;
use super::entry::Entry;
use super::error::LedgerError;
use crate::base::background;

/// Entries committed together at the most.
const BATCH_MAX: usize = 256;

/// What the committer answers: the chain's new end.
pub type Reply = Result<Tip, LedgerError>;

struct Job {
    entry: Entry,
    reply: oneshot::Sender<Reply>,
}

/// A handle of a dataset's committer. The thread ends when the last one is dropped and what was
/// handed in is done.
#[derive(Clone)]
pub struct Committer {
    queue: Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Committer {
    /// Starts the thread.
    pub fn start(dataset: Dataset) -> Committer {
        let (committer, work) = Committer::new(dataset);
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(work).expect("the operating system gives a thread");
        *lock(&committer.thread) = Some(thread);
        committer
    }

    /// A handle, and what its thread does.
    pub(crate) fn new(dataset: Dataset) -> (Committer, impl FnOnce() + Send + 'static) {
        let (queue, jobs) = channel();
        (Committer { queue, thread: Arc::default() }, move || run(&dataset, &jobs))
    }

    /// Hands an entry in; its staged files are closed. The receiver fails only if the thread has
    /// panicked.
    pub fn commit(&self, entry: Entry) -> oneshot::Receiver<Reply> {
        let (reply, receiver) = oneshot::channel();
        // With the thread gone, the job and with it the reply's sender are dropped, and the
        // receiver says so.
        let _ = self.queue.send(Job { entry, reply });
        receiver
    }

    /// Drops this handle, and waits until the thread has ended: until all other handles are dropped
    /// too. Blocks.
    pub fn join(self) {
        let Committer { queue, thread } = self;
        drop(queue);
        let thread = lock(&thread).take();
        if let Some(Err(panic)) = thread.map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(dataset: &Dataset, jobs: &Receiver<Job>) {
    while let Ok(first) = background::receive(jobs) {
        let (entries, replies): (Vec<Entry>, Vec<_>) =
            std::iter::once(first).chain(jobs.try_iter()).take(BATCH_MAX).map(|job| (job.entry, job.reply)).unzip();
        for (reply, result) in replies.into_iter().zip(commit(dataset, &entries)) {
            // A lane that is gone finds its entry when it recovers.
            let _ = reply.send(result);
        }
    }
}
