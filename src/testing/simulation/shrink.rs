//! A run that fails, made small: delta debugging (Zeller and Hildebrandt, 2002) over its decisions, after whole groups of them
//! and most of the world have been tried without.

use super::Violation;
use super::disk::Loss;
use super::run::{Decision, How, Outcome, again};
use super::world::Config;

/// Steps that shrinking may take.
const STEPS_MAX: u64 = 2_000_000;

/// As little of a failing run as still fails in the same way, traced, and how many decisions that is.
pub(super) fn shrink(config: &Config, failed: Outcome) -> (usize, Outcome) {
    let Outcome { decisions, in_drain: drained, end, .. } = failed;
    let kind = end.map_or_else(|violation| kind(&violation), |()| String::new());
    let mut shrinking = Shrinking { config: config.clone(), decisions, kind, drained, left: STEPS_MAX };
    shrinking.world();
    shrinking.groups();
    loop {
        let before = shrinking.decisions.clone();
        shrinking.halves();
        shrinking.turns();
        if shrinking.decisions == before || shrinking.left == 0 {
            break;
        }
    }
    let how = How { traced: true, drained };
    (shrinking.decisions.len(), again(&shrinking.config, &shrinking.decisions, &how))
}

/// A violation's words, without numbers and names.
fn kind(violation: &Violation) -> String {
    let words =
        violation.0.split(' ').filter(|word| word.chars().all(|letter| letter.is_alphabetic() || letter == ','));
    words.take(6).collect::<Vec<_>>().join(" ")
}

struct Shrinking {
    config: Config,
    decisions: Vec<Decision>,
    kind: String,
    /// Whether it fails only after its last decision.
    drained: bool,
    /// Steps.
    left: u64,
}

impl Shrinking {
    /// Whether it fails in the same way. If so, what came after the failure goes.
    fn fails(&mut self, config: &Config, decisions: &[Decision]) -> bool {
        if self.left == 0 {
            return false;
        }
        let outcome = again(config, decisions, &How { traced: false, drained: self.drained });
        self.left = self.left.saturating_sub(outcome.totals.steps);
        let same = outcome.end.is_err_and(|violation| kind(&violation) == self.kind);
        if same {
            (self.config, self.decisions) = (config.clone(), outcome.decisions);
        }
        same
    }

    fn world(&mut self) {
        for smaller in Config::smaller() {
            let mut config = self.config.clone();
            smaller(&mut config);
            self.fails(&config, &self.decisions.clone());
        }
    }

    fn without(&mut self, which: impl Fn(&Decision) -> bool) {
        let config = self.config.clone();
        let fewer: Vec<Decision> = self.decisions.iter().copied().filter(|decision| !which(decision)).collect();
        if fewer.len() < self.decisions.len() {
            self.fails(&config, &fewer);
        }
    }

    fn groups(&mut self) {
        self.without(|decision| matches!(decision, Decision::Fault(_)));
        self.without(|decision| matches!(decision, Decision::PowerFails(_)));
        self.without(|decision| matches!(decision, Decision::Kill(_)));
        for which in 0..self.config.instances {
            self.without(|decision| {
                matches!(decision, Decision::Start(who) | Decision::Kill(who) | Decision::Turn(who, ..) if *who == which)
            });
        }
    }

    fn halves(&mut self) {
        let mut length = self.decisions.len().div_ceil(2);
        loop {
            let mut start = 0;
            while start < self.decisions.len() {
                let mut fewer = self.decisions.clone();
                fewer.drain(start..(start + length).min(fewer.len()));
                let config = self.config.clone();
                if !self.fails(&config, &fewer) {
                    start += length;
                }
            }
            if length <= 1 {
                return;
            }
            length = length.div_ceil(2);
        }
    }

    /// Fewer steps a turn, and power failures that are easier to understand.
    fn turns(&mut self) {
        let mut at = 0;
        while at < self.decisions.len() {
            let simpler = match self.decisions[at] {
                Decision::Turn(who, task, steps @ 2..) => {
                    vec![Decision::Turn(who, task, steps / 2), Decision::Turn(who, task, steps - 1)]
                }
                Decision::PowerFails(Loss::Some(_)) => vec![Decision::PowerFails(Loss::All)],
                _ => vec![],
            };
            let found = simpler.into_iter().any(|simpler| {
                let (config, mut decisions) = (self.config.clone(), self.decisions.clone());
                decisions[at] = simpler;
                self.fails(&config, &decisions)
            });
            if !found {
                at += 1;
            }
        }
    }
}
