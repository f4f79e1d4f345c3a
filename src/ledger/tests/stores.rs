//! The protocol's main ways, on every kind of store: a folder on a disk, and a bucket.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Kind as Difference, *};
use crate::base::failpoint;
use crate::store::{Bucket, Readers};

/// A store that a dataset is kept in, however often it is opened.
pub(super) enum Kind {
    Disk(TempDir),
    Bucket(Arc<Bucket>),
}

impl Kind {
    /// One of each, empty.
    pub(super) fn all() -> [Kind; 2] {
        [Kind::Disk(TempDir::new().unwrap()), Kind::Bucket(Arc::default())]
    }

    /// As a process opens it.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Kind::Disk(folder) => Arc::new(Local::new(&folder.path().join("test")).unwrap()),
            Kind::Bucket(bucket) => bucket.clone(),
        }
    }

    /// The same, and its dataset's one chain; a new one's checkpoints hold `every` entries.
    pub(super) fn chain(&self, every: u64) -> Chain {
        open_in(self.store(), every).chain("t", "id", 0)
    }

    fn started(&self, every: u64) -> (Chain, Tip) {
        let chain = self.chain(every);
        let tip = chain.start(0, WINDOW).unwrap();
        (chain, tip)
    }

    /// Nothing is staged.
    #[track_caller]
    fn assert_swept(&self) {
        assert_eq!(self.store().list(names::STAGING).unwrap(), [""; 0]);
    }
}

#[test]
fn commits_follow_each_other_and_a_restart_goes_on() {
    for kind in Kind::all() {
        let (chain, tip) = kind.started(checkpoint::EVERY);
        let tip = commit_to(&chain, &tip, 7);
        let tip = commit_to(&chain, &tip, 7);
        let tip = commit_to(&chain, &tip, 20);
        assert_eq!((tip.sequence, tip.to, tip.last), (3, 20, last(20)));
        assert_whole_in(kind.store(), 20);
        kind.assert_swept();
        assert_eq!(kind.chain(checkpoint::EVERY).recover().unwrap(), Some(tip));
    }
}

#[test]
fn of_two_writers_one_is_fenced_and_nothing_is_lost() {
    for kind in Kind::all() {
        let (one, tip) = kind.started(checkpoint::EVERY);
        let other = kind.chain(checkpoint::EVERY);
        let (first, second) = (entry_to(&one, &tip, 10), entry_to(&other, &tip, 12));
        let won = commit_one(&one, first).unwrap();
        let fenced = commit_one(&other, second).unwrap_err();
        assert!(matches!(fenced, LedgerError::Fenced { sequence: 1, .. }), "{fenced}");
        kind.assert_swept();
        assert_eq!(other.recover().unwrap(), Some(won.clone()));
        commit_to(&other, &won, 15);
        assert_whole_in(kind.store(), 15);
        assert_eq!(kind.chain(checkpoint::EVERY).start(99, WINDOW).unwrap().to, 15, "a start's loser adopts");
    }
}

#[test]
fn a_writer_whose_staged_files_were_swept_is_fenced() {
    for kind in Kind::all() {
        let (one, tip) = kind.started(checkpoint::EVERY);
        let other = kind.chain(checkpoint::EVERY);
        let paused = entry_to(&other, &tip, 12);
        let staged = paused.files.iter().map(|file| file.staged.clone()).collect();
        kind.store().make_durable(staged, [].into()).of(&paused.files[0].staged).unwrap();
        commit_to(&one, &tip, 10);
        one.recover().unwrap();
        kind.assert_swept();
        assert!(matches!(commit_one(&other, paused), Err(LedgerError::Fenced { sequence: 1, .. })));
        assert_whole_in(kind.store(), 10);
    }
}

#[test]
fn old_entries_fold_and_their_numbers_are_nobodys() {
    for kind in Kind::all() {
        let (chain, tip) = kind.started(3);
        let late = entry_to(&chain, &tip, 30);
        let mut tip = tip;
        while tip.sequence < 7 {
            tip = commit_to(&chain, &tip, tip.to + 2);
        }
        let listing = chain.listing().unwrap();
        assert_eq!((listing.entries, listing.checkpoints), (vec![6, 7], vec![2, 5]));
        assert_whole_in(kind.store(), 14);
        let fenced = commit_one(&chain, late).unwrap_err();
        assert!(matches!(fenced, LedgerError::Fenced { sequence: 1, .. }), "{fenced}");
        assert!(chain.has_plain(1).unwrap(), "it took the free name");
        assert_eq!(chain.read(1).unwrap().map(|entry| entry.to), Some(2), "the folded one counts");
        assert_eq!(kind.chain(3).recover().unwrap(), Some(tip));
        assert!(!chain.has_plain(1).unwrap(), "a start removes what checkpoints cover");
        assert_whole_in(kind.store(), 14);
        let all: Vec<u64> = chain.all().unwrap().map(|entry| entry.unwrap().sequence).collect();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
    }
}

#[test]
fn verify_finds_what_is_missing_and_what_is_unknown() {
    for kind in Kind::all() {
        let (chain, tip) = kind.started(checkpoint::EVERY);
        commit_to(&chain, &tip, 7);
        let store = kind.store();
        let gone = chain.read(1).unwrap().unwrap().files.remove(0).path;
        store.discard(&gone).unwrap();
        store.write("data/x.parquet", b"words", Readers::All).unwrap();
        store.make_one_durable("data/x.parquet").unwrap();
        let found = verify_dataset(Dataset::existing_in(store).unwrap()).unwrap().findings;
        let found: Vec<(Difference, &str)> = found.iter().map(|finding| (finding.kind, &*finding.path)).collect();
        assert_eq!(found, [(Difference::MissingFile, &*gone), (Difference::UnknownFile, "data/x.parquet")]);
    }
}

#[test]
fn a_topic_keeps_the_partitions_it_had() {
    for kind in Kind::all() {
        let open = || open_in(kind.store(), checkpoint::EVERY);
        assert_eq!(open().topic("t", "id", 3).unwrap().partitions_at_start, 3);
        assert_eq!(open().topic("t", "id", 5).unwrap().partitions_at_start, 3);
        assert_eq!(open().topics().unwrap().len(), 1);
        kind.assert_swept();
    }
}

struct Crash;

/// What a process does from its start on: commits up to offset 20, and folds.
fn work(kind: &Kind) {
    let chain = kind.chain(2);
    chain.dataset.topic("t", "id", 1).unwrap();
    let mut tip = chain.recover().unwrap().unwrap_or_else(|| chain.start(0, WINDOW).unwrap());
    while tip.to < 20 {
        // As an attempt that crashed leaves it: work for the sweep, once the sequence is taken.
        stage(&chain, tip.sequence + 1, Side::Data, 9, &[0]);
        commit_to(&chain, &tip, tip.to + 10);
        tip = chain.recover().unwrap().unwrap();
    }
}

/// A crash before each step that has a failpoint, as often as there are any.
#[test]
fn a_crash_between_any_two_steps_loses_and_doubles_nothing() {
    for of in 0..Kind::all().len() {
        for at in 1.. {
            let [disk, bucket] = Kind::all();
            let kind = if of == 0 { disk } else { bucket };
            let mut reached = 0;
            failpoint::hook::set(move |_| {
                reached += 1;
                if reached == at {
                    resume_unwind(Box::new(Crash));
                }
            });
            let result = catch_unwind(AssertUnwindSafe(|| work(&kind)));
            failpoint::hook::clear();
            let Err(panic) = result else {
                assert!(at > 40, "only {at} failpoints were reached");
                break;
            };
            assert!(panic.is::<Crash>(), "the writer fails by itself");
            if let Ok(dataset) = Dataset::existing_in(kind.store()) {
                assert_eq!(verify_dataset(dataset).unwrap().findings, [], "at failpoint {at}");
            }
            work(&kind);
            assert_whole_in(kind.store(), 20);
        }
    }
}
