//! Each kind of damage: found, mended where that is safe, and named where it isn't.

use std::collections::BTreeMap;

use super::*;

use ActionKind::{MoveAside, Publish, RestoreEntry, RestoreFile, Sweep};

/// Every file below a folder but those moved aside, and its content.
fn inventory(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// Damages a dataset with three entries, of which there is a backup, and mends it, with the backup or without. What `verify`
/// finds is mended by `actions`, but for the kinds that are left.
#[track_caller]
fn check(damage: impl Fn(&Path, &Chain), with_backup: bool, actions: &[ActionKind], left: &[Kind]) {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    commit_to(&chain, &tip, 12);
    check_on((dir, chain, 12), damage, with_backup, actions, left);
}

/// The same for a dataset whose old entries have folded.
#[track_caller]
fn check_folded(damage: impl Fn(&Path, &Chain), with_backup: bool, actions: &[ActionKind], left: &[Kind]) {
    let (dir, chain) = folded();
    check_on((dir, chain, 20), damage, with_backup, actions, left);
}

#[track_caller]
fn check_on(
    (dir, chain, to): (TempDir, Chain, i64),
    damage: impl Fn(&Path, &Chain),
    with_backup: bool,
    actions: &[ActionKind],
    left: &[Kind],
) {
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    backup(&folder, &copy, true).unwrap();
    damage(&folder, &chain);
    let from = with_backup.then_some(&*copy);
    let before = inventory(&folder);
    let planned = repair(&folder, from, true).unwrap();
    assert_eq!(inventory(&folder), before, "a dry run changes nothing");
    let done = repair(&folder, from, false).unwrap();
    let kinds = |done: &Repair| done.actions.iter().map(|action| action.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&done), actions, "{done:#?}");
    assert!(kinds(&planned).iter().all(|kind| actions.contains(kind)), "{planned:#?}");
    assert_eq!(done.left.iter().map(|left| left.finding.kind).collect::<Vec<_>>(), left, "{done:#?}");
    let after = inventory(&folder);
    let kept = |content: &Vec<u8>| after.values().any(|other| other == content);
    let swept = |name: &str| done.actions.iter().any(|action| action.kind == Sweep && action.path == name);
    for (name, content) in &before {
        assert!(kept(content) || swept(name) || after.get(name) == Some(content), "what was in {name} is gone");
    }
    if left.is_empty() {
        assert_whole(&folder, to);
        assert_eq!(staged_files(&chain), 0);
        assert_eq!(open(&folder).chain("t", "id", 0).recover().unwrap().unwrap().to, to);
    }
    let again = repair(&folder, from, false).unwrap();
    assert_eq!((again.actions, again.left), (vec![], done.left), "a second one finds nothing to do");
}

fn file(chain: &Chain, sequence: u64, n: usize) -> FileEntry {
    chain.read(sequence).unwrap().unwrap().files[n].clone()
}

/// The same damage with a backup, by which it is mended, and without one.
#[track_caller]
fn check_both(damage: impl Fn(&Path, &Chain), actions: &[ActionKind], left_without: &[Kind]) {
    check(&damage, true, actions, &[]);
    check(&damage, false, &[], left_without);
}

fn flip(path: &Path) {
    let mut content = fs::read(path).unwrap();
    content[9] ^= 1;
    fs::write(path, content).unwrap();
}

#[test]
fn a_flipped_bit() {
    for sequence in [1, 2] {
        check_both(
            |folder, chain| flip(&folder.join(file(chain, sequence, 0).path)),
            &[RestoreFile],
            &[Kind::Checksum],
        );
    }
}

#[test]
fn a_flipped_bit_in_the_backup_too() {
    let flip_both = |folder: &Path, chain: &Chain| {
        let name = file(chain, 1, 0).path;
        flip(&folder.join(&name));
        flip(&folder.with_file_name("backup").join(&name));
    };
    check(flip_both, true, &[], &[Kind::Checksum]);
}

#[test]
fn a_cut_file() {
    check_both(
        |folder, chain| fs::write(folder.join(file(chain, 2, 1).path), "cut").unwrap(),
        &[RestoreFile],
        &[Kind::Size],
    );
}

#[test]
fn missing_files() {
    let damage = |folder: &Path, chain: &Chain| {
        fs::remove_file(folder.join(file(chain, 1, 0).path)).unwrap();
        fs::remove_file(folder.join(file(chain, 2, 0).path)).unwrap();
    };
    check_both(damage, &[RestoreFile, RestoreFile], &[Kind::MissingFile, Kind::MissingFile]);
}

#[test]
fn a_folder_that_is_gone() {
    let both = [Kind::MissingFile, Kind::MissingFile];
    check_both(|folder, _| fs::remove_dir_all(folder.join("rejects")).unwrap(), &[RestoreFile, RestoreFile], &both);
}

#[test]
fn an_older_entrys_file_that_is_only_staged() {
    let unpublish = |folder: &Path, chain: &Chain| {
        let file = file(chain, 1, 0);
        fs::rename(folder.join(&file.path), folder.join(&file.staged)).unwrap();
    };
    check(unpublish, false, &[Publish, Sweep], &[]);
}

#[test]
fn a_damaged_file_whose_staged_one_is_whole() {
    let damage = |folder: &Path, chain: &Chain| {
        let file = file(chain, 2, 0);
        fs::copy(folder.join(&file.path), folder.join(&file.staged)).unwrap();
        flip(&folder.join(&file.path));
    };
    check(damage, false, &[Publish, Sweep], &[]);
}

#[test]
fn a_newest_entry_that_is_not_published() {
    let unpublish = |folder: &Path, chain: &Chain| {
        for n in [0, 1] {
            let file = file(chain, 2, n);
            fs::rename(folder.join(&file.path), folder.join(&file.staged)).unwrap();
        }
    };
    check(unpublish, false, &[Publish, Publish], &[]);
    let and_damage = |folder: &Path, chain: &Chain| {
        unpublish(folder, chain);
        fs::write(folder.join(file(chain, 2, 0).staged), "cut").unwrap();
    };
    check(and_damage, true, &[MoveAside, RestoreFile, Publish], &[]);
    check(and_damage, false, &[], &[Kind::Size]);
}

#[test]
fn an_attempt_that_was_left() {
    check(|_, chain| drop(stage(chain, 2, Side::Data, 9, &[0])), false, &[Sweep], &[]);
}

#[test]
fn an_entry_that_is_missing_or_unreadable() {
    let gone = |_: &Path, chain: &Chain| fs::remove_file(chain.entry_path(1)).unwrap();
    let lost = [Kind::MissingEntry, Kind::UnknownFile, Kind::UnknownFile];
    check_both(gone, &[RestoreEntry], &lost);
    let torn = |sequence| move |_: &Path, chain: &Chain| fs::write(chain.entry_path(sequence), "{").unwrap();
    let unreadable = [Kind::UnreadableEntry, Kind::UnknownFile, Kind::UnknownFile];
    check_both(torn(0), &[RestoreEntry], &unreadable[..1]);
    check_both(torn(1), &[RestoreEntry], &unreadable);
    check_both(torn(2), &[RestoreEntry], &unreadable);
    let both = |folder: &Path, chain: &Chain| {
        gone(folder, chain);
        fs::remove_file(chain.entry_path(0)).unwrap();
        fs::remove_file(folder.join(file(chain, 2, 0).path)).unwrap();
    };
    check(both, true, &[RestoreEntry, RestoreEntry, RestoreFile], &[]);
}

#[test]
fn a_whole_chain_that_is_unreadable_tells_nothing() {
    let damage =
        |_: &Path, chain: &Chain| (0..3).for_each(|sequence| fs::write(chain.entry_path(sequence), "{").unwrap());
    let entries = [Kind::UnreadableEntry; 3];
    let files = [Kind::UnknownFile; 4];
    check(damage, true, &[], &[&entries[..], &files[..]].concat());
}

#[test]
fn an_entry_of_another_history_does_not_fit() {
    let damage = |folder: &Path, chain: &Chain| {
        fs::write(chain.entry_path(1), "{").unwrap();
        // As if this copy had gone on by itself from another start.
        let path = folder.join("ledger/t/id/0").join(names::entry_name(0));
        let mut entry: Entry = chain.read(0).unwrap().unwrap();
        entry.window = WindowState::Count { window: 7, rows: 7 };
        fs::write(path, entry.clone().sealed().line()).unwrap();
    };
    check(damage, true, &[], &[Kind::UnreadableEntry, Kind::UnknownFile, Kind::UnknownFile]);
}

#[test]
fn an_entry_that_was_edited() {
    let damage = |_: &Path, chain: &Chain| {
        let mut entry = chain.read(2).unwrap().unwrap();
        entry.from = 6;
        fs::write(chain.entry_path(2), entry.clone().sealed().line()).unwrap();
    };
    check(damage, true, &[], &[Kind::BrokenRange]);
}

#[test]
fn files_that_no_entry_names() {
    let put = |name: &'static str| {
        move |folder: &Path, _: &Chain| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    };
    for name in ["data/x.parquet", "rejects/_SUCCESS", "late/.hidden", "data/t-0-1.parquet"] {
        check(put(name), false, &[MoveAside], &[]);
    }
    // Of an entry that another writer wrote; such a name is never published.
    check(put("data/t-0-00000000000000000002-0-0123456789abcdef.parquet"), false, &[MoveAside], &[]);
    // What an entry that is gone, or a chain that is gone, may have named; and what is no file of rows.
    for name in [
        "data/t-0-00000000000000000003-0-0123456789abcdef.parquet",
        "data/t-1-00000000000000000001-0-0123456789abcdef.parquet",
        "ledger/t/id/0/1.json",
    ] {
        check(put(name), true, &[], &[Kind::UnknownFile]);
    }
}

#[test]
fn a_chain_without_its_newest_entries() {
    let shorter = |_: &Path, chain: &Chain| fs::remove_file(chain.entry_path(2)).unwrap();
    check(shorter, true, &[], &[Kind::UnknownFile, Kind::UnknownFile, Kind::ShorterThanBackup]);
    check(shorter, false, &[], &[Kind::UnknownFile, Kind::UnknownFile]);
    let none = |_: &Path, chain: &Chain| fs::remove_dir_all(chain.folder()).unwrap();
    check(
        none,
        true,
        &[],
        &[Kind::UnknownFile, Kind::UnknownFile, Kind::UnknownFile, Kind::UnknownFile, Kind::ShorterThanBackup],
    );
}

#[test]
fn a_checkpoint_that_is_missing_or_cut() {
    for number in 0..3 {
        let gone = |_: &Path, chain: &Chain| fs::remove_file(chain.checkpoint_path(number)).unwrap();
        // Nothing shows that the last one was there: its entries are put back, and fold again.
        let pieces = if number == 2 { 3 } else { 1 };
        check_folded(gone, true, &vec![RestoreEntry; pieces], &[]);
        let cut = |_: &Path, chain: &Chain| {
            let content = fs::read(chain.checkpoint_path(number)).unwrap();
            fs::write(chain.checkpoint_path(number), &content[..content.len() / 2]).unwrap();
        };
        check_folded(cut, true, &[RestoreEntry], &[]);
    }
    let two = |_: &Path, chain: &Chain| {
        (0..2).for_each(|number| fs::remove_file(chain.checkpoint_path(number)).unwrap());
    };
    check_folded(two, true, &[RestoreEntry, RestoreEntry], &[]);
}

#[test]
fn files_and_entries_beside_checkpoints() {
    let covered = |folder: &Path, chain: &Chain| fs::remove_file(folder.join(file(chain, 4, 0).path)).unwrap();
    check_folded(covered, true, &[RestoreFile], &[]);
    check_folded(covered, false, &[], &[Kind::MissingFile]);
    check_folded(|_, chain| fs::remove_file(chain.entry_path(9)).unwrap(), true, &[RestoreEntry], &[]);
    check_folded(|folder, _| fs::write(folder.join("data/x.parquet"), "x").unwrap(), false, &[MoveAside], &[]);
    check_folded(|_, chain| drop(stage(chain, 4, Side::Data, 9, &[0])), false, &[Sweep], &[]);
}

/// Entries at covered numbers don't exist, so those of a backup from before the fold are of no use.
#[test]
fn a_checkpoint_that_the_backup_has_not_yet() {
    let damage = |folder: &Path, chain: &Chain| {
        let copy = folder.parent().unwrap().join("backup");
        let copy = Dataset::existing(&copy).unwrap().chain("t", "id", 0);
        let entries: Vec<Entry> = (0..9).map(|sequence| copy.read(sequence).unwrap().unwrap()).collect();
        (0..3).for_each(|number| fs::remove_file(copy.checkpoint_path(number)).unwrap());
        entries.iter().for_each(|entry| fs::write(copy.entry_path(entry.sequence), entry.line()).unwrap());
        fs::remove_file(chain.checkpoint_path(1)).unwrap();
    };
    let (dir, chain) = folded();
    let copy = dir.path().join("backup");
    backup(&dir.path().join("test"), &copy, true).unwrap();
    damage(&dir.path().join("test"), &chain);
    let done = repair(&dir.path().join("test"), Some(&copy), false).unwrap();
    assert!(done.actions.is_empty() && done.left[0].finding.kind == Kind::MissingEntry, "{done:#?}");
}

#[test]
fn a_backup_of_another_dataset() {
    let (dir, ..) = started();
    let other = TempDir::new().unwrap();
    open(other.path());
    let refused = repair(&dir.path().join("test"), Some(other.path()), false);
    assert!(matches!(refused, Err(RepairError::OtherBackup { .. })));
}

#[test]
fn what_is_moved_aside_is_where_it_is_said_to_be() {
    let (dir, chain, tip) = started();
    commit_to(&chain, &tip, 7);
    let (folder, copy) = (dir.path().join("test"), dir.path().join("backup"));
    backup(&folder, &copy, true).unwrap();
    let path = file(&chain, 1, 0).path;
    fs::write(folder.join(&path), "damaged").unwrap();
    let done = repair(&folder, Some(&copy), false).unwrap();
    let aside = done.actions[0].aside.clone().unwrap();
    assert!(aside.starts_with(&format!("aside/{path}.")), "{aside}");
    assert_eq!(fs::read(folder.join(aside)).unwrap(), b"damaged");
}
