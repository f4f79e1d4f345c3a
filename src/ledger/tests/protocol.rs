//! Two writers, several lanes, recoveries: the protocol with everything going well, or only fenced.

use super::*;

#[test]
fn commits_follow_each_other_and_a_restart_goes_on() {
    let (dir, chain, tip) = started();
    assert_eq!((tip.sequence, tip.to), (0, 0));
    let tip = commit_to(&chain, &tip, 7);
    let tip = commit_to(&chain, &tip, 7);
    let tip = commit_to(&chain, &tip, 20);
    assert_eq!((tip.sequence, tip.to, tip.last), (3, 20, last(20)));
    assert_whole(&dir.path().join("test"), 20);
    assert_eq!(staged_files(&chain), 0);
    let again = open(&dir.path().join("test")).chain("t", "id", 0);
    assert_eq!(again.recover().unwrap(), Some(tip));
}

#[test]
fn an_empty_chain_has_no_tip() {
    let dir = TempDir::new().unwrap();
    assert_eq!(open(dir.path()).chain("t", "id", 0).recover().unwrap(), None);
}

#[test]
fn a_start_that_loses_the_race_adopts_the_other() {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 3);
    let late = open(&dir.path().join("test")).chain("t", "id", 0);
    assert_eq!(late.start(99, WINDOW).unwrap(), tip);
}

#[test]
fn of_two_writers_one_is_fenced_and_nothing_is_lost() {
    let (dir, one, tip) = started();
    let other = open(&dir.path().join("test")).chain("t", "id", 0);
    let (first, second) = (entry_to(&one, &tip, 10), entry_to(&other, &tip, 12));
    let won = commit_one(&one, first).unwrap();
    let fenced = commit_one(&other, second).unwrap_err();
    insta::assert_snapshot!(text(&fenced, dir.path()), @"another writer (INSTANCE) has already written DIR/test/ledger/t/id/0/00000000000000000001.json, entry 1 of t:0: this one is fenced and goes on from the ledger. If it happens again and again, two weir processes with different consumer groups write the same dataset");
    assert_eq!(staged_files(&other), 0, "a fenced writer takes its files along");
    assert_eq!(other.recover().unwrap(), Some(won.clone()));
    commit_to(&other, &won, 15);
    assert_whole(&dir.path().join("test"), 15);
}

#[test]
fn a_bad_copy_of_a_published_file_is_no_obstacle() {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    let folder = dir.path().join("test");
    let file = chain.read(1).unwrap().unwrap().files.remove(0);
    fs::write(folder.join(&file.staged), "cut").unwrap();
    assert_eq!(chain.recover().unwrap(), Some(tip));
    assert_eq!(staged_files(&chain), 0);
    assert_whole(&folder, 7);
}

#[test]
fn a_writer_whose_staged_files_were_swept_is_fenced() {
    let (dir, one, tip) = started();
    let other = open(&dir.path().join("test")).chain("t", "id", 0);
    let paused = entry_to(&other, &tip, 12);
    commit_to(&one, &tip, 10);
    one.recover().unwrap();
    assert_eq!(staged_files(&one), 0);
    assert!(matches!(commit_one(&other, paused), Err(LedgerError::Fenced { sequence: 1, .. })));
    assert_whole(&dir.path().join("test"), 10);
}

#[test]
fn the_sweep_leaves_what_may_still_be_committed() {
    let (_dir, chain, tip) = started();
    let under_way = entry_to(&chain, &tip, 10);
    let elsewhere = chain.dataset.chain("t", "id", 1);
    let start = elsewhere.start(0, WINDOW).unwrap();
    let of_other_chain = entry_to(&elsewhere, &start, 10);
    chain.recover().unwrap();
    commit_one(&chain, under_way).unwrap();
    chain.recover().unwrap();
    commit_one(&elsewhere, of_other_chain).unwrap();
}

#[test]
fn one_lane_fails_and_the_others_commit() {
    let dir = TempDir::new().unwrap();
    let dataset = open(dir.path());
    let chains: Vec<Chain> = (0..20).map(|partition| dataset.chain("t", "id", partition)).collect();
    let tips: Vec<Tip> = chains.iter().map(|chain| chain.start(0, WINDOW).unwrap()).collect();
    let entries: Vec<Entry> = chains.iter().zip(&tips).map(|(chain, tip)| entry_to(chain, tip, 6)).collect();
    fs::remove_file(dir.path().join(&entries[7].files[0].staged)).unwrap();
    let committer = Committer::start(dataset);
    let replies: Vec<_> = entries.into_iter().map(|entry| committer.clone().commit(entry)).collect();
    for (index, reply) in replies.into_iter().enumerate() {
        let result = reply.blocking_recv().unwrap();
        assert_eq!(result.is_ok(), index != 7, "{index}: {result:?}");
    }
    committer.join();
    assert_eq!(chains[7].recover().unwrap(), Some(tips[7].clone()));
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.partitions, report.entries, report.files, report.rows), (20, 39, 38, 19 * 6));
}

/// A stop and a start in one process make a new dataset; the kernel has told of the failure by then.
#[test]
fn a_failed_fsync_is_not_tried_again_by_another_dataset_of_the_process() {
    for folder in ["staging", "ledger/t/id/0"] {
        let (dir, chain, tip) = started();
        let path = dir.path().join("test");
        let failing = on(FailsOnce::sync(folder), &path);
        let first = commit_one(&failing, entry_to(&failing, &tip, 3)).unwrap_err();
        assert!(
            matches!(first, LedgerError::Store(StoreError::Io { action: "fsync", .. })) && first.may_pass(),
            "{first}"
        );
        // One from before, and those that are opened after it, also by another way to the folder.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let others = [chain.clone(), open(&path).chain("t", "id", 0), open(&link).chain("t", "id", 0)];
        for other in others {
            let again = match folder {
                "staging" => commit_one(&other, entry_to(&other, &tip, 3)).map(drop),
                // The entry is there, and nobody knows whether it stays.
                _ => other.recover().map(drop),
            };
            let again = again.unwrap_err();
            assert!(matches!(again, LedgerError::Store(StoreError::NotDurable { .. })) && !again.may_pass(), "{again}");
            assert!(text(&again, dir.path()).starts_with("an earlier fsync of DIR/"), "{again}");
        }
        assert_eq!(verify(&path).unwrap().entries, if folder == "staging" { 1 } else { 2 });
    }
}

/// The number of a file that is gone is given to another one, whose fsync may be believed.
#[test]
fn a_file_whose_fsync_failed_is_written_again_under_a_new_name() {
    let (dir, _, tip) = started();
    let path = dir.path().join("test");
    let failing = on(FailsOnce::sync(".parquet"), &path);
    commit_one(&failing, entry_to(&failing, &tip, 3)).unwrap_err();
    assert_eq!(staged_files(&failing), 0);
    for to in 3..9 {
        let tip = failing.recover().unwrap().unwrap();
        commit_to(&failing, &tip, to);
    }
    assert_whole(&path, 8);
}

/// What a crash between two steps of publishing leaves: for each of the entry's two files, which names are there.
#[test]
fn recovery_finishes_what_was_left_half_published() {
    let states = [(true, false), (true, true), (false, true)];
    for first in states {
        for second in states {
            let (dir, chain, tip) = started();
            let entry = entry_to(&chain, &tip, 10);
            fs::write(chain.entry_path(1), entry.clone().sealed().line()).unwrap();
            for (file, (staged, published)) in entry.files.iter().zip([first, second]) {
                let folder = chain.dataset.folder();
                if published {
                    fs::hard_link(folder.join(&file.staged), folder.join(&file.path)).unwrap();
                }
                if !staged {
                    fs::remove_file(folder.join(&file.staged)).unwrap();
                }
            }
            let folder = dir.path().join("test");
            assert_eq!(verify(&folder).unwrap().findings, []);
            for _ in 0..2 {
                assert_eq!(chain.recover().unwrap().unwrap().to, 10, "{first:?} {second:?}");
                assert_whole(&folder, 10);
                assert_eq!(staged_files(&chain), 0);
            }
        }
    }
}

#[test]
fn a_topic_keeps_the_partitions_it_had() {
    let dir = TempDir::new().unwrap();
    let dataset = open(dir.path());
    assert_eq!(dataset.topic("t", "id", 3).unwrap().partitions_at_start, 3);
    assert_eq!(open(dir.path()).topic("t", "id", 5).unwrap().partitions_at_start, 3);
}
