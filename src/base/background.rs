//! Blocking work beside a lane, and waiting for it: on threads. The simulation puts its own tasks in their place, by the same
//! calls.

use std::io;
use std::sync::mpsc::{Receiver, RecvError};

use tokio::sync::oneshot;

#[cfg(test)]
use crate::base::simulated;

/// Runs a job on its own thread.
pub(crate) fn spawn(name: &'static str, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(test)]
    if let Some(simulation) = simulated::of_this_task() {
        (simulation.spawn)(name, Box::new(job));
        return Ok(());
    }
    std::thread::Builder::new().name(name.to_owned()).spawn(job).map(drop)
}

/// Waits for an answer.
pub(crate) fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, oneshot::error::RecvError> {
    #[cfg(test)]
    if let Some(simulation) = simulated::of_this_task() {
        let mut answer = answer;
        let found = simulated::wait_for(simulation, || match answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => None,
            found => Some(found.ok()),
        });
        // Without an answer there is none to come: that error has no other maker.
        return found.map_or_else(|| answer.blocking_recv(), Ok);
    }
    answer.blocking_recv()
}

/// Waits for the next of a queue.
pub(crate) fn receive<T>(queue: &Receiver<T>) -> Result<T, RecvError> {
    #[cfg(test)]
    if let Some(simulation) = simulated::of_this_task() {
        return simulated::wait_for(simulation, || match queue.try_recv() {
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
            found => Some(found.map_err(|_| RecvError)),
        });
    }
    queue.recv()
}
