//! Old entries fold: what is read stays the same, numbers that were freed are nobody's, and a long chain starts soon.

use std::time::{Duration, Instant};

use super::*;

/// The folder's names, ascending.
fn names_of(chain: &Chain) -> Vec<String> {
    let mut names = chain.dataset.store().list(&chain.entries_prefix()).unwrap();
    names.sort();
    names
}

/// A chain of entries up to `last`, two offsets each, in a dataset whose checkpoints hold three.
fn folded(last: u64) -> (TempDir, Chain, Tip) {
    let dir = TempDir::new().unwrap();
    let chain = open_folding(&dir.path().join("test"), 3).chain("t", "id", 0);
    let mut tip = chain.start(0, WINDOW).unwrap();
    while tip.sequence < last {
        tip = commit_to(&chain, &tip, tip.to + 2);
    }
    (dir, chain, tip)
}

#[test]
fn what_is_read_stays_the_same() {
    let (dir, chain, tip) = folded(7);
    let numbers = |names: Vec<String>| names.iter().map(|name| name[18..].to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(numbers(names_of(&chain)), "02.checkpoint.jsonl.gz 05.checkpoint.jsonl.gz 06.json 07.json");
    assert_whole(&dir.path().join("test"), 14);
    assert_eq!(verify(&dir.path().join("test")).unwrap().entries, 8);

    let plain = open(&dir.path().join("plain")).chain("t", "id", 0);
    let mut other = plain.start(0, WINDOW).unwrap();
    while other.sequence < 7 {
        other = commit_to(&plain, &other, other.to + 2);
    }
    let known = |entry: Result<Entry, LedgerError>| {
        let entry = entry.unwrap();
        (entry.sequence, entry.from, entry.to, entry.counts, entry.files.len())
    };
    let forwards: Vec<_> = chain.all().unwrap().map(known).collect();
    assert_eq!(forwards, plain.all().unwrap().map(known).collect::<Vec<_>>());
    assert_eq!(forwards.len(), 8);
    let backwards: Vec<_> = chain.newest().unwrap().map(known).collect();
    assert_eq!(backwards, forwards.into_iter().rev().collect::<Vec<_>>());

    assert_eq!(chain.recover().unwrap(), Some(tip.clone()));
    assert_eq!(chain.read(8).unwrap(), None);
    for known in [None, Some(0), Some(4), Some(6)] {
        assert_eq!(chain.newest_after(known).unwrap().map(|entry| entry.sequence), Some(7), "after {known:?}");
    }
    assert_eq!(chain.newest_after(Some(7)).unwrap(), None);
    assert!(chain.dataset.topic("t", "another", 1).is_err(), "a chain of checkpoints is a chain");
}

#[test]
fn a_chain_whose_newest_entry_is_folded_goes_on() {
    let (dir, chain, tip) = folded(5);
    assert_eq!(names_of(&chain).len(), 2);
    assert_eq!(chain.recover().unwrap(), Some(tip.clone()));
    assert_eq!(chain.newest_after(None).unwrap().map(|entry| entry.sequence), Some(5));
    commit_to(&chain, &tip, 20);
    assert_whole(&dir.path().join("test"), 20);
}

#[test]
fn a_freed_number_is_nobodys() {
    let (dir, chain, tip) = folded(1);
    // What an instance has ready that isn't scheduled for long: the next entry, and another one's very first.
    let (late, first) = (entry_to(&chain, &tip, 30), chain.first_entry(9, WINDOW));
    let mut tip = tip;
    while tip.sequence < 6 {
        tip = commit_to(&chain, &tip, tip.to + 2);
    }
    for zombies in [late, first] {
        let number = zombies.sequence;
        let fenced = commit_one(&chain, zombies).unwrap_err();
        assert!(matches!(fenced, LedgerError::Fenced { .. }), "{fenced}");
        assert!(chain.has_plain(number).unwrap(), "it was linked to the free name");
        assert_eq!(chain.read(number).unwrap().map(|entry| entry.to), Some(2 * number as i64), "the folded one counts");
    }
    assert_eq!(verify(&dir.path().join("test")).unwrap().findings, []);
    assert_eq!(chain.recover().unwrap(), Some(tip));
    assert!(!chain.has_plain(2).unwrap() && !chain.has_plain(0).unwrap(), "a start removes what checkpoints cover");
    assert_eq!(staged_files(&chain), 0, "and what was staged for it");
    assert_whole(&dir.path().join("test"), 12);
}

#[test]
fn an_entry_that_was_folded_before_its_writer_looks_is_committed() {
    let dir = TempDir::new().unwrap();
    let chain = open_folding(&dir.path().join("test"), 3).chain("t", "id", 0);
    // What a writer finds that stops after it has linked its entry, while another one goes on from there and folds.
    let own = chain.first_entry(0, WINDOW);
    let first = commit_one(&chain, own.clone()).unwrap();
    let mut tip = first.clone();
    while tip.sequence < 3 {
        tip = commit_to(&chain, &tip, tip.to + 2);
    }
    assert!(chain.is_covered(0).unwrap());
    assert_eq!(commit_one(&chain, own).unwrap(), first);
    assert_eq!(chain.recover().unwrap(), Some(tip));
    assert_whole(&dir.path().join("test"), 6);
}

#[test]
fn a_start_on_a_chain_that_was_folded_meanwhile_adopts_it() {
    let (_dir, chain, tip) = folded(4);
    assert_eq!(chain.start(7, WINDOW).unwrap(), tip);
}

#[test]
fn damaged_checkpoints() {
    let cut = |path: &Path| {
        let content = fs::read(path).unwrap();
        fs::write(path, &content[..content.len() / 2]).unwrap();
    };
    let flip = |path: &Path| {
        let mut content = fs::read(path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::write(path, content).unwrap();
    };
    type Damage = fn(&Path);
    let damages: [(Damage, Kind); 3] = [
        (cut, Kind::UnreadableEntry),
        (flip, Kind::UnreadableEntry),
        (|path| fs::remove_file(path).unwrap(), Kind::MissingEntry),
    ];
    for (damage, kind) in damages {
        let (dir, chain, _) = folded(7);
        damage(&chain.checkpoint_path(0));
        let report = verify(&dir.path().join("test")).unwrap();
        assert!(report.findings.iter().any(|finding| finding.kind == kind), "{:?}", report.findings);
        assert!(report.entries >= 5, "those of the other one, and after it: {}", report.entries);
    }
    // A start looks at all names, and reads the newest entry.
    let (dir, chain, _) = folded(7);
    fs::remove_file(chain.checkpoint_path(0)).unwrap();
    insta::assert_snapshot!(text(&chain.recover().unwrap_err(), dir.path()), @"the ledger of t:0 has a hole: DIR/test/ledger/t/id/0/00000000000000000002.checkpoint.jsonl.gz is missing, but entry 5 is there. weir removes no entry that is not in a checkpoint. `weir repair FILE --from BACKUP` puts it back from a backup");
    let (dir, chain, _) = folded(5);
    cut(&chain.checkpoint_path(1));
    insta::assert_snapshot!(text(&chain.recover().unwrap_err(), dir.path()), @"DIR/test/ledger/t/id/0/00000000000000000005.checkpoint.jsonl.gz is not readable as a part of the ledger: incomplete deflate stream. Put it back from a backup; if it is an entry, `weir repair FILE --from BACKUP` does that");
}

/// A file that no disk has.
fn file(chain: &Chain, sequence: u64) -> FileEntry {
    let StagedName { staged, path } = chain.name(sequence, Side::Data, "station_id=IT-01", 0);
    let sha256 = names::random().repeat(4);
    let offsets = Some((2 * sequence as i64 - 2, 2 * sequence as i64 - 1));
    chain.dataset.described(FileEntry {
        side: Side::Data,
        path,
        staged,
        rows: 2,
        bytes: 4_711,
        sha256,
        windows: None,
        event_time: None,
        offsets,
        partition_values: serde_json::Map::new(),
        columns_version: None,
        sort: vec![],
    })
}

/// `WEIR_TEST_ENTRIES=1000000 cargo test --release --lib a_long_chain -- --nocapture` for a million.
#[test]
fn a_long_chain_starts_soon() {
    let entries = std::env::var("WEIR_TEST_ENTRIES").map_or(20_000, |count| count.parse().unwrap());
    let (dir, chain, _) = started();
    let folder = dir.path().join("test");
    let mut folding = Duration::ZERO;
    let mut previous = chain.read(0).unwrap().unwrap().end().sha256;
    for sequence in 1..entries {
        let tip = Tip {
            sequence: sequence - 1,
            to: 2 * sequence as i64 - 2,
            last: None,
            window: WINDOW,
            written_at_ms: 0,
            lost: 0,
            sha256: previous.clone(),
            requires: vec![],
        };
        let mut entry = entry_to(&chain, &tip, tip.to);
        (entry.to, entry.counts[Class::Row]) = (tip.to + 2, 2);
        // Those before the newest are not looked at.
        if sequence < entries - 1 {
            entry.files.push(file(&chain, sequence));
        }
        let entry = entry.sealed();
        fs::write(chain.entry_path(sequence), entry.line()).unwrap();
        previous = entry.end().sha256;
        if (sequence + 1) % checkpoint::EVERY == 0 {
            let began = Instant::now();
            chain.fold(sequence).unwrap();
            folding += began.elapsed();
        }
    }
    let bytes: u64 = names_of(&chain).iter().map(|name| fs::metadata(chain.folder().join(name)).unwrap().len()).sum();
    let began = Instant::now();
    assert_eq!(chain.all().unwrap().map(|entry| entry.unwrap().counts[Class::Row]).sum::<u64>(), 2 * (entries - 1));
    println!("{bytes} bytes; folded in {folding:?}, all read in {:?}", began.elapsed());
    let (names, began) = (names_of(&chain).len(), Instant::now());
    let tip = open(&folder).chain("t", "id", 0).recover();
    let took = began.elapsed();
    println!("a start with {entries} entries behind it, {names} names: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(tip.unwrap().unwrap().sequence, entries - 1);
}
