//! The matrix's own proof: the watcher, the journal and the comparison notice what was planted for them.

use std::fs;
use std::path::Path;

use crate::harness::feed::{Outcome, Transaction, check};
use crate::harness::oracle::{Record, compare};
use crate::harness::setup;
use crate::harness::watcher::Seen;
use crate::judge;

/// What a reader sees of a right dataset, after something was done to it between two looks.
fn seen(damage: impl FnOnce(&Path)) -> Seen {
    let folder = setup::folder("watcher");
    judge::write(folder.path(), &judge::truth(), &judge::pipeline());
    let mut seen = Seen::default();
    seen.look(folder.path());
    assert_eq!((seen.wrong.len(), seen.files.len()), (0, 2));
    damage(folder.path());
    seen.look(folder.path());
    seen
}

const FILE: &str = "data/station_id=IT-01/a.parquet";

#[track_caller]
fn check_seen(damage: impl FnOnce(&Path), words: &str) {
    let wrong = seen(damage).wrong;
    assert!(!wrong.is_empty() && wrong.iter().all(|what| what.contains(words)), "expected {words:?} in {wrong:?}");
}

#[test]
fn the_watcher_notices_what_nobody_may_see() {
    assert!(seen(|_| {}).wrong.is_empty());
    check_seen(
        |folder| fs::write(folder.join("data/b.parquet"), &fs::read(folder.join(FILE)).unwrap()[..900]).unwrap(),
        "is not whole",
    );
    check_seen(|folder| fs::write(folder.join("data/_SUCCESS"), "").unwrap(), "is not whole");
    check_seen(|folder| drop(fs::copy(folder.join(FILE), folder.join("data/b.parquet")).unwrap()), " is in ");
    check_seen(|folder| fs::remove_file(folder.join(FILE)).unwrap(), "is gone");
    check_seen(
        |folder| {
            let bytes = fs::read(folder.join(FILE)).unwrap();
            fs::remove_file(folder.join(FILE)).unwrap();
            fs::write(folder.join(FILE), bytes).unwrap();
        },
        " was ",
    );
}

#[test]
fn the_watcher_counts_what_was_never_committed() {
    let all = seen(|_| {});
    // A tombstone is in no file.
    assert_eq!(all.records.len(), judge::truth().len() - 1);
    assert_eq!(all.never_shown(&judge::truth()), 0);
    assert_eq!(all.never_shown(&judge::truth()[7..]), 7);
}

#[test]
fn the_comparison_counts_lost_doubled_and_aborted_records() {
    let counts = |damage: fn(&mut Vec<Record>)| {
        let (folder, mut written) = (setup::folder("counts"), judge::truth());
        damage(&mut written);
        judge::write(folder.path(), &written, &judge::pipeline());
        let found = compare(folder.path(), &judge::truth(), &judge::pipeline());
        [found.lost, found.twice, found.not_committed]
    };
    assert_eq!(counts(|_| {}), [0, 0, 0]);
    assert_eq!(counts(|written| drop(written.drain(3..5))), [2, 0, 0]);
    assert_eq!(counts(|written| written.push(written[17].clone())), [0, 1, 0]);
    assert_eq!(counts(|written| written.push(Record { offset: 999, ..written[17].clone() })), [0, 0, 1]);
}

#[test]
fn the_journal_notices_what_kafka_should_not_show() {
    let of = |outcome, records| Transaction { outcome, records };
    let journal = [of(Outcome::Committed, 2), of(Outcome::Aborted, 2), of(Outcome::Unknown, 2)];
    let shown = |keys: &[&str]| -> Vec<Record> {
        let record = |key: &&str| Record { key: Some(key.as_bytes().to_vec()), ..judge::truth()[0].clone() };
        keys.iter().map(record).collect()
    };
    let check = |keys: &[&str]| check(&journal, &shown(keys)).err().unwrap_or_default();
    assert_eq!([check(&["0:0", "0:1"]), check(&["0:1", "2:0", "0:0", "2:1"])], ["", ""]);
    let wrong = [
        (&["0:0"][..], "transaction 0 (Committed, 2 records) is shown with [0]"),
        (&["0:0", "0:1", "0:1"], "transaction 0 (Committed, 2 records) is shown with [0, 1, 1]"),
        (&["0:0", "0:1", "1:1"], "transaction 1 (Aborted, 2 records) is shown with [1]"),
        (&["0:0", "0:1", "2:0"], "transaction 2 (Unknown, 2 records) is shown with [0]"),
        (&["0:0", "0:1", "7:0"], "nobody began transaction 7"),
        (&["hello"], "nobody sent a record with key \"hello\""),
    ];
    for (keys, words) in wrong {
        assert_eq!(check(keys), words);
    }
}
