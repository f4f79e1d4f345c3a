//! What weir does not put into a dataset: links, FIFOs, folders in a file's place, numbers that no weir writes. Everybody
//! refuses them by name, nobody waits for them, and nothing is moved or removed.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::*;

/// Every path below a folder, and what is there.
fn inventory(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let kind = path.symlink_metadata().unwrap();
            found.insert(path.display().to_string(), format!("{:?} {}", kind.file_type(), kind.len()));
            if kind.is_dir() {
                walk(&path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, &mut found);
    found
}

fn move_and_link(path: &Path) {
    let elsewhere = path.parent().unwrap().ancestors().find(|above| above.ends_with("test")).unwrap();
    let elsewhere = elsewhere.with_file_name(format!("moved-{}", names::random()));
    fs::rename(path, &elsewhere).unwrap();
    symlink(&elsewhere, path).unwrap();
}

/// A dataset with one hive key, `k`, of three entries; the newest one's files are in `data/k=a`.
fn by_key() -> (TempDir, Chain, Tip) {
    let dir = TempDir::new().unwrap();
    let identity = Identity { partition_by: vec!["k".into()], ..identity() };
    let definition = definition();
    let local = Arc::new(Local::new(&dir.path().join("test")).unwrap());
    let dataset = Dataset::open_in(local, &identity, definition, 1_000).unwrap();
    let chain = dataset.chain("t", "id", 0);
    let mut tip = chain.start(0, WINDOW).unwrap();
    for _ in 0..2 {
        let to = tip.to + 4;
        tip = commit_one(&chain, keyed(&chain, &tip, to)).unwrap();
    }
    assert_eq!(verify(&dir.path().join("test")).unwrap().findings, []);
    (dir, chain, tip)
}

/// The next entry, with one file in `data/k=a`.
fn keyed(chain: &Chain, tip: &Tip, to: i64) -> Entry {
    let mut file = stage(chain, tip.sequence + 1, Side::Data, 0, &(tip.to..to).collect::<Vec<_>>());
    file.path = file.path.replace("data/", "data/k=a/");
    let counts = Counts::from([(Class::Row, (to - tip.to) as u64)]);
    let (window, files) = (WINDOW, vec![file]);
    chain.entry(tip, NextEntry { to, last: last(to), counts, window, tallies: vec![], reason: Reason::Rows, files })
}

fn reopen(folder: &Path) -> Result<Dataset, LedgerError> {
    let identity = Identity { partition_by: vec!["k".into()], ..identity() };
    Dataset::open(folder, &identity, definition())
}

#[test]
fn a_link_below_a_dataset_is_refused_by_everyone() {
    for place in ["data", "data/k=a", "ledger", "ledger/t", "ledger/t/id", "ledger/t/id/0", "rejects", "staging"] {
        let (dir, _, _) = by_key();
        let (folder, copy, late) = (dir.path().join("test"), dir.path().join("copy"), dir.path().join("late"));
        backup(&folder, &copy, true).unwrap();
        move_and_link(&folder.join(place));
        let before = inventory(dir.path());
        let all: [(&str, Option<String>); 5] = [
            ("a start", reopen(&folder).and_then(|it| it.chain("t", "id", 0).recover()).err().map(|it| it.to_string())),
            ("verify", verify(&folder).err().map(|error| error.to_string())),
            ("repair", repair(&folder, None, false).err().map(|error| error.to_string())),
            ("repair with a backup", repair(&folder, Some(&copy), false).err().map(|error| error.to_string())),
            ("backup", backup(&folder, &late, true).err().map(|error| error.to_string())),
        ];
        for (who, said) in all {
            let said = said.unwrap_or_else(|| panic!("{place}: {who} does not refuse it"));
            let link = folder.join(place).display().to_string();
            assert!(said.contains(&link) && said.contains("symbolic link"), "{place}: {who} says {said}");
        }
        if place.starts_with("ledger") {
            let windows = Dataset::existing(&folder).and_then(|dataset| Completeness::read(&dataset).map(drop));
            let frontier = Dataset::existing(&folder).and_then(|dataset| frontier(&dataset).map(drop));
            assert!(windows.is_err() && frontier.is_err(), "{place}");
        }
        assert_eq!(inventory(dir.path()), before, "{place}: nothing is moved, made or removed");
        // A backup that is one is refused as well.
        assert!(repair(&copy, Some(&folder), false).is_err(), "{place}");
    }
}

#[test]
fn a_file_that_is_a_link_is_refused() {
    for place in ["the newest file", "an entry", "dataset.json"] {
        let (dir, chain, _) = by_key();
        let folder = dir.path().join("test");
        let path = match place {
            "the newest file" => folder.join(&chain.read(2).unwrap().unwrap().files[0].path),
            "an entry" => chain.entry_path(2),
            _ => folder.join("ledger/dataset.json"),
        };
        move_and_link(&path);
        let before = inventory(dir.path());
        assert!(verify(&folder).is_err(), "{place}");
        assert!(repair(&folder, None, false).is_err(), "{place}");
        assert!(backup(&folder, &dir.path().join("late"), true).is_err(), "{place}");
        let start = reopen(&folder).and_then(|dataset| dataset.chain("t", "id", 0).recover());
        assert!(start.is_err(), "{place}: {start:?}");
        assert_eq!(inventory(dir.path()), before, "{place}");
    }
}

#[test]
fn a_lane_commits_nothing_into_a_folder_that_became_a_link() {
    let (dir, chain, tip) = by_key();
    let folder = dir.path().join("test");
    let next = keyed(&chain, &tip, tip.to + 3);
    move_and_link(&folder.join("data/k=a"));
    let refused = commit_one(&chain, next).unwrap_err();
    assert!(refused.to_string().contains("data/k=a is a symbolic link"), "{refused}");
    assert!(!chain.has(tip.sequence + 1).unwrap(), "refused before it is committed");
}

#[test]
fn the_datasets_own_folder_may_be_reached_through_a_link() {
    let (dir, chain, tip) = by_key();
    let (folder, link) = (dir.path().join("test"), dir.path().join("link"));
    symlink(&folder, &link).unwrap();
    let chain_there = reopen(&link).unwrap().chain("t", "id", 0);
    assert_eq!(chain_there.recover().unwrap(), Some(tip.clone()));
    commit_one(&chain_there, keyed(&chain_there, &tip, tip.to + 3)).unwrap();
    assert_eq!(verify(&link).unwrap().findings, []);
    assert_eq!(backup(&link, &dir.path().join("copy"), true).unwrap().entries, 4);
    assert_eq!(repair(&link, None, false).unwrap().left, []);
    assert_eq!(chain.recover().unwrap().map(|tip| tip.sequence), Some(3));
}

/// What may stand where a file should.
fn put(kind: &str, path: &Path) {
    match kind {
        "a FIFO" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        _ => fs::create_dir(path).unwrap(),
    }
}

#[test]
fn what_is_no_file_is_never_waited_for() {
    for kind in ["a FIFO", "a socket", "a folder"] {
        for place in ["an older entry", "the newest entry", "the newest file", "dataset.json", "topic.json"] {
            // A socket's path may have 107 bytes.
            let (dir, chain, _) = by_key();
            let folder = dir.path().join("test");
            chain.dataset.topic("t", "id", 1).unwrap();
            let path = match place {
                "an older entry" => chain.entry_path(1),
                "the newest entry" => chain.entry_path(2),
                "the newest file" => folder.join(&chain.read(2).unwrap().unwrap().files[0].path),
                "topic.json" => folder.join("ledger/t/id/topic.json"),
                _ => folder.join("ledger/dataset.json"),
            };
            fs::remove_file(&path).unwrap();
            let short = dir.path().join("s");
            put(kind, &short);
            fs::rename(&short, &path).unwrap();
            let start = reopen(&folder).and_then(|dataset| {
                dataset.topic("t", "id", 1)?;
                dataset.chain("t", "id", 0).recover().map(drop)
            });
            let said = start.unwrap_err().to_string();
            let name = path.display().to_string();
            assert!(said.contains(&name) && said.contains(kind), "{kind} for {place}: {said}");
            let copy = backup(&folder, &dir.path().join("copy"), true);
            assert!(copy.is_err(), "{kind} for {place}: {copy:?}");
            match verify(&folder) {
                Err(error) => assert!(error.to_string().contains(&name), "{kind} for {place}: {error}"),
                Ok(report) => assert!(
                    report.findings.iter().any(|finding| name.ends_with(&finding.path)),
                    "{kind} for {place}: {:?}",
                    report.findings
                ),
            }
            if let Ok(dataset) = Dataset::existing(&folder)
                && place != "the newest file"
            {
                assert!(Completeness::read(&dataset).is_err(), "{kind} for {place}");
            }
        }
    }
}

/// Changes a JSON file of the ledger, and its checksum along.
fn edit(path: &Path, change: impl Fn(&mut serde_json::Value)) {
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    let content = match value.as_object_mut().filter(|map| map.contains_key("sequence")) {
        Some(entry) => sealed(entry),
        None => dataset::json(&value),
    };
    fs::write(path, content).unwrap();
}

/// Everything that reads it; nothing may panic or go on for ever. Whether all of them refused it.
fn all_refuse(folder: &Path, copy: &Path) -> bool {
    let start = reopen(folder).and_then(|dataset| {
        dataset.topic("t", "id", 1)?;
        dataset.chain("t", "id", 0).recover().map(drop)
    });
    let read = |dataset: &Dataset| {
        Completeness::read(dataset)?;
        frontier(dataset)?;
        dataset.newest()?.try_for_each(|entry| entry.map(drop))
    };
    let readers = Dataset::existing(folder).and_then(|dataset| read(&dataset));
    let verified = verify(folder).is_ok_and(|report| report.findings.is_empty());
    let _ = repair(folder, None, true);
    let backed = backup(folder, copy, true);
    (start.is_err() || readers.is_err()) && !verified && backed.is_err()
}

#[test]
fn numbers_that_no_weir_writes_are_refused() {
    type Change = fn(&mut serde_json::Value);
    let dataset_json: [(&str, Change); 2] = [
        ("checkpoint_entries 0", |it| it["checkpoint_entries"] = 0.into()),
        ("checkpoint_entries huge", |it| it["checkpoint_entries"] = u64::MAX.into()),
    ];
    let topic_json: [(&str, Change); 3] = [
        ("partitions huge", |it| it["partitions"] = i32::MAX.into()),
        ("partitions negative", |it| it["partitions"] = (-1).into()),
        ("another topic", |it| it["topic"] = "u".into()),
    ];
    let entry: [(&str, Change); 7] = [
        ("dropped without late", |it| it["counts"]["dropped"] = 5.into()),
        ("negative", |it| (it["from"], it["to"]) = ((-9).into(), (-1).into())),
        ("position huge", |it| it["to"] = i64::MAX.into()),
        ("counts huge", |it| it["counts"]["row"] = u64::MAX.into()),
        ("rows huge", |it| it["files"][0]["rows"] = u64::MAX.into()),
        ("a window number", |it| it["window"]["count"]["window"] = u64::MAX.into()),
        ("a tally of rows", |it| {
            it["tallies"] = serde_json::json!([
                {"window": {"count": 3}, "rows": 1, "reopened": 0, "late": 0, "rejected": 0}
            ]);
        }),
    ];
    let dataset_json = dataset_json.map(|change| ("ledger/dataset.json", change));
    let topic_json = topic_json.map(|change| ("ledger/t/id/topic.json", change));
    let entry = entry.map(|change| ("ledger/t/id/0/00000000000000000002.json", change));
    for (file, (what, change)) in dataset_json.into_iter().chain(topic_json).chain(entry) {
        let (dir, chain, _) = by_key();
        chain.dataset.topic("t", "id", 1).unwrap();
        let folder = dir.path().join("test");
        edit(&folder.join(file), change);
        assert!(all_refuse(&folder, &dir.path().join("copy")), "{what}");
    }
}

#[test]
fn names_with_numbers_that_no_weir_gives_hang_nobody() {
    for name in ["18446744073709551615.json", "00000000010000000000.json", "18446744073709551615.checkpoint.jsonl.gz"] {
        let (dir, chain, _) = by_key();
        let folder = dir.path().join("test");
        fs::copy(chain.entry_path(2), chain.folder().join(name)).unwrap();
        all_refuse(&folder, &dir.path().join("copy"));
        assert_ne!(verify(&folder).unwrap().findings, [], "{name}");
    }
}

/// Folders as early datasets have them, for values that are no folder's name in full, and keys of any script.
#[test]
fn every_folder_that_a_weir_has_made_is_read_and_gone_on_from() {
    let long = format!("{}~{}", "x".repeat(219), "0123456789abcdef".repeat(2));
    let null = "__HIVE_DEFAULT_PARTITION__~8ec3cd044a1b2ac4a73503dcafed3827";
    for (key, value) in [("k", &*long), ("k", null), ("città", "Forlì%20%2F"), ("k", "__HIVE_DEFAULT_PARTITION__")] {
        let dir = TempDir::new().unwrap();
        let (folder, copy) = (dir.path().join("test"), dir.path().join("copy"));
        let reopen = || {
            let identity = Identity { partition_by: vec![key.into()], ..identity() };
            let definition = definition();
            Dataset::open(&folder, &identity, definition).unwrap().chain("t", "id", 0)
        };
        let mut tip = reopen().start(0, WINDOW).unwrap();
        for value in [value, "next"] {
            let chain = reopen();
            assert_eq!(chain.recover().unwrap(), Some(tip.clone()));
            let mut entry = keyed(&chain, &tip, tip.to + 4);
            entry.files[0].path = entry.files[0].path.replace("k=a", &format!("{key}={value}"));
            tip = commit_one(&chain, entry.sealed()).unwrap();
        }
        assert_eq!(verify(&folder).unwrap().findings, [], "{key}={value}");
        assert_eq!(backup(&folder, &copy, true).unwrap().files, 2);
        let repaired = repair(&folder, Some(&copy), false).unwrap();
        assert_eq!((repaired.actions, repaired.left), (vec![], vec![]));
    }
}
