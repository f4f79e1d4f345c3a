//! When a lane that ended starts again, and when it doesn't: a pure decision.

use std::time::Duration;

use crate::model::Restart;

/// What to do with a lane that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start it again after this long.
    Restart(Duration),
    /// Leave it: a person has to look.
    Park,
}

/// A lane's failures since its last commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures(u32);

impl Failures {
    /// One more.
    pub fn failed(&mut self, policy: &Restart) -> Decision {
        self.0 += 1;
        if self.0 >= policy.failures_until_parked {
            return if policy.for_ever { Decision::Restart(policy.backoff_max) } else { Decision::Park };
        }
        let doubled = policy.backoff_min.saturating_mul(1 << (self.0 - 1).min(20));
        Decision::Restart(doubled.min(policy.backoff_max))
    }

    /// The lane committed: what failed before is over.
    pub fn committed(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_waits_longer_each_time_and_parks_at_last() {
        let second = Duration::from_secs;
        let policy =
            Restart { backoff_min: second(1), backoff_max: second(3), failures_until_parked: 5, for_ever: false };
        let mut failures = Failures::default();
        let mut decisions: Vec<_> = (0..4).map(|_| failures.failed(&policy)).collect();
        failures.committed();
        decisions.push(failures.failed(&policy));
        let restart = |seconds| Decision::Restart(second(seconds));
        assert_eq!(decisions, [restart(1), restart(2), restart(3), restart(3), restart(1)]);
        for _ in 0..3 {
            failures.failed(&policy);
        }
        assert_eq!(failures.failed(&policy), Decision::Park);
        assert_eq!(failures.failed(&Restart { for_ever: true, ..policy }), restart(3));
    }
}
