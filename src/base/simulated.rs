//! What a simulation puts in the place of threads and of random bits, for tests. It hooks itself in here, so that nothing on
//! this floor knows it. Each function answers for the thread that calls it.

use std::sync::OnceLock;

/// The functions of the simulation.
#[derive(Clone, Copy)]
pub(crate) struct Simulation {
    /// The random bits of the run on this thread; none where there is no run.
    pub random_bits: fn() -> Option<u64>,
    /// Whether this thread has a run.
    pub is_running: fn() -> bool,
    /// Whether the code that calls is a task's.
    pub is_task: fn() -> bool,
    /// Makes another task.
    pub spawn: fn(&'static str, Box<dyn FnOnce()>),
    /// Lets other tasks go on, because this one waits: whether it has only just begun to.
    pub wait: fn(bool),
}

static SIMULATION: OnceLock<Simulation> = OnceLock::new();

/// From here on, in all of this process.
pub(crate) fn hook_in(simulation: Simulation) {
    SIMULATION.get_or_init(|| simulation);
}

/// The simulation whose task calls this.
pub(crate) fn of_this_task() -> Option<&'static Simulation> {
    SIMULATION.get().filter(|simulation| (simulation.is_task)())
}

/// Random bits of this thread's run, if there is one.
pub(crate) fn random_bits() -> Option<u64> {
    SIMULATION.get().and_then(|simulation| (simulation.random_bits)())
}

/// Whether this thread has a run.
pub(crate) fn is_running() -> bool {
    SIMULATION.get().is_some_and(|simulation| (simulation.is_running)())
}

/// Asks until there is an answer, and lets other tasks go on in between.
pub(crate) fn wait_for<T>(simulation: &Simulation, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut begins = true;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        (simulation.wait)(std::mem::take(&mut begins));
    }
}
