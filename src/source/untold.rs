//! What Kafka has not been told of how far the ledger is: which positions to tell, and when.
//!
//! The group's offsets are advisory, but kept true: lag tools read them, and whoever starts from
//! them. So what Kafka refuses is told again, and a lane that starts tells its position where the
//! group's differs. Only positions of the ledger are told, and only of lanes that this source has.
//!
//! **Invariant:** of a partition, one answer is waited for at a time. Two commits on their way
//! could be done in the wrong order, and would leave the group behind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::Partition;

/// How long to wait before what was refused is told again.
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// How long refusals may last before that is said: a group that is rebalanced refuses for a moment.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often it is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The positions of the ledger, and what Kafka knows of them.
#[derive(Debug, Default)]
pub(super) struct Untold {
    of: HashMap<Partition, Position>,
    refused: Option<Refused>,
}

/// How far a partition is.
#[derive(Debug)]
struct Position {
    /// Where the ledger ends.
    ledger: i64,
    /// The group's offset, as far as is known.
    kafka: Option<i64>,
    /// Whether an answer is waited for.
    on_its_way: bool,
    /// When to tell it again at the earliest, after a refusal.
    not_before: Option<Instant>,
}

/// Kafka refuses.
#[derive(Debug)]
struct Refused {
    since: Instant,
    /// Kafka's reason, the newest one.
    reason: String,
    said: Option<Instant>,
}

impl Position {
    fn is_told(&self) -> bool {
        self.kafka == Some(self.ledger)
    }
}

impl Untold {
    /// A lane starts where its ledger ends, and the group's offset was `kafka` a moment before.
    pub(super) fn starts(&mut self, partition: &Partition, ledger: i64, kafka: Option<i64>) {
        // The answer to what an earlier lane of this source told may still come.
        let on_its_way = self.of.get(partition).is_some_and(|before| before.on_its_way);
        self.of.insert(partition.clone(), Position { ledger, kafka, on_its_way, not_before: None });
    }

    /// The ledger has an entry up to `ledger`.
    pub(super) fn commits(&mut self, partition: &Partition, ledger: i64) {
        match self.of.get_mut(partition) {
            Some(position) => position.ledger = ledger,
            None => self.starts(partition, ledger, None),
        }
    }

    /// The lane is no longer this source's. Returns the position that Kafka may not know.
    pub(super) fn leaves(&mut self, partition: &Partition) -> Option<i64> {
        let left = self.of.remove(partition)?;
        if self.of.is_empty() {
            self.refused = None;
        }
        (!left.is_told()).then_some(left.ledger)
    }

    /// What to tell now; an answer to each is waited for from then on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Partition, i64)> {
        let due = |position: &Position| {
            !position.is_told() && !position.on_its_way && position.not_before.is_none_or(|at| at <= now)
        };
        let due = self.of.iter_mut().filter(|(_, position)| due(position));
        let tell = |(partition, position): (&Partition, &mut Position)| {
            position.on_its_way = true;
            (partition.clone(), position.ledger)
        };
        due.map(tell).collect()
    }

    /// Kafka has taken over a position.
    pub(super) fn told(&mut self, partition: &Partition, told: i64) {
        if let Some(position) = self.of.get_mut(partition) {
            (position.kafka, position.on_its_way, position.not_before) = (Some(told), false, None);
        }
    }

    /// Kafka has refused a position.
    pub(super) fn refused(&mut self, partition: &Partition, reason: &str, now: Instant) {
        let Some(position) = self.of.get_mut(partition) else {
            return; // It is another one's now, who tells where its ledger ends.
        };
        (position.on_its_way, position.not_before) = (false, Some(now + TELL_AGAIN));
        let refused = self.refused.get_or_insert(Refused { since: now, reason: String::new(), said: None });
        reason.clone_into(&mut refused.reason);
    }

    /// Whether Kafka knows every position.
    pub(super) fn is_empty(&self) -> bool {
        self.of.values().all(Position::is_told)
    }

    /// How many partitions Kafka doesn't know the position of, and why, if that is to be said now.
    /// `ends`: nothing is told after this.
    pub(super) fn what_to_say(&mut self, ends: bool, now: Instant) -> Option<(usize, String)> {
        let left = self.of.values().filter(|position| !position.is_told()).count();
        let refused = self.refused.as_mut().filter(|_| left > 0)?;
        let due = match refused.said {
            Some(said) => now - said >= SAY_AGAIN,
            None => ends || now - refused.since >= PATIENCE,
        };
        if due {
            refused.said = Some(now);
        }
        due.then(|| (left, refused.reason.clone()))
    }

    /// Whether Kafka knows every position again, after it was said that it doesn't; tells it once.
    pub(super) fn is_over(&mut self) -> bool {
        // Not those on their way: a position that moves all the time is never told for long.
        if self.of.values().any(|position| position.not_before.is_some()) {
            return false;
        }
        self.refused.take().is_some_and(|refused| refused.said.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32) -> Partition {
        Partition { topic: "t".into(), partition }
    }

    /// What happens to partition 0 of a source, in order.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// A lane starts: where its ledger ends, and the group's offset.
        Starts(i64, Option<i64>),
        Commits(i64),
        /// So many seconds later this is told, or nothing.
        Tells(u64, Option<i64>),
        Told(i64),
        Refused,
        /// What Kafka may not know when it goes.
        Leaves(Option<i64>),
    }

    #[track_caller]
    fn check(steps: &[Step]) {
        let (mut untold, start) = (Untold::default(), Instant::now());
        let (of, mut now) = (partition(0), start);
        for (at, step) in steps.iter().enumerate() {
            match *step {
                Step::Starts(ledger, kafka) => untold.starts(&of, ledger, kafka),
                Step::Commits(ledger) => untold.commits(&of, ledger),
                Step::Tells(later, expected) => {
                    now += Duration::from_secs(later);
                    let due = untold.due(now).first().map(|(_, position)| *position);
                    assert_eq!(due, expected, "step {at} of {steps:?}");
                }
                Step::Told(position) => untold.told(&of, position),
                Step::Refused => untold.refused(&of, "no", now),
                Step::Leaves(expected) => assert_eq!(untold.leaves(&of), expected, "step {at} of {steps:?}"),
            }
        }
    }

    #[test]
    fn what_is_told_when() {
        use Step::{Commits, Leaves, Refused, Starts, Tells, Told};
        // A start tells the ledger's position where the group's differs, in either direction.
        check(&[Starts(7, Some(7)), Tells(0, None), Leaves(None)]);
        check(&[Starts(7, Some(3)), Tells(0, Some(7)), Tells(9, None), Told(7), Tells(9, None), Leaves(None)]);
        check(&[Starts(7, None), Tells(0, Some(7)), Told(7), Leaves(None)]);
        check(&[Starts(7, Some(9)), Tells(0, Some(7))]);
        // What is refused is told again, after a pause; a newer position waits for it, too.
        check(&[Starts(7, Some(3)), Tells(0, Some(7)), Refused, Tells(1, None), Tells(1, Some(7)), Told(7)]);
        check(&[
            Starts(7, Some(7)),
            Commits(8),
            Tells(0, Some(8)),
            Refused,
            Commits(9),
            Tells(1, None),
            Tells(1, Some(9)),
        ]);
        check(&[Starts(7, Some(7)), Commits(8), Tells(0, Some(8)), Refused, Refused, Leaves(Some(8)), Tells(9, None)]);
        // One at a time, and the newest one after that.
        check(&[
            Starts(7, Some(7)),
            Commits(8),
            Tells(0, Some(8)),
            Commits(9),
            Tells(9, None),
            Told(8),
            Tells(0, Some(9)),
        ]);
        check(&[Starts(7, Some(7)), Commits(8), Tells(0, Some(8)), Commits(9), Leaves(Some(9))]);
        // A lane that starts again waits for what the one before it told.
        check(&[Starts(7, Some(3)), Tells(0, Some(7)), Starts(7, Some(3)), Tells(0, None), Told(7), Tells(0, None)]);
        // An answer that comes when the partition is another one's is none for us.
        check(&[Starts(7, Some(3)), Tells(0, Some(7)), Leaves(Some(7)), Refused, Told(7), Tells(9, None)]);
        check(&[
            Starts(7, Some(3)),
            Tells(0, Some(7)),
            Leaves(Some(7)),
            Starts(9, Some(3)),
            Told(7),
            Tells(0, Some(9)),
        ]);
    }

    #[test]
    fn refusals_are_said_when_they_last_then_each_minute_and_at_the_end() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut untold = Untold::default();
        untold.starts(&partition(0), 5, Some(5));
        untold.starts(&partition(1), 5, None);
        untold.starts(&partition(2), 5, None);
        assert!(!untold.is_empty() && untold.what_to_say(true, at(0)).is_none(), "nothing was refused yet");
        for second in 0..62 {
            for (of, _) in untold.due(at(second)) {
                untold.refused(&of, &format!("no at {second}"), at(second));
            }
            let said = untold.what_to_say(false, at(second));
            let expected = (second == 4).then(|| (2, "no at 4".to_owned()));
            assert_eq!((said, untold.is_over()), (expected, false), "{second}");
        }
        assert_eq!(untold.what_to_say(false, at(64)).map(|(left, _)| left), Some(2));
        untold.due(at(64));
        untold.told(&partition(1), 5);
        untold.told(&partition(2), 5);
        assert!(untold.is_empty() && untold.what_to_say(true, at(200)).is_none());
        assert_eq!((untold.is_over(), untold.is_over()), (true, false));
        // At the end it is said at once; a refusal that passes is not worth a word.
        untold.commits(&partition(0), 6);
        untold.due(at(200));
        untold.refused(&partition(0), "no", at(200));
        assert_eq!(untold.what_to_say(false, at(201)), None);
        assert_eq!(untold.what_to_say(true, at(201)), Some((1, "no".to_owned())));
        let mut brief = Untold::default();
        brief.starts(&partition(0), 6, None);
        brief.due(at(0));
        brief.refused(&partition(0), "no", at(0));
        brief.due(at(2));
        brief.told(&partition(0), 6);
        assert!(!brief.is_over());
    }
}
