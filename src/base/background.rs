//! Blocking work beside a lane, and waiting for it: on threads. The simulation puts its own tasks in their place, by the same
//! calls.

use std::io;
use std::sync::mpsc::{Receiver, RecvError};

use tokio::sync::oneshot;

#[cfg(test)]
use crate::testing::simulation::tasks;

/// Does a job on a thread of its own.
pub(crate) fn spawn(name: &'static str, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(test)]
    if tasks::is_simulated() {
        tasks::spawn(name, job);
        return Ok(());
    }
    std::thread::Builder::new().name(name.to_owned()).spawn(job).map(drop)
}

/// Waits for an answer.
pub(crate) fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, oneshot::error::RecvError> {
    #[cfg(test)]
    if tasks::is_simulated() {
        return tasks::answer(answer);
    }
    answer.blocking_recv()
}

/// Waits for the next of a queue.
pub(crate) fn receive<T>(queue: &Receiver<T>) -> Result<T, RecvError> {
    #[cfg(test)]
    if tasks::is_simulated() {
        return tasks::next(queue);
    }
    queue.recv()
}
