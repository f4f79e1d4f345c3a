//! Every kind of damage is found by `verify`, by its kind, and alone.

use super::*;

/// What `verify` finds, after `damage` to a dataset with three entries and five files in the newest two.
fn check(want: &[(Kind, &str)], damage: impl Fn(&Path, &Chain)) {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    commit_to(&chain, &tip, 12);
    let folder = dir.path().join("test");
    assert_whole(&folder, 12);
    damage(&folder, &chain);
    let found = verify(&folder).unwrap().findings;
    let found: Vec<(Kind, &str)> = found.iter().map(|finding| (finding.kind, &*finding.path)).collect();
    let same = found.len() == want.len() && found.iter().zip(want).all(|(f, w)| f.0 == w.0 && f.1.contains(w.1));
    assert!(same, "found {found:#?}, wanted {want:#?}");
}

fn file(chain: &Chain, sequence: u64, n: usize) -> String {
    chain.read(sequence).unwrap().unwrap().files[n].path.clone()
}

fn change_entry(chain: &Chain, sequence: u64, change: impl Fn(&mut Entry)) {
    let mut entry = chain.read(sequence).unwrap().unwrap();
    change(&mut entry);
    fs::write(chain.entry_path(sequence), entry.clone().sealed().line()).unwrap();
}

fn change_file(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

#[test]
fn a_flipped_bit() {
    check(&[(Kind::Checksum, "data/t-0-00000000000000000001-0-")], |folder, chain| {
        change_file(&folder.join(file(chain, 1, 0)), |content| content[9] ^= 1);
    });
}

#[test]
fn a_flipped_bit_that_leaves_an_entry_readable() {
    let want = [
        (Kind::UnreadableEntry, "ledger/t/id/0/00000000000000000001.json"),
        (Kind::UnknownFile, "data/t-0-00000000000000000001-0-"),
        (Kind::UnknownFile, "rejects/t-0-00000000000000000001-1-"),
    ];
    check(&want, |_, chain| {
        let path = chain.entry_path(1);
        let text = fs::read_to_string(&path).unwrap();
        let changed = text.replacen("\"leader_epoch\":3", "\"leader_epoch\":2", 1);
        assert_ne!(changed, text);
        fs::write(path, changed).unwrap();
    });
}

#[test]
fn numbers_that_nobody_can_have_counted() {
    let want = [
        (Kind::UnreadableEntry, "ledger/t/id/0/00000000000000000001.json"),
        (Kind::UnknownFile, "data/t-0-00000000000000000001-0-"),
        (Kind::UnknownFile, "rejects/t-0-00000000000000000001-1-"),
    ];
    check(&want, |_, chain| change_entry(chain, 1, |entry| entry.counts.dropped = entry.counts[Class::Late] + 1));
    check(&want, |_, chain| {
        change_entry(chain, 1, |entry| entry.tallies = vec![Tally::new(WindowId::Count(1))]);
        assert!(Completeness::read(&chain.dataset).is_err());
    });
}

#[test]
fn a_cut_file() {
    check(&[(Kind::Size, "rejects/t-0-00000000000000000002-1-")], |folder, chain| {
        change_file(&folder.join(file(chain, 2, 1)), |content| _ = content.pop());
    });
}

#[test]
fn a_missing_file() {
    check(&[(Kind::MissingFile, "data/t-0-00000000000000000001-0-")], |folder, chain| {
        fs::remove_file(folder.join(file(chain, 1, 0))).unwrap();
    });
}

#[test]
fn a_missing_entry() {
    let hole = (Kind::MissingEntry, "00000000000000000001.json");
    check(
        &[
            hole,
            (Kind::UnknownFile, "data/t-0-00000000000000000001-0"),
            (Kind::UnknownFile, "rejects/t-0-00000000000000000001-1"),
        ],
        |_, chain| {
            fs::remove_file(chain.entry_path(1)).unwrap();
        },
    );
}

#[test]
fn a_foreign_file_in_every_tree() {
    for name in ["data/x.parquet", "rejects/sub/_SUCCESS", "late/.hidden", "data/.tmp"] {
        check(&[(Kind::UnknownFile, name)], |folder, _| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        });
    }
}

#[test]
fn rows_that_the_file_does_not_have() {
    let want = [
        (Kind::Counts, "00000000000000000001.json"),
        (Kind::Rows, "data/t-0-00000000000000000001-0-"),
        (Kind::OtherHistory, "00000000000000000002.json"),
    ];
    check(&want, |_, chain| {
        change_entry(chain, 1, |entry| {
            entry.files[0].rows += 1;
            entry.counts[Class::Row] += 1;
        });
    });
}

#[test]
fn counts_that_do_not_add_up() {
    // The entry after it was written after another one.
    let want = [(Kind::Counts, "00000000000000000001.json"), (Kind::OtherHistory, "00000000000000000002.json")];
    check(&want, |_, chain| change_entry(chain, 1, |entry| entry.counts[Class::Row] -= 1));
    check(&want, |_, chain| change_entry(chain, 1, |entry| entry.counts[Class::Filtered] = 1));
}

#[test]
fn a_broken_range() {
    check(&[(Kind::BrokenRange, "00000000000000000002.json")], |_, chain| {
        change_entry(chain, 2, |entry| entry.from = 6)
    });
}

#[test]
fn other_columns() {
    let want = [(Kind::UnreadableColumns, "ledger/columns/0.json"), (Kind::Schema, "data/"), (Kind::Schema, "data/")];
    check(&want, |folder, _| {
        let path = folder.join("ledger/dataset.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("int64", "int32")).unwrap();
    });
}

#[test]
fn not_parquet() {
    check(&[(Kind::Parquet, "data/t-0-00000000000000000002-0-")], |folder, chain| {
        let path = folder.join(file(chain, 2, 0));
        fs::write(&path, "words").unwrap();
        let (bytes, sha256) = (5, chain.dataset.store().sha256(&file(chain, 2, 0)).unwrap());
        change_entry(chain, 2, |entry| (entry.files[0].bytes, entry.files[0].sha256) = (bytes, sha256.clone()));
    });
}

#[test]
fn a_path_that_leaves_the_dataset() {
    check(&[(Kind::Path, "data/../../x"), (Kind::UnknownFile, "data/t-0-00000000000000000002-0-")], |_, chain| {
        change_entry(chain, 2, |entry| entry.files[0].path = "data/../../x".into());
    });
}

#[test]
fn an_unreadable_entry_and_an_unknown_one() {
    check(&[(Kind::UnreadableEntry, "00000000000000000000.json")], |_, chain| {
        fs::write(chain.entry_path(0), "{").unwrap()
    });
    check(&[(Kind::UnknownFile, "ledger/t/id/0/1.json")], |_, chain| {
        fs::write(chain.folder().join("1.json"), "{}").unwrap()
    });
}

#[test]
fn an_older_entry_with_a_staged_file() {
    check(&[(Kind::MissingFile, "data/t-0-00000000000000000001-0-")], |folder, chain| {
        let file = &chain.read(1).unwrap().unwrap().files[0];
        fs::rename(folder.join(&file.path), folder.join(&file.staged)).unwrap();
    });
}

#[test]
fn an_unpublished_newest_entry_is_no_damage() {
    let (dir, chain, tip) = started();
    let entry = entry_to(&chain, &tip, 10);
    fs::write(chain.entry_path(1), entry.clone().sealed().line()).unwrap();
    let report = verify(&dir.path().join("test")).unwrap();
    assert_eq!((report.findings.len(), report.unpublished.len(), report.staged), (0, 2, 0));
}
