//! The simulation, for a while; and that it finds what is planted.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::run::{Outcome, Totals, by_seed};
use super::shrink::shrink;
use super::world::Config;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs by every `every`-th seed until there were so many steps, or so many have failed.
fn explore(first: u64, every: u64, steps: u64, failures: usize) -> (Totals, Vec<Failed>) {
    let (mut totals, mut failed) = (Totals::default(), vec![]);
    for seed in (first..).step_by(usize::try_from(every).unwrap()) {
        if totals.steps >= steps || failed.len() >= failures {
            break;
        }
        let outcome = by_seed(seed);
        totals.add(&outcome.totals);
        if outcome.end.is_err() {
            failed.push(Failed { seed, outcome, after: totals });
        }
    }
    (totals, failed)
}

struct Failed {
    seed: u64,
    outcome: Outcome,
    /// What there was until then.
    after: Totals,
}

impl Failed {
    /// The steps of as little of it as still fails.
    fn told(self) -> Vec<String> {
        let (seed, violation) = (self.seed, self.outcome.end.as_ref().unwrap_err().0.clone());
        eprintln!("seed {seed}: {violation}; shrinking");
        let before = self.outcome.decisions.len();
        let (after, shrunk) = shrink(&Config::of(seed), self.outcome);
        let mut told = vec![format!("seed {seed}: {violation}")];
        told.push(format!("of {before} decisions {after} are left, and they give these steps:"));
        told.extend(shrunk.trace.into_iter().map(|line| format!("  {line}")));
        told.push(format!("then: {}", shrunk.end.unwrap_err().0));
        told
    }
}

#[test]
fn nothing_is_lost() {
    let (first, steps) = (number("WEIR_SIMULATION_SEED", 1), number("WEIR_SIMULATION_STEPS", 400_000));
    let threads = number("WEIR_SIMULATION_THREADS", 1);
    let began = Instant::now();
    let (mut totals, mut failures) = (Totals::default(), vec![]);
    std::thread::scope(|scope| {
        let one = |thread: u64| {
            let (totals, failed) = explore(first + thread, threads, steps / threads, 1);
            (totals, failed.into_iter().flat_map(Failed::told).collect::<Vec<_>>())
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        for thread in all {
            let (some, failed) = thread.join().unwrap();
            totals.add(&some);
            failures.extend(failed);
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("seeds from {first} on, {threads} threads: {totals:#?}");
    println!("{minutes:.1} minutes, {:.0} steps a minute", totals.steps as f64 / minutes);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..10 {
        let (first, again) = (by_seed(seed), by_seed(seed));
        assert!(first.decisions == again.decisions && first.totals == again.totals, "seed {seed}");
    }
}

/// Seeds that found something once; see the module's table. They say so again only as long as a seed means the same run.
#[test]
fn what_was_found_stays_away() {
    for seed in [21, 69, 111, 171] {
        let (_, failed) = explore(seed, 1, 1, 1);
        let told: Vec<String> = failed.into_iter().flat_map(Failed::told).collect();
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}

/// Every bug that can be planted in the ledger, after how many steps it is found at the latest, and in how many lines of a
/// trace it is told.
#[cfg(debug_assertions)]
#[test]
fn what_is_planted_is_found() {
    use crate::base::failpoint::hook;

    for (bug, steps_max, lines_max) in [
        ("commit.no_fsync", 10_000, 30),
        ("commit.publish_first", 10_000, 30),
        ("fence.ignored", 20_000, 60),
        ("publish.skipped", 10_000, 30),
        ("sweep.early", 50_000, 100),
        ("fold.names_freed", 500_000, 100),
        ("discard.tried", 200_000, 60),
    ] {
        hook::plant(Some(bug));
        let (_, failed) = explore(1, 1, steps_max, 4);
        // The shortest of some: shrinking it takes the least.
        let first = failed.first().unwrap_or_else(|| panic!("{bug} is not found in {steps_max} steps")).after;
        let told = failed.into_iter().min_by_key(|failed| failed.outcome.decisions.len()).unwrap().told();
        hook::plant(None);
        println!("{bug}: found after {} steps, run {}; {}", first.steps, first.runs, told.join("\n"));
        assert!(told.len() <= lines_max, "{bug} is told in {} lines", told.len());
    }
}
