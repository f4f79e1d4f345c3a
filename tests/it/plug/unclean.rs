//! An unclean election: brokers lose records that read_committed had shown, and others take their offsets.
//!
//! Nobody can bring the lost ones back, and what weir read of them stays in the dataset. What it must not do is go on as if
//! nothing had happened: it refuses while the log ends before its position.
//!
//! Once the log is longer again than weir's position, weir doesn't notice, and leaves out the records that took the lost ones'
//! places: docs/faults.md names this limit.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::world::case;
use crate::harness::case::PATIENCE;
use crate::harness::cluster::Cluster;
use crate::harness::oracle::{Record, committed};
use crate::harness::produce::{Load, produce};
use crate::harness::topics::{make_assigned, try_end};
use crate::harness::until;

/// The replicas are on brokers 1 and 2; broker 3 keeps the cluster's majority.
pub(super) fn election(cluster: &Cluster, topic: &str, dice: &mut Dice) -> Duration {
    let [one, two, three] = &cluster.brokers[..] else { panic!("three brokers") };
    make_assigned(
        three,
        topic,
        &[&[1, 2]],
        &[("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")],
    );
    let case = case(cluster, topic);
    let send = |records, part: u64| {
        let seed = dice.seed().wrapping_add(part);
        produce(three, topic, 1, &Load { records, transaction: 20, aborted: 100, seed, ..Load::default() })
    };
    send(400, 0);
    case.finish();
    two.kill();
    // What only broker 1 has.
    send(400, 1);
    case.finish();
    let read: Vec<Record> = committed(three, &[topic]);
    let position = case.positions()[&0];
    one.kill();
    two.start();
    let mut cut_at = position;
    until("broker 2 leads, with less", PATIENCE, || {
        cut_at = try_end(three, topic, 0, Duration::from_secs(2)).unwrap_or(position);
        cut_at < position
    });
    let finished = case.to_end().wait(PATIENCE).expect_code(3);
    let said = finished.stdout + &finished.stderr;
    for word in [format!("{topic}:0"), format!("position {position}"), format!("ends at {cut_at}"), "was cut".into()] {
        assert!(said.contains(&word), "no {word:?} in:\n{said}");
    }
    one.start();
    cluster.settle();
    // What weir read is in the dataset, once, what was lost included.
    case.judge_records(&read);
    // The way out that the message names: another dataset. It has what Kafka has.
    std::fs::rename(case.dataset(), case.dataset().with_extension("old")).unwrap();
    send(400, 2);
    let since = Instant::now();
    case.finish();
    let took = since.elapsed();
    case.judge();
    took
}
