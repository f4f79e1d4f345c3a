//! Bugs that are planted in weir are found by the judge. Those that take a crash at the right moment are for the simulation to
//! find: `src/testing/simulation`. `tests/planted` shows both.

use std::panic::{AssertUnwindSafe, catch_unwind};

use weir::base::failpoint;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::oracle::committed;
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce};

/// What the judge says of each.
const PLANTED: [(&str, &str); 3] = [
    ("isolation.read_uncommitted", "twice, or never was committed"),
    ("range.off_by_one", "is committed but not in the dataset"),
    ("reject.dropped", "is committed but not in the dataset"),
];

#[test]
fn what_is_planted_is_found() {
    let broker = Broker::shared();
    let first = Case::new(broker, "planted", 3);
    let topic = first.pipeline.topic.clone();
    let load = Load { records: 30_000, transaction: 90, aborted: 50, broken: 5, stations: 2, ..Load::default() };
    produce(broker, &topic, 3, &load);
    let truth = committed(broker, &[&topic]);
    for (bug, words) in PLANTED {
        assert!(failpoint::BUGS.contains(&bug));
        let name = format!("planted-{}", bug.replace(['.', '_'], "-"));
        let case = Case::of(broker, Pipeline { name, ..first.pipeline.clone() });
        case.to_end_with(&[("WEIR_PLANTED_BUG", bug)]).wait(PATIENCE).expect_code(0);
        let judged = catch_unwind(AssertUnwindSafe(|| case.judge_records(&truth)));
        let said = *judged.expect_err(&format!("{bug} was not found")).downcast::<String>().unwrap();
        assert!(said.contains(words), "{bug}: no {words:?} in: {said}");
        println!("{bug}: {}", said.lines().next().unwrap_or_default());
    }
}
