//! Pull the plug: every fault that weir must survive or refuse, while records are produced with transactions, aborts and
//! invalid ones, and a judge that shares no code with weir.
//!
//! ```text
//!  Plan ── rounds ──► World (a topic that is fed, weir, network, disk, clock, watcher) ── faults, one after another
//!                     Ruin  (a finished dataset) ── one fault, refused, undone
//!                       └── at its end: Apache Kafka's own consumer, the producer's journal, the watcher, pyarrow
//! ```
//!
//! A seed decides which faults, their order, moments and parameters. `cargo test` does the short form: every kind, and every
//! failpoint. `tests/pull-the-plug` does the long form. What is done is printed as it is done, and both print the table.
//!
//! | file | what it is |
//! |---|---|
//! | `plan.rs` | what is asked for, and which faults that makes |
//! | `kinds.rs` | every kind of fault |
//! | `world.rs`, `faults.rs` | what faults happen to, and those that weir survives |
//! | `ruins.rs`, `unclean.rs` | those after which it refuses |
//! | `table.rs` | what became of them |

mod dice;
mod faults;
mod kinds;
mod plan;
mod proofs;
mod ruins;
mod table;
mod unclean;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use dice::Dice;
use kinds::{KINDS, What};
use plan::{Fault, Options, Place, Round, plan};
use ruins::Ruin;
use table::Table;
use world::{Command, World};

use crate::harness::cluster::Cluster;

#[test]
fn pull_the_plug() {
    let options = Options::from_environment();
    let began = Instant::now();
    let rounds = plan(&options);
    println!("{options:?}: {} rounds", rounds.len());
    let all = Mutex::new((Table::default(), Vec::new()));
    // Three at a time: most of a fault's time is spent waiting.
    thread::scope(|scope| {
        for place in [Place::One, Place::Three, Place::Dataset] {
            let (all, options, rounds) = (&all, &options, &rounds);
            scope.spawn(move || {
                let cluster = OnceLock::new();
                for round in rounds.iter().filter(|round| round.place == place) {
                    let cluster = cluster.get_or_init(|| Cluster::of(if place == Place::Three { 3 } else { 1 }));
                    let done = catch_unwind(AssertUnwindSafe(|| go(round, cluster)));
                    let mut all = all.lock().unwrap();
                    match done {
                        Ok(table) => all.0.add(table),
                        Err(_) => all.1.push(options.again(round)),
                    }
                }
            });
        }
    });
    let (table, failed) = all.into_inner().unwrap();
    println!("\n{}\n{} faults in {:.0?}", table.text(), table.faults(), began.elapsed());
    assert!(failed.is_empty(), "rounds failed, their messages are above; to do them again:\n{}", failed.join("\n"));
    assert_eq!(table.wrong_altogether(), 0, "records were lost, doubled or never committed");
    if options.save {
        table.save(&options.made());
    }
}

/// One round; panics when something is wrong that isn't counted.
fn go(round: &Round, cluster: &Cluster) -> Table {
    let topic = format!("plug-{}", round.number);
    let (mut table, began) = (Table::default(), Instant::now());
    let (alone, together): (Vec<&Fault>, Vec<&Fault>) =
        round.faults.iter().partition(|fault| matches!(KINDS[fault.kind].what, What::Refused(_) | What::Unclean(_)));
    for (number, fault) in alone.into_iter().enumerate() {
        let (kind, mut dice) = (&KINDS[fault.kind], Dice::new(fault.seed));
        say(round, began, kind.name, "…");
        let topic = format!("{topic}-{number}");
        let recovery = match kind.what {
            What::Refused(ruin) => ruin(&Ruin::new(cluster, &topic, fault.seed), &mut dice),
            What::Unclean(elect) => elect(cluster, &topic, &mut dice),
            _ => unreachable!("it was sorted out"),
        };
        table.fault(fault.kind, kind.name, recovery);
    }
    if together.is_empty() {
        return table;
    }
    let command = if round.seed.is_multiple_of(2) { Command::Serve } else { Command::Run };
    let mut world = World::start(cluster, &topic, command, round.seed);
    for fault in &together {
        let (kind, mut dice) = (&KINDS[fault.kind], Dice::new(fault.seed));
        say(round, began, kind.name, &format!("{} of {}", fault.variant + 1, kind.variants));
        match kind.what {
            What::One(inject) | What::Once(inject) | What::Three(inject) => {
                inject(&mut world, fault.variant, &mut dice)
            }
            What::Refused(_) | What::Unclean(_) => unreachable!("it was sorted out"),
        }
        table.fault(fault.kind, kind.name, world.progress());
    }
    let judgement = world.judge();
    println!("round {}: {}", round.number, judgement.text());
    let found = &judgement.found;
    let wrong = [found.lost, found.twice, found.not_committed.max(judgement.seen_aborted)];
    // Nobody knows which of them it was.
    together.iter().for_each(|fault| table.wrong(fault.kind, KINDS[fault.kind].name, wrong));
    assert!(wrong != [0; 3] || found.differences.is_empty(), "{:#?}", found.differences);
    table
}

fn say(round: &Round, began: Instant, what: &str, how: &str) {
    println!("round {} (seed {}), {:.1?}: {what}, {how}", round.number, round.seed, began.elapsed());
}
