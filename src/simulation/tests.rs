//! The simulation, for a while; and that it finds what is planted.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::Violation;
use super::run::{Decision, Totals, by_seed};
use super::shrink::shrink;
use super::world::Config;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs by every `every`-th seed until there were so many steps, or one has failed.
fn explore(first: u64, every: u64, steps: u64) -> (Totals, Option<Failed>) {
    let mut totals = Totals::default();
    for seed in (first..).step_by(usize::try_from(every).unwrap()) {
        if totals.steps >= steps {
            break;
        }
        let outcome = by_seed(seed);
        totals.add(&outcome.totals);
        if let Err(violation) = outcome.end {
            return (totals, Some(Failed { seed, decisions: outcome.decisions, violation }));
        }
    }
    (totals, None)
}

struct Failed {
    seed: u64,
    decisions: Vec<Decision>,
    violation: Violation,
}

impl Failed {
    /// Its text: the steps of as little as still fails.
    fn told(self) -> Vec<String> {
        let Failed { seed, decisions, violation } = self;
        let before = decisions.len();
        eprintln!("seed {seed}: {}; shrinking", violation.0);
        let (after, outcome) = shrink(&Config::of(seed), decisions, &violation);
        let mut told = vec![format!("seed {seed}: {}", violation.0)];
        told.push(format!("of {before} decisions {after} are left, and they give these steps:"));
        told.extend(outcome.trace.into_iter().map(|line| format!("  {line}")));
        told.push(format!("then: {}", outcome.end.unwrap_err().0));
        told
    }
}

#[test]
fn nothing_is_lost() {
    let (first, steps) = (number("WEIR_SIMULATION_SEED", 1), number("WEIR_SIMULATION_STEPS", 200_000));
    let threads = number("WEIR_SIMULATION_THREADS", 1);
    let began = Instant::now();
    let (mut totals, mut failures) = (Totals::default(), vec![]);
    std::thread::scope(|scope| {
        let one = |thread: u64| {
            let (totals, failed) = explore(first + thread, threads, steps / threads);
            (totals, failed.map(Failed::told))
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        for thread in all {
            let (some, failed) = thread.join().unwrap();
            totals.add(&some);
            failures.extend(failed);
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("from seed {first} on: {totals:?}, {:.0} steps a minute", totals.steps as f64 / minutes);
    assert!(failures.is_empty(), "{}", failures.concat().join("\n"));
}

/// Every bug that can be planted in the ledger, and after how many steps it is found at the latest.
#[cfg(debug_assertions)]
#[test]
fn what_is_planted_is_found() {
    use crate::failpoint::hook;

    for (bug, steps_max) in [
        ("commit.no_fsync", 50_000),
        ("commit.publish_first", 50_000),
        ("fence.ignored", 50_000),
        ("publish.skipped", 50_000),
        ("sweep.early", 50_000),
        ("fold.names_freed", 500_000),
    ] {
        hook::plant(Some(bug));
        let (totals, failed) = explore(1, 1, steps_max);
        let told = failed.unwrap_or_else(|| panic!("{bug} is not found in {steps_max} steps")).told();
        hook::plant(None);
        println!("{bug}: found after {} steps in {} runs; {}", totals.steps, totals.runs, told.join("\n"));
        assert!(told.len() < 100, "{bug} is told in {} lines", told.len());
    }
}
