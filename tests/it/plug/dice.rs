//! Chance that a seed decides.

use std::ops::Range;
use std::time::Duration;

use crate::harness::produce::random;

/// Numbers that follow from a seed.
pub(super) struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { seed, thrown: 0 }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn next(&mut self) -> u64 {
        self.thrown += 1;
        random(self.seed, "dice", self.thrown)
    }

    pub(super) fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    /// So many milliseconds.
    pub(super) fn within(&mut self, milliseconds: Range<u64>) -> Duration {
        Duration::from_millis(self.range(milliseconds))
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.next() as usize % all.len()]
    }

    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.next() as usize % (at + 1));
        }
    }
}
