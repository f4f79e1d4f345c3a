//! The simulation, for a while.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::run::{Totals, by_seed};
use super::shrink::shrink;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn nothing_is_lost() {
    let (first, steps) = (number("WEIR_SIMULATION_SEED", 1), number("WEIR_SIMULATION_STEPS", 200_000));
    let threads = number("WEIR_SIMULATION_THREADS", 1);
    let began = Instant::now();
    let one = |thread: u64| {
        let mut totals = Totals::default();
        for seed in (first + thread..).step_by(usize::try_from(threads).unwrap()) {
            if totals.steps >= steps / threads {
                break;
            }
            let outcome = by_seed(seed);
            totals.add(&outcome.totals);
            if let Err(violation) = outcome.end {
                fail(seed, outcome.decisions, &violation.0);
            }
        }
        totals
    };
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        for thread in all {
            totals.add(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("from seed {first} on: {totals:?}, {:.0} steps a minute", totals.steps as f64 / minutes);
}

fn fail(seed: u64, decisions: Vec<super::run::Decision>, violation: &str) -> ! {
    let (decisions, outcome) = shrink(seed, decisions);
    let shrunk = outcome.end.unwrap_err();
    println!("seed {seed}: {violation}\nshrunk to {} decisions: {}", decisions.len(), shrunk.0);
    outcome.trace.iter().for_each(|line| println!("  {line}"));
    panic!("seed {seed}: {violation}");
}
