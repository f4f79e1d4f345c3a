//! How many requests are answered in a second: whoever asks faster waits. Connections are limited, so that the wait is, too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests a second, in the long run; a fuzzer doesn't wait.
const RATE: u32 = if cfg!(fuzzing) { 1_000_000_000 } else { 100 };
/// So many may come at once after a quiet time.
const BURST: u32 = 100;

/// Gives each request its turn.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next turn would be if every turn before it had been taken at its time.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// How long a request that comes `now` has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let turn = Duration::from_secs(1) / RATE;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // A quiet time earns no more than a burst.
        let earliest = now.checked_sub(turn * BURST).unwrap_or(now);
        let at = next.map_or(earliest, |next| next.max(earliest));
        *next = Some(at + turn);
        at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_the_rest_at_its_pace() {
        let (pace, start) = (Pace::default(), Instant::now() + Duration::from_secs(60));
        let waits: Vec<_> = (0..BURST + 50).map(|_| pace.wait(start)).collect();
        let (burst, rest) = waits.split_at(BURST as usize + 1);
        assert!(burst.iter().all(Duration::is_zero), "{burst:?}");
        let turn = Duration::from_secs(1) / RATE;
        assert!(rest.iter().zip(1..).all(|(wait, number)| *wait == turn * number), "{rest:?}");
        // A second later those are served, and half a burst is earned.
        let later = start + Duration::from_secs(1);
        let free = (0..BURST).filter(|_| pace.wait(later).is_zero()).count();
        assert_eq!(free, 51);
    }
}
