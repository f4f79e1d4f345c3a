//! What becomes of partitions, as tables: each event in each state, and stories of several.

use super::*;
use crate::model::LastRecord;
use crate::model::window::WindowState;

use Step::*;

/// A lane of a test: its generation, and the bytes that it holds.
type Held = (u64, usize);

fn partition(partition: i32) -> Partition {
    Partition { topic: "t".into(), partition }
}

/// What happens to the partitions of a source. Numbers are a partition and a generation, where nothing else is said.
#[derive(Debug, Clone)]
enum Step {
    /// Given to the source.
    Given(&'static [i32]),
    /// Its ledger ends at this position, and a lane was made.
    Known(i32, u64, i64),
    /// Its ledger can't be read: whether that may pass.
    NotKnown(i32, u64, bool),
    /// Records up to this position.
    Records(i32, u64, i64),
    /// Up to this position, and no record.
    Gap(i32, u64, i64),
    Committed(i32, u64),
    EndReached(i32, u64),
    Revoked(&'static [i32]),
    /// These have committed everything.
    Drained(&'static [(i32, u64)]),
    GivenBack(i32),
    Damaged(i32, u64),
    TooLarge(i32, u64),
    /// What was to follow on the damage, or on the large batch.
    Restarts(i32, u64),
    Parks(i32, u64),
    Ended(i32, u64, Why),
    Broken(i32, u64),
    LogCut(i32, u64, Cut),
    Judged(i32, u64, Result<(), bool>, bool),
    TopicGone,
    WaitIsOver(i32, u64),
    LookWhetherDone,
    Stop,
}

fn lane(of: i32, generation: u64) -> LaneId {
    LaneId { partition: partition(of), generation }
}

fn fenced() -> LedgerError {
    LedgerError::Fenced { chain: "c".to_owned(), sequence: 1, winner: "another".to_owned(), path: "p".into() }
}

fn may_pass(may_pass: bool) -> StartError {
    match may_pass {
        true => StartError::Ledger(fenced()),
        false => StartError::Panicked("no".to_owned()),
    }
}

fn at(of: i32, generation: u64) -> StartAt {
    let last = Some(LastRecord { offset: 6, leader_epoch: None });
    StartAt { partition: partition(of), generation, position: 7, last, end: None }
}

fn tip(to: i64) -> Tip {
    let window = WindowState::Count { window: 0, rows: 0 };
    Tip { sequence: 1, to, last: None, window, written_at_ms: 0, lost: 0, sha256: String::new(), requires: vec![] }
}

fn numbers<'a>(lanes: impl IntoIterator<Item = &'a LaneId>) -> String {
    let one = |lane: &LaneId| format!(" {}/{}", lane.partition.partition, lane.generation);
    lanes.into_iter().map(one).collect()
}

fn of(partitions: &[Partition]) -> String {
    partitions.iter().map(|partition| format!(" {}", partition.partition)).collect()
}

/// An action in a few words: the partition, and the generation of its lane.
fn words(action: Action<Held>) -> String {
    match action {
        Action::ReadLedgers { lanes, answers } => {
            format!("read{}{}", numbers(&lanes), if answers { ", answer" } else { "" })
        }
        Action::Command(Command::Start(starts)) => {
            let one = |start: &StartAt| {
                let end = start.end.map_or_else(String::new, |end| format!("-{end}"));
                format!(" {}@{}{end}", start.partition.partition, start.position)
            };
            format!("command start{}", starts.iter().map(one).collect::<String>())
        }
        Action::Command(Command::Restart(start)) => {
            format!("command restart {}@{}", start.partition.partition, start.position)
        }
        Action::Command(Command::Park(partition)) => format!("command park {}", partition.partition),
        Action::Command(other) => panic!("{other:?}"),
        Action::Drain { lanes, then } => {
            let then = match then {
                Then::LookWhetherDone => "look".to_owned(),
                Then::GiveBack(partitions) => format!("give back{}", of(&partitions)),
                Then::Restart { lane, .. } => format!("restart{}", numbers([&lane])),
                Then::Park { lane, .. } => format!("park{}", numbers([&lane])),
                Then::Close => "close".to_owned(),
            };
            format!("drain{}, then {then}", numbers(lanes.iter().map(|lane| &lane.id)))
        }
        Action::RestartAfter { lane, after, .. } => format!("wait{} for {} s", numbers([&lane]), after.as_secs()),
        Action::SayParked { partition, .. } => format!("say parked {}", partition.partition),
        Action::SayAskedAgain { partition } => format!("say asked again {}", partition.partition),
        Action::SayOvertaken { partition, .. } => format!("say overtaken {}", partition.partition),
        Action::SayFailedAtEnd { partition, .. } => format!("say failed at the end {}", partition.partition),
        Action::Close => "close".to_owned(),
    }
}

struct Source {
    lanes: Lanes<Held>,
    now: Instant,
}

impl Source {
    /// One that gives lanes up after three failures in a row. `ends`: for a run until there.
    fn new(ends: Option<&[(i32, i64)]>) -> Self {
        let restarts = Restart {
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(9),
            failures_until_parked: 3,
            for_ever: false,
        };
        let ends = ends.map(|ends| ends.iter().map(|(of, end)| (partition(*of), *end)).collect());
        Source { lanes: Lanes::new(restarts, ends), now: Instant::now() }
    }

    /// What is to be done about it.
    fn step(&mut self, step: &Step) -> Vec<String> {
        let (lanes, now) = (&mut self.lanes, self.now);
        let partitions = |of: &[i32]| of.iter().map(|of| partition(*of)).collect::<Vec<_>>();
        let actions = match step.clone() {
            Given(given) => lanes.start(partitions(given), true, now),
            Known(of, generation, position) => {
                let start = lanes.known(&lane(of, generation), &tip(position));
                if let Some(start) = &start {
                    lanes.made(start, (generation, 0), now);
                }
                lanes.started(start.into_iter().collect(), false)
            }
            NotKnown(of, generation, passes) => lanes.not_known(&lane(of, generation), &may_pass(passes)),
            Records(of, generation, to) => {
                let handed = lanes.handed(&lane(of, generation), to, Some(to - 1), now);
                return handed.map(|(generation, _)| format!("to {generation}")).into_iter().collect();
            }
            Gap(of, generation, to) => {
                let handed = lanes.handed(&lane(of, generation), to, None, now);
                return handed.map(|(generation, _)| format!("to {generation}")).into_iter().collect();
            }
            Committed(of, generation) => {
                let current = lanes.committed(&lane(of, generation));
                return current.then(|| "counts".to_owned()).into_iter().collect();
            }
            EndReached(of, generation) => lanes.end_reached(&lane(of, generation)),
            Revoked(revoked) => lanes.revoked(partitions(revoked)),
            Drained(drained) => {
                let drained: Vec<_> = drained.iter().map(|(of, generation)| lane(*of, *generation)).collect();
                lanes.drained(&drained);
                Vec::new()
            }
            GivenBack(of) => {
                lanes.remove(&partition(of));
                Vec::new()
            }
            Damaged(of, generation) => lanes.damaged(lane(of, generation), "bad".to_owned()),
            TooLarge(of, generation) => lanes.too_large(lane(of, generation), "large".to_owned()),
            Restarts(of, generation) => lanes.restart_drained(&lane(of, generation), "bad"),
            Parks(of, generation) => lanes.park_drained(&lane(of, generation), "large"),
            Ended(of, generation, why) => lanes.ended(&lane(of, generation), why, "ended"),
            Broken(of, generation) => lanes.broken(&lane(of, generation), "broken"),
            LogCut(of, generation, how) => lanes.cut(&at(of, generation), how, now),
            Judged(of, generation, verdict, lost) => {
                lanes.judged(&lane(of, generation), verdict.map_err(may_pass), lost)
            }
            TopicGone => lanes.topic_gone("t", "gone"),
            WaitIsOver(of, generation) => lanes.wait_is_over(&lane(of, generation), now),
            LookWhetherDone => lanes.close_if_done().into_iter().collect(),
            Stop => lanes.stop_all(),
        };
        actions.into_iter().map(words).collect()
    }

    /// The state of each partition, with its generation.
    fn states(&self) -> Vec<String> {
        let mut states: Vec<_> = self.lanes.slots.iter().collect();
        states.sort_by_key(|(partition, _)| partition.partition);
        let state = |(partition, slot): (&Partition, &Slot<Held>)| {
            let state = match slot.state {
                State::Starting => "starting",
                State::Running(_) => "running",
                State::Draining => "draining",
                State::Done => "done",
                State::Parked => "parked",
            };
            format!("{}/{} {state}", partition.partition, slot.generation)
        };
        states.into_iter().map(state).collect()
    }
}

/// Partition 0 in a state, by the steps that lead there. Its lane is of generation 1.
fn states() -> Vec<(&'static str, Vec<Step>)> {
    let running = vec![Given(&[0]), Known(0, 1, 5), Records(0, 1, 9)];
    let and = |step: Step| [running.clone(), vec![step]].concat();
    vec![
        ("starting", vec![Given(&[0])]),
        ("running", running.clone()),
        ("draining", and(Revoked(&[0]))),
        ("done", [and(EndReached(0, 1)), vec![Drained(&[(0, 1)])]].concat()),
        ("parked", and(Ended(0, 1, Why::NeedsAPerson))),
    ]
}

/// What an event leads to, from each of the states: "actions → state", where it changes something.
#[track_caller]
fn check(event: Step, expected: [&str; 5]) {
    for ((name, steps), expected) in states().into_iter().zip(expected) {
        let mut source = Source::new(None);
        steps.iter().for_each(|step| drop(source.step(step)));
        let before = source.states();
        let actions = source.step(&event).join("; ");
        let after = source.states();
        let seen = match (after == before, actions.is_empty()) {
            (true, _) => actions,
            (false, _) => format!("{actions} → {}", after.join(", ")),
        };
        assert_eq!(seen.trim(), expected, "{event:?} while {name}");
    }
}

const NOTHING: [&str; 5] = [""; 5];

// Tables are read by their lines.
#[rustfmt::skip]
#[test]
fn each_event_in_each_state() {
    let parks = "say parked 0; command park 0";
    let restarts = "wait 0/2 for 1 s → 0/2 starting";
    // While it is starting, running, draining, done, and parked.
    let again = "read 0/2, answer → 0/2 starting";
    check(Given(&[0]), [again; 5]);
    check(Records(0, 1, 10), ["", "to 1", "", "", ""]);
    check(Gap(0, 1, 10), ["", "to 1", "", "", ""]);
    check(Committed(0, 1), ["counts"; 5]);
    check(EndReached(0, 1), ["drain, then look", "drain 0/1, then look → 0/1 draining", "drain, then look",
        "drain, then look", "drain, then look"]);
    check(Revoked(&[0]), ["drain, then give back 0", "drain 0/1, then give back 0 → 0/1 draining",
        "drain, then give back 0", "drain, then give back 0", "drain, then give back 0"]);
    check(Stop, ["drain, then close", "drain 0/1, then close → 0/1 draining", "drain, then close",
        "drain, then close", "drain, then close"]);
    check(GivenBack(0), ["→"; 5]);
    check(Damaged(0, 1), ["", "drain 0/1, then restart 0/1 → 0/1 draining", "", "", ""]);
    check(TooLarge(0, 1), ["", "drain 0/1, then park 0/1 → 0/1 draining", "", "", ""]);
    check(Broken(0, 1), ["", restarts, "", "", ""]);
    let parked = &*format!("{parks} → 0/1 parked");
    check(Ended(0, 1, Why::MayPass), [restarts, restarts, restarts, "", ""]);
    check(Ended(0, 1, Why::Overtaken), [restarts, restarts, restarts, "", ""]);
    check(Ended(0, 1, Why::NeedsAPerson), [parked, parked, parked, "", ""]);
    check(LogCut(0, 1, Cut::Ahead), ["", restarts, "", "", ""]);
    let asked = "say asked again 0; read 0/2 → 0/2 starting";
    check(LogCut(0, 1, Cut::Behind), ["", asked, "", "", ""]);
    check(LogCut(0, 1, Cut::Between(8)), ["", asked, "", "", ""]);
    check(Judged(0, 1, Ok(()), false), NOTHING);
    check(Judged(0, 1, Ok(()), true), [restarts; 5]);
    check(Judged(0, 1, Err(true), false), [restarts; 5]);
    check(Judged(0, 1, Err(false), true), [parked, parked, parked, parked, parks]);
    check(TopicGone, [parked, parked, parked, parked, ""]);
    check(LookWhetherDone, NOTHING);
}

#[test]
fn an_older_lane_changes_nothing() {
    let old = [
        NotKnown(0, 1, true),
        NotKnown(0, 1, false),
        Records(0, 1, 20),
        Gap(0, 1, 20),
        Committed(0, 1),
        EndReached(0, 1),
        Drained(&[(0, 1)]),
        Damaged(0, 1),
        TooLarge(0, 1),
        Restarts(0, 1),
        Parks(0, 1),
        Ended(0, 1, Why::MayPass),
        Ended(0, 1, Why::NeedsAPerson),
        Ended(0, 1, Why::Overtaken),
        Broken(0, 1),
        LogCut(0, 1, Cut::Behind),
        Judged(0, 1, Err(false), true),
        WaitIsOver(0, 1),
        Known(0, 1, 5),
    ];
    let mut source = Source::new(None);
    for step in [Given(&[0]), Known(0, 1, 5), Broken(0, 1), WaitIsOver(0, 2), Known(0, 3, 5), Records(0, 3, 9)] {
        source.step(&step);
    }
    for step in old {
        assert!(source.step(&step).is_empty(), "{step:?}");
        assert_eq!(source.states(), ["0/3 running"], "{step:?}");
    }
    // What was read is still known, and told once.
    assert_eq!([5, 5].map(|committed| source.lanes.uncommitted(&partition(0), committed)), [Some(9), None]);
}

/// Each step, and what is to be done about it.
#[track_caller]
fn story(ends: Option<&[(i32, i64)]>, steps: &[(Step, &str)]) -> Source {
    let mut source = Source::new(ends);
    for (step, expected) in steps {
        assert_eq!(source.step(step).join("; "), *expected, "{step:?}");
    }
    source
}

#[test]
fn a_lane_that_fails_too_often_is_parked() {
    let fails = Ended(0, 1, Why::MayPass);
    let source = story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Known(0, 1, 5), "command restart 0@5"),
            (fails.clone(), "wait 0/2 for 1 s"),
            (WaitIsOver(0, 2), "read 0/3"),
            // Not even its ledger can be read.
            (NotKnown(0, 3, true), "wait 0/4 for 2 s"),
            (WaitIsOver(0, 4), "read 0/5"),
            (Known(0, 5, 5), "command restart 0@5"),
            (Ended(0, 5, Why::Overtaken), "say parked 0; command park 0"),
            // Nobody starts it again.
            (WaitIsOver(0, 4), ""),
        ],
    );
    assert_eq!(source.states(), ["0/6 parked"]);
    // A commit between them, and it starts to count again.
    story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Known(0, 1, 5), "command restart 0@5"),
            (fails, "wait 0/2 for 1 s"),
            (WaitIsOver(0, 2), "read 0/3"),
            (Known(0, 3, 5), "command restart 0@5"),
            (Broken(0, 3), "wait 0/4 for 2 s"),
            (WaitIsOver(0, 4), "read 0/5"),
            (Known(0, 5, 5), "command restart 0@5"),
            (Committed(0, 5), "counts"),
            (Broken(0, 5), "wait 0/6 for 1 s"),
        ],
    );
}

#[test]
fn a_stop_waits_for_no_lane_that_starts() {
    let mut source = story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Given(&[1]), "read 1/2, answer"),
            (Known(1, 2, 5), "command restart 1@5"),
            (Records(1, 2, 9), "to 2"),
            (Broken(1, 2), "wait 1/3 for 1 s"),
            (Stop, "drain, then close"),
            (Known(0, 1, 5), ""),
            (NotKnown(0, 1, false), ""),
            (WaitIsOver(1, 3), ""),
        ],
    );
    assert_eq!(source.states(), ["0/1 starting", "1/3 starting"]);
    // The one that has failed leaves records behind, the other one hasn't read any.
    assert_eq!(source.lanes.uncommitted(&partition(1), 5), Some(9));
    assert_eq!(source.lanes.uncommitted(&partition(0), 0), None);
}

/// It has committed all that it was handed, which is nothing.
#[test]
fn a_lane_that_started_again_right_before_a_stop_has_not_read_what_the_one_before_it_had() {
    let mut source = story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Known(0, 1, 5), "command restart 0@5"),
            (Records(0, 1, 9), "to 1"),
            (Ended(0, 1, Why::MayPass), "wait 0/2 for 1 s"),
            (WaitIsOver(0, 2), "read 0/3"),
            (Known(0, 3, 5), "command restart 0@5"),
            (Stop, "drain 0/3, then close"),
            (Drained(&[(0, 3)]), ""),
        ],
    );
    assert_eq!(source.states(), ["0/3 done"]);
    let left: Vec<_> = source.lanes.partitions();
    assert_eq!(left.iter().filter_map(|of| source.lanes.uncommitted(of, 5)).collect::<Vec<_>>(), [9]);
}

#[test]
fn a_lane_that_ends_while_the_source_stops() {
    let start = [
        (Given(&[0]), "read 0/1, answer"),
        (Known(0, 1, 5), "command restart 0@5"),
        (Records(0, 1, 9), "to 1"),
        (Stop, "drain 0/1, then close"),
    ];
    let after = |why, expected| {
        let steps = [&start[..], &[(Ended(0, 1, why), expected), (Ended(0, 1, Why::MayPass), "")]].concat();
        let mut source = story(None, &steps);
        let uncommitted = source.lanes.uncommitted(&partition(0), 5);
        (source.states().join(""), uncommitted)
    };
    // Another instance has committed what this one had: nothing is left uncommitted.
    assert_eq!(after(Why::Overtaken, "say overtaken 0"), ("0/1 done".to_owned(), None));
    let failed = ("0/1 parked".to_owned(), Some(9));
    assert_eq!(after(Why::MayPass, "say failed at the end 0"), failed);
    assert_eq!(after(Why::NeedsAPerson, "say failed at the end 0"), failed);
    let steps = [&start[..], &[(Drained(&[(0, 1)]), ""), (Ended(0, 1, Why::MayPass), "")]].concat();
    assert_eq!(story(None, &steps).states(), ["0/1 done"]);
}

#[test]
fn a_partition_that_is_taken_away_starts_nothing() {
    let source = story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Revoked(&[0]), "drain, then give back 0"),
            (GivenBack(0), ""),
            // Its ledger is read only now.
            (Known(0, 1, 5), ""),
            (NotKnown(0, 1, true), ""),
            (Ended(0, 1, Why::MayPass), ""),
            // It is ours again, and the answer of before is not this lane's.
            (Given(&[0]), "read 0/2, answer"),
            (Known(0, 1, 5), ""),
            (Known(0, 2, 6), "command restart 0@6"),
        ],
    );
    assert_eq!(source.states(), ["0/2 running"]);
}

#[test]
fn a_run_ends_with_its_last_lane() {
    let source = story(
        Some(&[(0, 20), (1, 3)]),
        &[
            (Given(&[0, 1]), "read 0/1 1/2, answer"),
            (Known(0, 1, 5), "command restart 0@5"),
            (EndReached(0, 1), "drain 0/1, then look"),
            (LookWhetherDone, ""),
            (Drained(&[(0, 1)]), ""),
            (LookWhetherDone, ""),
            (NotKnown(1, 2, false), "say parked 1; command park 1; close"),
            (LookWhetherDone, ""),
        ],
    );
    assert_eq!((source.states().join(", "), source.lanes.is_stopping()), ("0/1 done, 1/2 parked".to_owned(), true));
}

#[test]
fn an_assignment_is_answered_at_once_with_all_that_can_start() {
    let mut source = Source::new(Some(&[(0, 20), (1, 3)]));
    source.step(&Given(&[0, 1]));
    let known = |of, generation, to| source.lanes.known(&lane(of, generation), &tip(to));
    let starts: Vec<_> = [known(0, 1, 5), known(1, 2, 7)].into_iter().flatten().collect();
    let command = |actions: Vec<Action<Held>>| actions.into_iter().map(words).collect::<Vec<_>>();
    // An end before the ledger's is the ledger's.
    assert_eq!(command(source.lanes.started(starts, true)), ["command start 0@5-20 1@7-7"]);
    assert_eq!(command(source.lanes.started(Vec::new(), true)), ["command start"]);
    assert!(source.lanes.started(Vec::new(), false).is_empty());
}

#[test]
fn lost_records_are_asked_for_twice() {
    let twice = |how, last| {
        story(
            None,
            &[
                (Given(&[0]), "read 0/1, answer"),
                (Known(0, 1, 7), "command restart 0@7"),
                (LogCut(0, 1, how), "say asked again 0; read 0/2"),
                (Known(0, 2, 7), "command restart 0@7"),
                (LogCut(0, 2, how), last),
            ],
        )
    };
    twice(Cut::Behind, "say parked 0; command park 0");
    twice(Cut::Between(9), "say parked 0; command park 0");
    // Not after something was read in between.
    story(
        None,
        &[
            (Given(&[0]), "read 0/1, answer"),
            (Known(0, 1, 7), "command restart 0@7"),
            (LogCut(0, 1, Cut::Behind), "say asked again 0; read 0/2"),
            (Known(0, 2, 7), "command restart 0@7"),
            (Records(0, 2, 8), "to 2"),
            (LogCut(0, 2, Cut::Behind), "say asked again 0; read 0/3"),
        ],
    );
}

#[test]
fn what_cannot_be_read_follows_on_a_commit_of_what_came_before_it() {
    let start = [(Given(&[0]), "read 0/1, answer"), (Known(0, 1, 5), "command restart 0@5")];
    let then = |steps: &[(Step, &str)]| story(None, &[&start[..], steps].concat()).states().join("");
    let drained = (Drained(&[(0, 1)]), "");
    let bad = (Damaged(0, 1), "drain 0/1, then restart 0/1");
    assert_eq!(then(&[bad.clone(), drained.clone(), (Restarts(0, 1), "wait 0/2 for 1 s")]), "0/2 starting");
    let large = (TooLarge(0, 1), "drain 0/1, then park 0/1");
    assert_eq!(then(&[large, drained, (Parks(0, 1), "say parked 0; command park 0")]), "0/1 parked");
    // It failed while it drained, and has said so: it is another lane's by now.
    let failed = (Ended(0, 1, Why::MayPass), "wait 0/2 for 1 s");
    assert_eq!(then(&[bad.clone(), failed, (Restarts(0, 1), "")]), "0/2 starting");
    assert_eq!(then(&[bad, (Stop, "drain, then close"), (Restarts(0, 1), "")]), "0/1 draining");
}

#[test]
fn the_fullest_lane_is_asked_once_until_it_commits() {
    let mut source = Source::new(None);
    source.step(&Given(&[0, 1, 2]));
    for (of, held) in [(0, 10), (1, 30), (2, 20)] {
        source.lanes.made(&at(of, of as u64 + 1), (of as u64 + 1, held), source.now);
    }
    let mut asks = || source.lanes.relieve(|(_, held)| *held).copied();
    assert_eq!([asks(), asks()], [Some((2, 30)), None]);
    assert_eq!(source.step(&Committed(1, 2)), ["counts"]);
    assert_eq!(source.lanes.relieve(|(_, held)| *held).copied(), Some((2, 30)));
    // One that is not the newest doesn't count, and one that holds nothing is never asked.
    source.step(&Committed(1, 9));
    assert_eq!(source.lanes.relieve(|(_, held)| *held), None);
    source.step(&Committed(1, 2));
    assert_eq!(source.lanes.relieve(|_| 0), None);
}

#[test]
fn a_lane_is_quiet_when_it_was_handed_nothing_for_a_while() {
    let mut source = story(
        None,
        &[
            (Given(&[0, 1]), "read 0/1 1/2, answer"),
            (Known(0, 1, 5), "command restart 0@5"),
            (Known(1, 2, 5), "command restart 1@5"),
        ],
    );
    let (idle, start) = (Duration::from_secs(2), source.now);
    let look = |source: &mut Source, seconds| {
        let found = source.lanes.idle(idle, start + Duration::from_secs(seconds));
        let mut found: Vec<_> = found.into_iter().map(|lane| (lane.partition.partition, lane.position)).collect();
        found.sort_unstable();
        found
    };
    assert!(look(&mut source, 1).is_empty());
    source.now = start + Duration::from_secs(1);
    source.step(&Records(0, 1, 9));
    assert_eq!(look(&mut source, 2), [(1, 5)]);
    // Not at once again. A gap is no record.
    source.now = start + Duration::from_secs(3);
    source.step(&Gap(0, 1, 11));
    assert_eq!((look(&mut source, 3), look(&mut source, 4)), (vec![(0, 11)], vec![(1, 5)]));
    let quiet = |generation, position| Handed { partition: partition(0), generation, position };
    let still = [quiet(1, 11), quiet(1, 9), quiet(2, 11)].map(|lane| source.lanes.still_idle(&lane).is_some());
    assert_eq!(still, [true, false, false]);
}

#[test]
fn what_the_error_of_a_lane_means() {
    let unconfirmed = |may_pass| LaneError::Unconfirmed { answer: Box::new(self::may_pass(may_pass)), may_pass };
    let errors = [unconfirmed(true), unconfirmed(false), LaneError::Ledger(fenced()), LaneError::Panicked("sink")];
    assert_eq!(errors.each_ref().map(Why::from), [Why::MayPass, Why::NeedsAPerson, Why::Overtaken, Why::MayPass]);
}
