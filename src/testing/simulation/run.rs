//! A run: instances, a disk and an oracle, and what happens to them, decision by decision.
//!
//! The decisions are made as the run goes on, from its seed and from what can go on at that moment, and are kept. Played
//! again, they give the same run; played again with some of them left out, they give another one that is as real: who can't
//! do what a decision asks of him does nothing. That is what shrinking needs.

use std::sync::Arc;

use super::disk::{Fault, Loss};
use super::instance;
use super::oracle::Oracle;
use super::random::Random;
use super::tasks;
use super::tasks::{Pause, Stopped, Task, TaskId};
use super::trace::instance_name;
use super::world::{Config, World};
use super::{Violation, set_random};

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Decision {
    /// An instance that is down starts.
    Start(u8),
    /// A task of an instance does so many steps, or as many as it can.
    Turn(u8, TaskId, u32),
    /// An instance is killed.
    Kill(u8),
    /// The power fails for all of them.
    PowerFails(Loss),
    /// The next call that can fail so does.
    Fault(Fault),
}

/// What runs have seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) runs: u64,
    pub(super) steps: u64,
    pub(super) starts: u64,
    pub(super) crashes: u64,
    pub(super) power_failures: u64,
    pub(super) faults: u64,
    pub(super) commits: u64,
    pub(super) folds: u64,
    pub(super) fenced: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Totals) {
        let Totals { runs, steps, starts, crashes, power_failures, faults, commits, folds, fenced } = other;
        self.runs += runs;
        self.steps += steps;
        self.starts += starts;
        self.crashes += crashes;
        self.power_failures += power_failures;
        self.faults += faults;
        self.commits += commits;
        self.folds += folds;
        self.fenced += fenced;
    }
}

/// How a run went.
pub(super) struct Outcome {
    pub(super) totals: Totals,
    pub(super) decisions: Vec<Decision>,
    pub(super) end: Result<(), Violation>,
    /// Whether it ended only after its last decision.
    pub(super) in_drain: bool,
    pub(super) trace: Vec<String>,
}

/// Steps after which a run that is left alone should long have ended.
const DRAIN_STEPS_MAX: u64 = 30_000;

/// A run whose decisions its seed makes.
pub(super) fn by_seed(seed: u64) -> Outcome {
    let config = Config::of(seed);
    let mut chaos = Chaos::new(&config);
    run(config, &How { traced: false, drained: true }, |run| chaos.next(run))
}

/// What is wanted of a run, beside its decisions.
pub(super) struct How {
    /// To be told every step.
    pub(super) traced: bool,
    /// That it comes to its end, left alone, after the last decision.
    pub(super) drained: bool,
}

/// A run by these decisions.
pub(super) fn again(config: &Config, decisions: &[Decision], how: &How) -> Outcome {
    let mut decisions = decisions.iter().copied();
    run(config.clone(), how, |_| decisions.next())
}

fn run(config: Config, how: &How, mut next: impl FnMut(&Run) -> Option<Decision>) -> Outcome {
    let mut run = Run::new(config);
    let (mut decisions, mut in_drain) = (Vec::new(), false);
    let mut play = || {
        run.prepare()?;
        run.world.disk.state().trace = how.traced.then(Vec::new);
        while let Some(decision) = next(&run) {
            decisions.push(decision);
            run.decide(decision)?;
        }
        in_drain = true;
        if how.drained { run.drain() } else { Ok(()) }
    };
    let end = play();
    run.instances.iter_mut().for_each(|instance| instance.tasks.clear());
    set_random(None);
    let mut state = run.world.disk.state();
    let totals = Totals {
        runs: 1,
        steps: state.steps,
        commits: run.oracle.commits,
        folds: run.oracle.folds,
        fenced: state.fenced,
        ..run.totals
    };
    let trace = state.trace.take().unwrap_or_default();
    drop(state);
    Outcome { totals, decisions, end, in_drain, trace }
}

struct Run {
    world: Arc<World>,
    oracle: Oracle,
    instances: Vec<Instance>,
    totals: Totals,
}

#[derive(Default)]
struct Instance {
    tasks: Vec<Task>,
    /// How often it was started.
    starts: u64,
}

impl Run {
    fn new(config: Config) -> Run {
        set_random(Some(Random::of(&[config.seed, 5])));
        let instances = (0..config.instances).map(|_| Instance::default()).collect();
        let world = Arc::new(World::new(config));
        Run { oracle: Oracle::new(&world), instances, totals: Totals::default(), world }
    }

    /// In most runs the dataset is there already, so that the steps go to what comes after.
    fn prepare(&mut self) -> Result<(), Violation> {
        if self.world.config.prepared {
            self.decide(Decision::Start(0))?;
            while !self.instances[0].tasks.is_empty() && self.oracle.commits == 0 {
                let task = self.instances[0].tasks.iter().find(|task| !task.blocked).map(|task| task.id);
                self.decide(Decision::Turn(0, task.expect("somebody can go on"), 1))?;
            }
            self.decide(Decision::Kill(0))?;
            self.totals = Totals::default();
        }
        Ok(())
    }

    fn decide(&mut self, decision: Decision) -> Result<(), Violation> {
        match decision {
            Decision::Start(who) => self.start(who, false),
            Decision::Turn(who, task, steps) => self.turn(who, task, steps)?,
            Decision::Kill(who) => self.kill(who),
            Decision::PowerFails(loss) => self.power_fails(loss)?,
            Decision::Fault(fault) => {
                self.tell(|| format!("the disk will fail: {fault:?}"));
                self.totals.faults += 1;
                self.world.disk.state().fault = Some(fault);
            }
        }
        Ok(())
    }

    fn start(&mut self, who: u8, calm: bool) {
        let instance = &mut self.instances[usize::from(who)];
        if !instance.tasks.is_empty() {
            return;
        }
        instance.starts += 1;
        let (world, seed) =
            (self.world.clone(), Random::of(&[self.world.config.seed, who.into(), instance.starts]).bits());
        tasks::spawn_for(instance::MAIN, 0, move || instance::start(&world, seed, calm));
        instance.tasks.extend(tasks::take_spawned().into_iter().map(Task::new));
        self.totals.starts += 1;
        self.tell(|| format!("{} starts", instance_name(who)));
    }

    fn kill(&mut self, who: u8) {
        let tasks = &mut self.instances[usize::from(who)].tasks;
        if !tasks.is_empty() {
            tasks.clear();
            self.totals.crashes += 1;
            self.tell(|| format!("{} is killed", instance_name(who)));
        }
    }

    fn power_fails(&mut self, loss: Loss) -> Result<(), Violation> {
        self.instances.iter_mut().for_each(|instance| instance.tasks.clear());
        self.totals.power_failures += 1;
        self.tell(|| format!("the power fails ({loss:?})"));
        let mut state = self.world.disk.state();
        state.power_fails(loss);
        self.oracle.look_again(&state)
    }

    fn turn(&mut self, who: u8, id: TaskId, steps: u32) -> Result<(), Violation> {
        for _ in 0..steps {
            let tasks = &mut self.instances[usize::from(who)].tasks;
            let Some(at) = tasks.iter().position(|task| task.id == id && !task.blocked) else { return Ok(()) };
            let stopped = tasks[at].resume(who);
            tasks.extend(tasks::take_spawned().into_iter().map(Task::new));
            match stopped {
                Stopped::Pause(Pause::Blocked) => tasks[at].blocked = true,
                // What it did before may be what others wait for.
                Stopped::Pause(Pause::Step) => tasks.iter_mut().for_each(|task| task.blocked = false),
                Stopped::Pause(Pause::Waits) => {
                    tasks.iter_mut().for_each(|task| task.blocked = false);
                    tasks[at].blocked = true;
                }
                Stopped::Ended => {
                    tasks.remove(at);
                    tasks.iter_mut().for_each(|task| task.blocked = false);
                }
                Stopped::Panicked(panic) => return Err(Violation::of(panic)),
            }
            self.see()?;
        }
        Ok(())
    }

    /// Shows the oracle what has happened.
    fn see(&mut self) -> Result<(), Violation> {
        let mut state = self.world.disk.state();
        let events = std::mem::take(&mut state.events);
        events.iter().try_for_each(|event| self.oracle.see(event, &state))
    }

    /// All die, and then one is left alone, and must come to the end; and another start after that finds nothing to do.
    fn drain(&mut self) -> Result<(), Violation> {
        self.instances.iter_mut().for_each(|instance| instance.tasks.clear());
        let power = Random::of(&[self.world.config.seed, 4]).chance(500);
        if power || self.world.disk.state().is_down() {
            self.power_fails(Loss::Some(self.world.config.seed))?;
        }
        self.tell(|| "from here on nothing goes wrong".to_owned());
        self.world.disk.state().fault = None;
        for _ in 0..2 {
            self.start(0, true);
            let until = self.world.disk.state().steps + DRAIN_STEPS_MAX;
            while !self.instances[0].tasks.is_empty() {
                let Some(task) = self.instances[0].tasks.iter().find(|task| !task.blocked).map(|task| task.id) else {
                    return Err(Violation("all tasks wait for each other".to_owned()));
                };
                self.turn(0, task, 100)?;
                if self.world.disk.state().steps > until {
                    return Err(Violation("an instance that is left alone doesn't come to the end".to_owned()));
                }
            }
        }
        self.oracle.end(&self.world.disk.state())
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.world.disk.state().trace {
            trace.push(line());
        }
    }
}

/// Makes decisions. Each run is wild in its own way: one has many crashes, one long turns, one a single fault.
struct Chaos {
    random: Random,
    steps_max: u64,
    /// Times of ten thousand decisions.
    start: u64,
    kill: u64,
    power: u64,
    fault: u64,
    /// Of a thousand: that the same task goes on.
    sticky: u64,
    turn_max: u64,
    last: Option<(u8, TaskId)>,
    /// Who is not scheduled now, and for how many decisions.
    paused: (u8, u64),
    pause: u64,
}

impl Chaos {
    fn new(config: &Config) -> Chaos {
        let mut random = Random::of(&[config.seed, 6]);
        Chaos {
            steps_max: *random.pick(&[300, 1000, 3000, 3000]),
            start: *random.pick(&[100, 1000, 3000]),
            kill: *random.pick(&[0, 5, 20, 100]),
            power: *random.pick(&[0, 5, 20, 100]),
            fault: *random.pick(&[0, 0, 0, 10, 50]),
            sticky: *random.pick(&[0, 500, 900]),
            turn_max: *random.pick(&[1, 3, 10, 40]),
            pause: *random.pick(&[0, 10, 50]),
            last: None,
            paused: (0, 0),
            random,
        }
    }

    fn next(&mut self, run: &Run) -> Option<Decision> {
        if run.world.disk.state().steps > self.steps_max || run.oracle.is_at_end() && self.random.chance(20) {
            return None;
        }
        self.paused.1 = self.paused.1.saturating_sub(1);
        if self.paused.1 == 0 && self.random.below(10_000) < self.pause {
            let who = u8::try_from(self.random.below(run.instances.len() as u64)).unwrap_or_default();
            self.paused = (who, 20 + self.random.below(500));
        }
        let at = self.random.below(10_000);
        let who = u8::try_from(self.random.below(run.instances.len() as u64)).unwrap_or_default();
        if at < self.power {
            let loss = if self.random.chance(300) { Loss::All } else { Loss::Some(self.random.bits()) };
            return Some(Decision::PowerFails(loss));
        }
        if at < self.power + self.kill {
            return Some(Decision::Kill(who));
        }
        if at < self.power + self.kill + self.fault {
            return Some(Decision::Fault(*self.random.pick(&[Fault::NoSpace, Fault::Io, Fault::Sync, Fault::Answer])));
        }
        let is_down = |who: u8| run.instances[usize::from(who)].tasks.is_empty();
        if is_down(who) && at < self.power + self.kill + self.fault + self.start {
            return Some(Decision::Start(who));
        }
        let (paused, left) = self.paused;
        let is_paused = |who: u8| left > 0 && who == paused;
        let ready: Vec<(u8, TaskId)> = (0u8..)
            .zip(&run.instances)
            .filter(|(who, _)| !is_paused(*who))
            .flat_map(|(who, instance)| instance.tasks.iter().map(move |task| (who, task)))
            .filter(|(_, task)| !task.blocked)
            .map(|(who, task)| (who, task.id))
            .collect();
        if ready.is_empty() {
            self.paused.1 = 0;
            return Some(Decision::Start(who));
        }
        let stay = self.last.filter(|last| ready.contains(last) && self.random.chance(self.sticky));
        let (who, task) = stay.unwrap_or_else(|| *self.random.pick(&ready));
        self.last = Some((who, task));
        let steps = 1 + u32::try_from(self.random.below(self.turn_max)).unwrap_or_default();
        Some(Decision::Turn(who, task, steps))
    }
}
