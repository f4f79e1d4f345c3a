//! A run that fails, made small: delta debugging (Zeller and Hildebrandt, 2002) over its decisions.

use super::run::{Decision, Outcome, again};

/// As few of a failing run's decisions as still fail, and the run by them, traced.
pub(super) fn shrink(seed: u64, mut decisions: Vec<Decision>) -> (Vec<Decision>, Outcome) {
    let fails = |decisions: &[Decision]| again(seed, decisions, false).end.is_err();
    // What came after it has nothing to do with it.
    let mut length = decisions.len().div_ceil(2).max(1);
    loop {
        let (mut start, before) = (0, decisions.len());
        while start < decisions.len() {
            let mut fewer = decisions.clone();
            fewer.drain(start..(start + length).min(decisions.len()));
            match fails(&fewer) {
                true => decisions = fewer,
                false => start += length,
            }
        }
        if length > 1 {
            length = length.div_ceil(2);
        } else if decisions.len() == before {
            break;
        }
    }
    shorten_turns(&mut decisions, fails);
    let outcome = again(seed, &decisions, true);
    (decisions, outcome)
}

/// Fewer steps a turn.
fn shorten_turns(decisions: &mut [Decision], fails: impl Fn(&[Decision]) -> bool) {
    for at in 0..decisions.len() {
        while let Decision::Turn(who, task, steps @ 2..) = decisions[at] {
            let whole = decisions[at];
            let fewer = [steps / 2, steps - 1].into_iter().find(|fewer| {
                decisions[at] = Decision::Turn(who, task, *fewer);
                fails(decisions)
            });
            if fewer.is_none() {
                decisions[at] = whole;
                break;
            }
        }
    }
}
