//! The real lane, ledger and recovery in a simulated world: one to three instances, interleaved call by call, on a disk that
//! loses what was not fsynced, with crashes, power failures and faults, all by a seed. `tests/model/` shows that the idea of the
//! ledger is right, for small worlds and completely; this shows it of the code, for as long as one likes.
//!
//! ```text
//! cargo test --lib simulation               the short form: seeds from 1 on, some seconds
//! WEIR_SIMULATION_STEPS=10000000 WEIR_SIMULATION_THREADS=2 cargo test --release --lib simulation -- --nocapture
//! WEIR_SIMULATION_SEED=77 …                 from another seed on; one that fails is shrunk and told, step by step
//! WEIR_PLANTED_BUG=fence.ignored …          with a bug planted (debug builds only)
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `disk.rs` | the file system |
//! | `tasks.rs` | how blocking code stops at every call |
//! | `world.rs` | records, and what should become of them |
//! | `instance.rs` | what a process does |
//! | `oracle.rs` | what must hold |
//! | `run.rs` | who goes next, and what goes wrong |
//! | `shrink.rs`, `trace.rs` | a failure, made small and told |
//!
//! A step is one call of the file system. Time is not in it: what a clock would decide, the scheduler decides. Measured in the
//! debug build on two busy cores: 10 million steps from seed 1000 on in 4.4 minutes, 5,939 runs with 147 thousand commits, 44
//! thousand folds, 13 thousand crashes and 19 thousand power failures. Instances that have come to the log's end start again, so
//! that many of the steps are those of starts.
//!
//! What it found while it was made; `tests.rs` plays the seeds for ever:
//!
//! | seed | what |
//! |---|---|
//! | 111, 171 | A writer is paused between the fsync of its staged files and the look at their sizes; another one commits, recovers and sweeps them. The writer's lane ended with "cannot look at" a file instead of being fenced. |
//! | 21, 69 | Two fold: B has staged the checkpoint of entries that C has read as well, and C's start sweeps it. B's commit, durable and published, was told as failed. |
//!
//! Not simulated: Kafka and the actors (the log is handed to the lane in batches of any size); windows that are closed by
//! quiet; `roll.bytes` and memory; readers of the dataset beside the writers; the threads that share many fsyncs; a call that
//! only asks whether a name is there and fails; a disk that forgets what it said was durable.

mod disk;
mod instance;
mod oracle;
mod random;
mod run;
mod shrink;
mod tasks;
mod tests;
mod trace;
mod world;

use std::any::Any;
use std::cell::RefCell;

use random::Random;

use crate::base::simulated::{Simulation, hook_in};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation(String);

impl Violation {
    /// What a task panicked with.
    fn of(panic: Box<dyn Any + Send>) -> Violation {
        match panic.downcast::<Violation>() {
            Ok(violation) => *violation,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                Violation(format!("a task panics: {}", text.unwrap_or("without a text")))
            }
        }
    }
}

thread_local! {
    /// Where the random parts of names come from, in a run.
    static RANDOM: RefCell<Option<Random>> = const { RefCell::new(None) };
}

fn set_random(random: Option<Random>) {
    hook_in(Simulation {
        random_bits,
        is_running,
        is_task: tasks::is_simulated,
        spawn: tasks::spawn,
        wait: tasks::wait,
    });
    RANDOM.set(random);
}

/// Whether this thread has a run.
fn is_running() -> bool {
    RANDOM.with_borrow(Option::is_some)
}

/// Random bits of this thread's run, if there is one.
fn random_bits() -> Option<u64> {
    RANDOM.with_borrow_mut(|random| random.as_mut().map(Random::bits))
}
