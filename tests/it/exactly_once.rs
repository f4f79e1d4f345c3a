//! The claim itself, at size: a million records with aborted transactions and invalid ones in between, read once.

use crate::harness::broker::Broker;
use crate::harness::case::Case;
use crate::harness::produce::{Load, produce};

#[test]
fn a_million_records_each_once() {
    let case = Case::new(Broker::shared(), "million", 3);
    let load = Load {
        records: 1_000_000,
        transaction: 500,
        aborted: 50,
        broken: 5,
        tombstones: 1,
        stations: 4,
        ..Load::default()
    };
    let produced = produce(case.broker, &case.pipeline.topic, 3, &load);
    println!("{produced:?}");
    assert_eq!(produced.committed + produced.aborted, load.records);
    assert!((40_000..60_000).contains(&produced.aborted) && (4_000..6_000).contains(&produced.broken));

    println!("{}", case.finish().stdout);
    let verdict = case.judge();
    println!("{verdict:?}");
    let found = (verdict.rows, verdict.rejects, verdict.tombstones, verdict.late);
    assert_eq!(found, (produced.good(), produced.broken, produced.tombstones, 0));

    case.assert_complete();
}

#[test]
fn many_stations_and_small_transactions() {
    let case = Case::new(Broker::shared(), "mixed", 5);
    let load = Load {
        records: 20_000,
        transaction: 7,
        aborted: 300,
        broken: 50,
        tombstones: 50,
        stations: 20,
        ..Load::default()
    };
    let produced = produce(case.broker, &case.pipeline.topic, 5, &load);
    case.finish();
    let verdict = case.judge();
    let found = (verdict.rows, verdict.rejects, verdict.tombstones, verdict.late);
    assert_eq!(found, (produced.good(), produced.broken, produced.tombstones, 0));
}
