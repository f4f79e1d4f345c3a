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
    /// Up; whether it is held, and whether its definition was changed since it was started.
    Up { held: bool, changed: bool },
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

/// What to do with a pipeline that `is` so.
pub(super) fn step(is: Is, wanted: Wanted) -> Step {
    match (is, wanted) {
        (Is::Starting | Is::Draining, _) => Step::Rest,
        (Is::Down, Wanted::Running | Wanted::Paused) => Step::Start,
        (Is::Waiting, Wanted::Running | Wanted::Paused) => Step::Rest,
        (Is::Down | Is::Waiting, Wanted::Stopped) => Step::Rest,
        (Is::Down | Is::Waiting, Wanted::Gone) => Step::Leave,
        (Is::Up { .. }, Wanted::Stopped | Wanted::Gone) | (Is::Up { changed: true, .. }, _) => Step::Drain,
        (Is::Up { held: false, .. }, Wanted::Paused) => Step::Hold,
        (Is::Up { held: true, .. }, Wanted::Running) => Step::Release,
        (Is::Up { .. }, _) => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_moves_towards_what_is_wanted() {
        let all = [Wanted::Running, Wanted::Paused, Wanted::Stopped, Wanted::Gone];
        let check = |is, expected: [Step; 4]| {
            assert_eq!(all.map(|wanted| step(is, wanted)), expected, "{is:?}");
        };
        use Step::*;
        check(Is::Down, [Start, Start, Rest, Leave]);
        check(Is::Waiting, [Rest, Rest, Rest, Leave]);
        check(Is::Starting, [Rest; 4]);
        check(Is::Draining, [Rest; 4]);
        check(Is::Up { held: false, changed: false }, [Rest, Hold, Drain, Drain]);
        check(Is::Up { held: true, changed: false }, [Release, Rest, Drain, Drain]);
        check(Is::Up { held: false, changed: true }, [Drain; 4]);
        check(Is::Up { held: true, changed: true }, [Drain; 4]);
    }
}
