//! What a keeper does next: a pure decision.

/// What people want of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It reads and writes.
    Running,
    /// It stays in its group and reads nothing.
    Paused,
    /// It is down until somebody starts it.
    Stopped,
    /// Its file is gone, or the service ends.
    Gone,
}

/// How a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    /// Down.
    Down,
    /// Down after a failure, until a while is over.
    Waiting,
    /// Being started.
    Starting,
    /// Up; whether it is held.
    Up { held: bool },
    /// Committing what it has, to end.
    Draining,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: all is as wanted, or something is under way whose end is waited for.
    Rest,
    /// Start it.
    Start,
    /// Commit what was read, and read no more.
    Hold,
    /// Read on.
    Release,
    /// Commit everything and end.
    Drain,
    /// Nobody needs this keeper any more.
    Leave,
}

/// What to do with a pipeline that `is` so, whose definition was `changed` since it was started.
pub(super) fn step(is: Is, wanted: Wanted, changed: bool) -> Step {
    match (is, wanted) {
        (Is::Starting | Is::Draining, _) => Step::Rest,
        (Is::Waiting, Wanted::Running | Wanted::Paused) if !changed => Step::Rest,
        (Is::Down | Is::Waiting, Wanted::Running | Wanted::Paused) => Step::Start,
        (Is::Down | Is::Waiting, Wanted::Stopped) => Step::Rest,
        (Is::Down | Is::Waiting, Wanted::Gone) => Step::Leave,
        (Is::Up { .. }, Wanted::Stopped | Wanted::Gone) => Step::Drain,
        (Is::Up { .. }, _) if changed => Step::Drain,
        (Is::Up { held: false }, Wanted::Paused) => Step::Hold,
        (Is::Up { held: true }, Wanted::Running) => Step::Release,
        (Is::Up { .. }, _) => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_moves_towards_what_is_wanted() {
        let all = [Wanted::Running, Wanted::Paused, Wanted::Stopped, Wanted::Gone];
        let check = |is, changed, expected: [Step; 4]| {
            assert_eq!(all.map(|wanted| step(is, wanted, changed)), expected, "{is:?}, changed: {changed}");
        };
        use Step::*;
        for changed in [false, true] {
            check(Is::Down, changed, [Start, Start, Rest, Leave]);
            check(Is::Starting, changed, [Rest; 4]);
            check(Is::Draining, changed, [Rest; 4]);
        }
        check(Is::Waiting, false, [Rest, Rest, Rest, Leave]);
        check(Is::Waiting, true, [Start, Start, Rest, Leave]);
        check(Is::Up { held: false }, false, [Rest, Hold, Drain, Drain]);
        check(Is::Up { held: true }, false, [Release, Rest, Drain, Drain]);
        check(Is::Up { held: false }, true, [Drain; 4]);
        check(Is::Up { held: true }, true, [Drain; 4]);
    }
}
