//! Offsets that a person gives up: an entry like any other, raced like any other.

use super::*;
use crate::model::window::{TimeState, WindowState};

#[test]
fn what_is_given_up_is_counted_and_the_windows_stay() {
    let dir = TempDir::new().unwrap();
    let chain = open(&dir.path().join("test")).chain("t", "id", 0);
    let state = TimeState { largest: Some(7), watermark: Some(5), closed_by: None };
    let tip = chain.start(3, WindowState::Time(state)).unwrap();
    let end = chain.skip(&tip, 10).unwrap();
    assert_eq!((end.sequence, end.to, end.lost, end.last), (1, 10, 7, None));
    assert_eq!(end.window, tip.window);
    assert_eq!(chain.recover().unwrap(), Some(end));
    let report = verify(&dir.path().join("test")).unwrap();
    assert_eq!((report.findings, report.counts), (vec![], Counts::from([(Class::Lost, 7)])));
    let entry = chain.read(1).unwrap().unwrap();
    assert_eq!(
        (&*entry.reason, entry.kind, entry.from, entry.to, entry.counts.total()),
        ("skip", Some(EntryKind::Skip), 3, 10, 0)
    );
    // A row in windows that end after the watermark may be among what was lost.
    let lost = Completeness::read(&chain.dataset).unwrap().lost;
    assert_eq!(lost, [Lost { partition: "t:0".into(), from: 3, to: 10, watermark_us: Some(5) }]);
}

#[test]
fn a_lane_that_runs_meanwhile_is_fenced_and_goes_on_after_it() {
    let (dir, lane, tip) = started();
    let person = open(&dir.path().join("test")).chain("t", "id", 0);
    let under_way = entry_to(&lane, &tip, 10);
    let end = person.skip(&person.recover().unwrap().unwrap(), 12).unwrap();
    assert!(matches!(commit_one(&lane, under_way), Err(LedgerError::Fenced { sequence: 1, .. })));
    assert_eq!(lane.recover().unwrap(), Some(end.clone()));
    commit_to(&lane, &end, 20);
    assert_eq!(offsets(lane.dataset.store()), (12..20).collect::<Vec<_>>());
}

#[test]
fn a_person_who_is_late_gives_nothing_up() {
    let (dir, lane, tip) = started();
    let person = open(&dir.path().join("test")).chain("t", "id", 0);
    commit_to(&lane, &tip, 10);
    assert!(matches!(person.skip(&tip, 12), Err(LedgerError::Fenced { .. })));
    assert_whole(&dir.path().join("test"), 10);
}

#[test]
fn more_lost_than_there_are_offsets_is_found() {
    let (dir, chain, tip) = started();
    chain.skip(&tip, 10).unwrap();
    let mut entry = chain.read(1).unwrap().unwrap();
    entry.counts[Class::Lost] += 1;
    fs::write(chain.entry_path(1), entry.clone().sealed().line()).unwrap();
    let found = verify(&dir.path().join("test")).unwrap().findings;
    assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::Counts]);
}

/// A weir that doesn't know the class refuses fields that it doesn't know.
#[test]
fn an_entry_without_losses_says_nothing_of_them() {
    let (_dir, chain, tip) = started();
    commit_to(&chain, &tip, 10);
    let text = |sequence| fs::read_to_string(chain.entry_path(sequence)).unwrap();
    assert!(!text(0).contains("lost") && !text(1).contains("lost"), "{}", text(1));
}
