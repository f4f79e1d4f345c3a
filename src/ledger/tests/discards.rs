//! An attempt that fails takes its staged files along, as long as no entry can name them; and `staging/` comes back.

use super::*;
use crate::base::failpoint;

#[test]
fn an_attempt_whose_link_was_not_tried_leaves_nothing() {
    let (dir, chain, tip) = started();
    let entry = entry_to(&chain, &tip, 7);
    fs::write(chain.dataset.folder().join(&entry.files[0].staged), "cut, as on a full disk").unwrap();
    let failed = commit_one(&chain, entry).unwrap_err();
    assert!(matches!(failed, LedgerError::FileDiffers { .. }), "{failed}");
    assert_eq!(staged_files(&chain), 0);
    commit_to(&chain, &tip, 7);
    assert_whole(&dir.path().join("test"), 7);
}

#[test]
fn an_attempt_that_was_covered_meanwhile_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let chain = open_folding(&dir.path().join("test"), 3).chain("t", "id", 0);
    let mut tip = chain.start(0, WINDOW).unwrap();
    let late = entry_to(&chain, &tip, 30);
    while tip.sequence < 4 {
        tip = commit_to(&chain, &tip, tip.to + 2);
    }
    assert!(matches!(commit_one(&chain, late), Err(LedgerError::Fenced { .. })));
    assert_eq!(staged_files(&chain), 0);
    assert_eq!(chain.recover().unwrap(), Some(tip));
    assert_whole(&dir.path().join("test"), 8);
}

/// The link is made, and an error is told all the same.
#[test]
fn an_attempt_whose_link_was_tried_keeps_what_an_entry_may_name() {
    let (dir, chain, tip) = started();
    let folder = dir.path().join("test");
    let failing = on(FailsOnce::link("00000000000000000001.json"), &folder);
    let entry = entry_to(&failing, &tip, 7);
    commit_one(&failing, entry).unwrap_err();
    let report = verify(&folder).unwrap();
    assert_eq!((report.findings, report.unpublished.len()), (vec![], 2));
    assert_eq!(chain.recover().unwrap().unwrap().to, 7);
    assert_whole(&folder, 7);
    assert_eq!(staged_files(&chain), 0);
}

/// A writer that is told that its number is taken, by its own entry: a file system that does a call twice.
#[test]
fn an_attempt_that_finds_its_own_entry_keeps_its_files() {
    let (dir, chain, tip) = started();
    let entry = entry_to(&chain, &tip, 7);
    let (path, own) = (chain.entry_path(1), entry.line());
    failpoint::hook::set(move |name| {
        if name == "commit.before_link" {
            fs::write(&path, &own).unwrap();
        }
    });
    let fenced = commit_one(&chain, entry);
    failpoint::hook::clear();
    assert!(matches!(fenced, Err(LedgerError::Fenced { .. })), "{fenced:?}");
    assert_eq!(chain.recover().unwrap().unwrap().to, 7);
    assert_whole(&dir.path().join("test"), 7);
}

#[test]
fn a_staging_folder_that_is_gone_is_made_again() {
    let (dir, chain, tip) = started();
    let staging = dir.path().join("test/staging");
    fs::remove_dir(&staging).unwrap();
    assert!(chain.recover().unwrap().is_some());
    drop(chain.create("staging/x").unwrap());
    fs::remove_file(staging.join("x")).unwrap();
    let tip = commit_to(&chain, &tip, 7);
    fs::remove_dir(&staging).unwrap();
    chain.skip(&tip, 8).unwrap();
    assert_eq!(verify(&dir.path().join("test")).unwrap().findings, []);
}
