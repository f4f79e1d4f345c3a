//! Whoever reads entries notices that the chain is not whole, and names the place.

use super::*;
use crate::model::window::{Tally, TimeState, WindowId};

const HOUR: i64 = 3_600_000_000;

/// A dataset of windows of time whose chain has an entry an hour, up to `hours`, ten rows each.
fn hours(folder: &Path, every: u64, hours: i64) -> Chain {
    let chain = open_folding(folder, every).chain("t", "id", 0);
    let state = |hour: i64| {
        let watermark = (hour > 0).then_some(hour * HOUR);
        WindowState::Time(TimeState { largest: watermark, watermark, closed_by: None })
    };
    let mut tip = chain.start(0, state(0)).unwrap();
    for hour in 0..hours {
        let (from, to) = (tip.to, tip.to + 10);
        let window = WindowId::Time { start: hour * HOUR, end: (hour + 1) * HOUR };
        let offsets: Vec<i64> = (from..to).collect();
        let files = vec![FileEntry {
            windows: Some((window, window)),
            ..stage(&chain, tip.sequence + 1, Side::Data, 0, &offsets)
        }];
        let next = NextEntry {
            to,
            last: last(to),
            counts: Counts::from([(Class::Row, 10)]),
            window: state(hour + 1),
            tallies: vec![Tally { rows: 10, ..Tally::new(window) }],
            reason: Reason::Rows,
            files,
        };
        tip = commit_one(&chain, chain.entry(&tip, next)).unwrap();
    }
    chain
}

/// What each reader says of a chain that somebody has damaged.
#[track_caller]
fn refused(every: u64, damage: impl Fn(&Chain), names: &str) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("test");
    let chain = hours(&folder, every, 8);
    assert_eq!(Completeness::read(&chain.dataset).unwrap().windows.len(), 8);
    damage(&chain);
    let dataset = Dataset::existing(&folder).unwrap();
    let chain = dataset.chain("t", "id", 0);
    let all: [(&str, Result<(), LedgerError>); 5] = [
        ("windows", Completeness::read(&dataset).map(drop)),
        ("the frontier", frontier(&dataset).map(drop)),
        ("others", Others::default().look(std::slice::from_ref(&chain))),
        ("newest entries", dataset.newest().and_then(|mut all| all.try_for_each(|entry| entry.map(drop)))),
        (
            "a backup",
            match backup(&folder, &dir.path().join("copy"), true) {
                Err(BackupError::Ledger(error)) => Err(error),
                other => panic!("{other:?}"),
            },
        ),
    ];
    for (reader, result) in all {
        let said = text(&result.expect_err(reader), dir.path());
        assert!(said.contains(names), "{reader}: {said}");
    }
    assert_ne!(verify(&folder).unwrap().findings, []);
}

#[test]
fn a_hole_is_refused_by_every_reader() {
    for sequence in [0, 1, 4, 7] {
        let name = format!("{sequence:020}.json");
        refused(1_000, |chain| fs::remove_file(chain.entry_path(sequence)).unwrap(), &name);
    }
    // Checkpoints of entries 0 to 2 and 3 to 5; then those of 0 to 4, and entries after it.
    refused(3, |chain| fs::remove_file(chain.checkpoint_path(0)).unwrap(), "00000000000000000002.checkpoint");
    refused(5, |chain| fs::remove_file(chain.entry_path(6)).unwrap(), "00000000000000000006.json");
}

/// Those that read the newest entries only can't see older ones; whoever answers for the whole chain does.
#[test]
fn a_broken_range_is_refused_by_who_reads_it() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("test");
    let chain = hours(&folder, 1_000, 8);
    for (sequence, newest_too) in [(4, false), (8, true)] {
        let whole = fs::read(chain.entry_path(sequence)).unwrap();
        let mut entry = chain.read(sequence).unwrap().unwrap();
        entry.from -= 1;
        fs::write(chain.entry_path(sequence), entry.sealed().line()).unwrap();
        let dataset = Dataset::existing(&folder).unwrap();
        let newest = dataset.newest().unwrap().find_map(Result::err);
        for result in [Completeness::read(&dataset).err(), newest] {
            let refused = matches!(result, Some(LedgerError::Broken { .. } | LedgerError::Forked { .. }));
            assert!(refused, "{sequence}: {result:?}");
        }
        assert_eq!(frontier(&dataset).is_err(), newest_too, "{sequence}");
        fs::write(chain.entry_path(sequence), whole).unwrap();
    }
    assert_eq!(Completeness::read(&chain.dataset).unwrap().windows.len(), 8);
}
