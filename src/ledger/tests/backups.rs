//! Backups: whole, apart from their dataset, and never half of one.

use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::failpoint;

/// A dataset with three entries, the newest of which is committed and not published; and its folder.
fn dataset() -> (TempDir, Chain) {
    let (dir, chain, tip) = started();
    chain.dataset.topic("t", "id", 1).unwrap();
    let tip = commit_to(&chain, &tip, 7);
    let entry = entry_to(&chain, &tip, 12);
    fs::write(chain.entry_path(2), entry.clone().sealed().line()).unwrap();
    (dir, chain)
}

#[test]
fn of_a_dataset_with_an_unpublished_entry() {
    let (dir, chain) = dataset();
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    let before = verify(&folder).unwrap();
    let report = backup(&folder, &copy, false).unwrap();
    assert_eq!((report.partitions, report.entries, report.files, report.linked), (1, 3, 4, 4));
    assert_eq!(verify(&folder).unwrap(), before, "the dataset stays as it is");
    assert_whole(&copy, 12);
    let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
    for name in ["ledger/dataset.json", "ledger/pipelines/abc.toml", "ledger/t/id/topic.json"] {
        assert_eq!(read(&folder, name), read(&copy, name));
    }
    // It is a dataset like any other.
    let tip = open(&copy).chain("t", "id", 0).recover().unwrap().unwrap();
    assert_eq!(chain.recover().unwrap(), Some(tip.clone()));
    commit_to(&open(&copy).chain("t", "id", 0), &tip, 15);
    assert_whole(&copy, 15);
    assert_whole(&folder, 12);
}

#[test]
fn of_a_dataset_whose_old_entries_have_folded() {
    let (dir, chain) = folded();
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    let report = backup(&folder, &copy, false).unwrap();
    assert_eq!((report.entries, report.rows), (11, 20));
    assert_whole(&copy, 20);
    let chain_copy = Dataset::existing(&copy).unwrap().chain("t", "id", 0);
    let (listing, copied) = (chain.listing().unwrap(), chain_copy.listing().unwrap());
    assert_eq!((copied.entries, copied.checkpoints), (listing.entries, listing.checkpoints));
    assert_eq!(open(&copy).chain("t", "id", 0).recover().unwrap(), chain.recover().unwrap());
}

/// Backups that are taken one after the other, while another thread commits and folds.
#[test]
fn while_a_writer_commits_and_folds() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("test");
    let chain = open_folding(&folder, 3).chain("t", "id", 0);
    let mut tip = chain.start(0, WINDOW).unwrap();
    let (mut ends, enough) = (vec![], AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) && tip.to < 4_000 {
                commit_to(&chain, &tip, tip.to + 2);
                tip = chain.recover().unwrap().unwrap();
            }
        });
        while ends.len() < 8 {
            let copy = dir.path().join(format!("backup-{}", ends.len()));
            backup(&folder, &copy, false).unwrap();
            let end = open(&copy).chain("t", "id", 0).recover().unwrap().unwrap().to;
            assert_whole(&copy, end);
            ends.push(end);
        }
        enough.store(true, Ordering::Relaxed);
    });
    assert!(ends.is_sorted() && ends.first() < ends.last(), "{ends:?}");
    assert_whole(&folder, tip.to);
}

#[test]
fn links_share_their_bytes_and_copies_have_their_own() {
    let (dir, chain) = dataset();
    let folder = dir.path().join("test");
    let path = chain.read(1).unwrap().unwrap().files[0].path.clone();
    for (copies, links) in [(false, 2), (true, 1)] {
        let copy = dir.path().join(format!("copies-{copies}"));
        backup(&folder, &copy, copies).unwrap();
        assert_eq!(fs::metadata(copy.join(&path)).unwrap().nlink(), links);
        assert_whole(&copy, 12);
        fs::remove_dir_all(copy).unwrap();
    }
    let copy = dir.path().join("ledger");
    backup(&folder, &copy, false).unwrap();
    let entry = copy.join("ledger/t/id/0").join(names::entry_name(1));
    assert_eq!(fs::metadata(entry).unwrap().nlink(), 1, "the ledger is copied");
}

#[test]
fn one_that_was_interrupted_is_no_dataset() {
    let (dir, _) = dataset();
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    failpoint::hook::set(|name| assert_ne!(name, "dataset.before_link", "interrupted"));
    let interrupted = catch_unwind(AssertUnwindSafe(|| backup(&folder, &copy, false)));
    failpoint::hook::clear();
    assert!(interrupted.is_err());
    assert!(matches!(verify(&copy), Err(LedgerError::NotADataset { .. })));
    // Everything else was there by then.
    fs::copy(folder.join("ledger/dataset.json"), copy.join("ledger/dataset.json")).unwrap();
    assert_eq!(verify(&copy).unwrap().findings, []);
}

#[test]
fn where_it_must_not_be() {
    let (dir, _) = dataset();
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    fs::create_dir(&copy).unwrap();
    backup(&folder, &copy, false).unwrap();
    assert!(matches!(backup(&folder, &copy, false), Err(BackupError::NotEmpty { .. })));
    for inside in [folder.join("backup"), folder.join("data/../x/y"), folder.clone(), dir.path().to_owned()] {
        assert!(matches!(backup(&folder, &inside, false), Err(BackupError::Inside { .. })), "{}", inside.display());
    }
    let missing = backup(&dir.path().join("nothing"), &dir.path().join("other"), false);
    assert!(matches!(missing, Err(BackupError::Ledger(LedgerError::NotADataset { .. }))));
    assert!(!dir.path().join("other").exists());
}

#[test]
fn of_a_damaged_dataset_there_is_none() {
    type Damage = fn(&Path, &Chain, &str);
    let damages: [Damage; 5] = [
        |_, chain, _| {
            let mut entry = chain.read(1).unwrap().unwrap();
            entry.files[0].path = "data/../../out.parquet".into();
            fs::write(chain.entry_path(1), entry.clone().sealed().line()).unwrap();
        },
        |folder, _, path| fs::remove_file(folder.join(path)).unwrap(),
        |folder, _, path| fs::write(folder.join(path), "words").unwrap(),
        |_, chain, _| fs::remove_file(chain.entry_path(1)).unwrap(),
        |_, chain, _| fs::write(chain.entry_path(1), "{").unwrap(),
    ];
    for damage in damages {
        let (dir, chain) = dataset();
        let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
        damage(&folder, &chain, &chain.read(1).unwrap().unwrap().files[0].path);
        backup(&folder, &copy, false).unwrap_err();
        assert!(matches!(verify(&copy), Err(LedgerError::NotADataset { .. })));
        assert!(!dir.path().join("out.parquet").exists());
    }
}

#[test]
fn of_a_dataset_with_a_flipped_bit_there_is_none() {
    let (dir, chain) = dataset();
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    let path = folder.join(&chain.read(1).unwrap().unwrap().files[0].path);
    let mut content = fs::read(&path).unwrap();
    content[9] ^= 1;
    fs::write(&path, content).unwrap();
    let refused = backup(&folder, &copy, false).unwrap_err();
    assert!(matches!(&refused, BackupError::Damaged { sequence: 1, path: at, .. } if *at == path), "{refused}");
    assert!(matches!(Dataset::existing(&copy), Err(LedgerError::NotADataset { .. })), "what was begun is no dataset");
}
