//! Format 2 beside what came before it and what comes after it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

/// Every file below a folder, with its content.
fn all_files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        match path.is_dir() {
            true => found.extend(all_files(&path)),
            false => _ = found.insert(path.clone(), fs::read(&path).unwrap()),
        }
    }
    found
}

/// Changes an entry, unknown fields and all, and seals it again.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut entry: Map<String, Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut entry);
    fs::write(path, sealed(&mut entry)).unwrap();
}

#[test]
fn an_entry_is_one_line_sealed_by_its_bytes() {
    let (_dir, chain, tip) = started();
    commit_to(&chain, &tip, 7);
    let line = fs::read(chain.entry_path(1)).unwrap();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let entry = chain.read(1).unwrap().unwrap();
    assert_eq!((entry.line(), entry.checksum()), (line.clone(), entry.sha256.clone().unwrap()));
    let first = chain.read(0).unwrap().unwrap();
    assert_eq!((entry.previous, first.previous), (first.sha256, None));
    assert_eq!((first.kind, entry.kind), (Some(EntryKind::Start), Some(EntryKind::Commit)));
    assert_eq!(entry.dataset.as_deref(), Some(chain.dataset.id()));
    assert_eq!(
        (entry.attempt.as_ref().unwrap().len(), entry.pipeline, entry.definition),
        (32, "abc".into(), Some("def".into()))
    );
    assert_ne!(entry.attempt, first.attempt);
    let file = &entry.files[0];
    assert_eq!(
        (file.offsets, file.columns_version, file.sort.as_slice()),
        (Some((1, 6)), Some(0), &["_kafka_offset".to_owned()][..])
    );
    assert_eq!((entry.files[1].side, entry.files[1].columns_version), (Side::Rejects, None));
    // Each flipped bit is noticed.
    for at in 0..line.len() {
        for bit in 0..8 {
            let mut changed = line.clone();
            changed[at] ^= 1 << bit;
            let read = chain.parse(&chain.entry_path(1), &changed, 1);
            assert!(read.is_err(), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&changed));
        }
    }
}

#[test]
fn what_an_entry_of_format_1_says_can_not_change_unseen() {
    let (_copied, chain) = fixtures::chain("ledger-1");
    let path = chain.entry_path(2);
    let (content, entry) = (fs::read(&path).unwrap(), chain.read(2).unwrap().unwrap());
    for at in 0..content.len() {
        for bit in 0..8 {
            let mut changed = content.clone();
            changed[at] ^= 1 << bit;
            let read = chain.parse(&path, &changed, 2);
            // Its checksum is over its fields: a space may change, and the name of a field that
            // says nothing.
            assert!(read.is_err() || read.as_ref().unwrap() == &entry, "bit {bit} of byte {at}: {read:?}");
        }
    }
}

/// Fields that a later weir adds and that nobody must know.
fn add_unknown(entry: &mut Map<String, Value>) {
    entry.insert("later".into(), json!({"any": ["thing", 1e300]}));
    entry["counts"].as_object_mut().unwrap().insert("later".into(), json!(7));
    entry["window"]["count"].as_object_mut().unwrap().insert("later".into(), json!(null));
    for file in entry["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().insert("later".into(), json!("é"));
    }
}

#[test]
fn unknown_fields_are_passed_over_and_stay() {
    let (dir, folder) = (TempDir::new().unwrap(), |dir: &TempDir| dir.path().join("test"));
    let chain = open_folding(&folder(&dir), 2).chain("t", "id", 0);
    let tip = chain.start(0, WINDOW).unwrap();
    commit_to(&chain, &tip, 7);
    // Entries 0 and 1 are in a checkpoint; this one isn't yet.
    let tip = commit_to(&chain, &chain.recover().unwrap().unwrap(), 12);
    change(&chain.entry_path(2), add_unknown);
    let line = fs::read(chain.entry_path(2)).unwrap();
    let tip = Tip { sha256: chain.read(2).unwrap().unwrap().sha256.unwrap(), ..tip };
    assert_eq!(chain.recover().unwrap(), Some(tip.clone()));
    let copy = dir.path().join("copy");
    backup(&folder(&dir), &copy, true).unwrap();
    assert_eq!(fs::read(copy.join(chain.entry_name(2))).unwrap(), line);
    fs::write(chain.entry_path(2), "{").unwrap();
    repair(&folder(&dir), Some(&copy), false).unwrap();
    assert_eq!(fs::read(chain.entry_path(2)).unwrap(), line);
    commit_to(&chain, &tip, 20);
    let folded = chain.reader().stored(2).unwrap().unwrap();
    assert!(chain.is_covered(2).unwrap() && folded.content == line, "the checkpoint has it as it was");
    assert_whole(&folder(&dir), 20);
}

/// What everybody says to an entry, and that nothing was changed.
#[track_caller]
fn refused_by_all(put: impl FnOnce(&mut Map<String, Value>)) -> String {
    let (dir, chain, tip) = started();
    let folder = dir.path().join("test");
    let tip = commit_to(&chain, &tip, 7);
    let copy = dir.path().join("copy");
    backup(&folder, &copy, true).unwrap();
    commit_to(&chain, &tip, 12);
    change(&chain.entry_path(2), put);
    // An attempt that a start would sweep, and damage that a repair would mend.
    stage(&chain, 1, Side::Data, 9, &[0]);
    fs::write(chain.entry_path(0), "{").unwrap();
    let before = all_files(dir.path());
    let said = text(&chain.recover().unwrap_err(), dir.path());
    let others = [
        verify(&folder).map(drop).unwrap_err(),
        chain.newest().unwrap().next().unwrap().map(drop).unwrap_err(),
        match repair(&folder, Some(&copy), false) {
            Err(RepairError::Ledger(error)) => error,
            other => panic!("{other:?}"),
        },
    ];
    for other in others {
        assert_eq!(text(&other, dir.path()), said);
    }
    let backed_up = backup(&folder, &dir.path().join("other"), true).unwrap_err();
    assert!(matches!(backed_up, BackupError::Ledger(_)), "{backed_up}");
    fs::remove_dir_all(dir.path().join("other")).unwrap();
    assert_eq!(all_files(dir.path()), before);
    said
}

#[test]
fn what_must_be_known_and_is_not() {
    let said = refused_by_all(|entry| {
        entry.insert("requires".into(), json!(["files.deletes"]));
        entry["files"][0]["deletes"] = json!([1, 2]);
    });
    insta::assert_snapshot!(said, @"DIR/test/ledger/t/id/0/00000000000000000002.json was written by a newer weir: it has the field `files.deletes`, which this weir doesn't know. Use that one; this one changed nothing in this chain");
    let said = refused_by_all(|entry| entry["kind"] = json!("replay"));
    insta::assert_snapshot!(said, @r#"DIR/test/ledger/t/id/0/00000000000000000002.json was written by a newer weir: it has the kind "replay", which this weir doesn't know. Use that one; this one changed nothing in this chain"#);
    let said = refused_by_all(|entry| entry["format"] = json!(3));
    insta::assert_snapshot!(said, @"DIR/test/ledger/t/id/0/00000000000000000002.json has ledger format 3, this weir knows 2: it was written by a newer weir. Use that one; this one changed nothing in this chain");
}

#[test]
fn an_entry_after_another_one_than_stands_before_it() {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    commit_to(&chain, &tip, 12);
    // The same range and the same file, written by a copy that went on by itself.
    change(&chain.entry_path(1), |entry| entry["written_at_ms"] = json!(1));
    let said = chain.recover().unwrap_err();
    assert!(matches!(said, LedgerError::Forked { .. }), "{said}");
    assert!(chain.all().unwrap().any(|entry| matches!(entry, Err(LedgerError::Forked { .. }))));
    assert!(chain.newest().unwrap().any(|entry| matches!(entry, Err(LedgerError::Forked { .. }))));
    let folder = dir.path().join("test");
    let kinds: Vec<Kind> = verify(&folder).unwrap().findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::OtherHistory]);
    let left = repair(&folder, None, false).unwrap();
    assert_eq!((left.actions.len(), left.left[0].finding.kind), (0, Kind::OtherHistory));
}

#[test]
fn an_entry_of_another_dataset() {
    let ((_dir, chain, tip), (_other_dir, other, other_tip)) = (started(), started());
    commit_to(&chain, &tip, 7);
    commit_to(&other, &other_tip, 7);
    fs::copy(other.entry_path(1), chain.entry_path(1)).unwrap();
    let said = chain.recover().unwrap_err().to_string();
    assert!(said.contains(&format!("it is of the dataset with the id {}", other.dataset.id())), "{said}");
}

/// These are names of the ledger's own files and folders, or will be.
#[test]
fn topics_of_any_name_are_in_nobodys_way() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("test");
    let topics = ["columns", "pipelines", "care", "writer-schemas", "dataset.json", "0.json"];
    for _ in 0..2 {
        let dataset = open(&folder);
        for topic in topics {
            dataset.topic(topic, "id", 1).unwrap();
            let chain = dataset.chain(topic, "id", 0);
            let tip = chain.recover().unwrap().map_or_else(|| chain.start(0, WINDOW), Ok).unwrap();
            commit_to(&chain, &tip, tip.to + 3);
        }
    }
    let report = verify(&folder).unwrap();
    assert_eq!((report.findings.as_slice(), report.partitions), (&[][..], topics.len() as u64));
    let copy = dir.path().join("copy");
    assert_eq!(backup(&folder, &copy, true).unwrap().partitions, topics.len() as u64);
    assert_eq!(verify(&copy).unwrap().findings, []);
    let other = open(&folder).topic("columns", "another id", 1).unwrap_err();
    assert!(matches!(other, LedgerError::OtherTopic { .. }), "{other}");
}

#[test]
fn hive_keys_have_the_types_of_their_columns() {
    let dir = TempDir::new().unwrap();
    let column = |name: &str, kind: &str| ColumnIdentity { name: name.into(), kind: kind.into() };
    let columns = vec![column("n", "int64"), column("b", "bool"), column("s", "string"), column("day", "date")];
    let partition_by = ["n", "b", "s", "day", "window"].map(str::to_owned).to_vec();
    let identity = Identity { columns, partition_by, ..identity() };
    let dataset = Dataset::open(&dir.path().join("test"), &identity, definition()).unwrap();
    let (_other, chain, _) = started();
    let path = "data/n=-7/b=true/s=a%2Fb/day=__HIVE_DEFAULT_PARTITION__/window=2004-03-10/x.parquet".to_owned();
    let file = dataset.described(FileEntry { path, ..stage(&chain, 1, Side::Data, 0, &[1]) });
    let expected = json!({"n": -7, "b": true, "s": "a/b", "day": null, "window": "2004-03-10"});
    assert_eq!(Value::Object(file.partition_values), expected);
}

#[test]
fn columns_that_were_changed_are_refused() {
    let (dir, _chain, _) = started();
    let folder = dir.path().join("test");
    let path = folder.join("ledger/columns/0.json");
    let content = fs::read_to_string(&path).unwrap();
    insta::assert_snapshot!(content, @r#"
    {
      "format": 2,
      "version": 0,
      "columns": [
        {
          "id": 3,
          "name": "_kafka_offset",
          "type": "int64"
        }
      ]
    }
    "#);
    fs::write(&path, content.replace("int64", "int32")).unwrap();
    let said = Dataset::open(&folder, &identity(), definition()).unwrap_err().to_string();
    assert!(said.contains("its columns are not those of ledger/dataset.json"), "{said}");
    fs::write(&path, "{").unwrap();
    let kinds: Vec<Kind> = verify(&folder).unwrap().findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::UnreadableColumns]);
    fs::remove_file(&path).unwrap();
    open(&folder);
    assert_eq!(fs::read_to_string(&path).unwrap(), content, "it is made again");
}

#[test]
fn a_file_tells_its_entry_wherever_it_is() {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    let file = chain.dataset.folder().join(&chain.read(1).unwrap().unwrap().files[0].path);
    // A file without a receipt, as other programs write: it is shown, and no ledger is looked for.
    let outside = dir.path().join("outside.parquet");
    fs::copy(&file, &outside).unwrap();
    let inspection = inspect(&outside, None).unwrap();
    assert_eq!((inspection.rows, inspection.ledger), (5, None));
    let compared = inspect(&file, None).unwrap().ledger.unwrap();
    assert_eq!(compared.differences, ["the footer doesn't say which entry names the file: weir did not write it"]);
    assert!(matches!(inspect(&chain.entry_path(1), None), Err(InspectError::NotParquet { .. })));
    assert!(matches!(inspect(&dir.path().join("none"), None), Err(InspectError::Ledger(_))));
    let receipt: BTreeMap<_, _> = chain.receipt(2, &tip.sha256).into_iter().collect();
    assert_eq!((receipt["weir.sequence"].as_str(), receipt["weir.previous"].as_str()), ("2", &*tip.sha256));
}

/// A weir with chains of other kinds requires them in the main chains, too; here that is not to be
/// relied on.
#[test]
fn a_chain_of_another_kind_is_nobodys_to_touch() {
    let (dir, chain, tip) = started();
    let folder = dir.path().join("test");
    commit_to(&chain, &tip, 7);
    let copy = dir.path().join("copy");
    backup(&folder, &copy, true).unwrap();
    let name = chain.read(1).unwrap().unwrap().files[0].path.replace(".parquet", ".replay.parquet");
    fs::write(folder.join(&name), "rows").unwrap();
    let left = repair(&folder, None, false).unwrap();
    assert_eq!((left.actions.len(), left.left.len()), (0, 1), "a file of a replay stays where it is");
    fs::create_dir(chain.folder().with_file_name("0.replay")).unwrap();
    let before = all_files(dir.path());
    let errors = [
        verify(&folder).map(drop).unwrap_err(),
        LedgerReader::of(&folder).unwrap().entries().map(drop).unwrap_err(),
        match repair(&folder, Some(&copy), false) {
            Err(RepairError::Ledger(error)) => error,
            other => panic!("{other:?}"),
        },
    ];
    for error in errors {
        assert!(matches!(&error, LedgerError::Requires { what, .. } if what.contains("replay")), "{error}");
    }
    assert_eq!(all_files(dir.path()), before);
}

#[test]
fn what_one_entry_requires_the_next_one_repeats() {
    let (_dir, chain, tip) = started();
    let tip = Tip { requires: vec!["known".to_owned()], ..tip };
    let entry = entry_to(&chain, &tip, 7);
    assert_eq!((&entry.requires, entry.sha256.as_ref()), (&tip.requires, Some(&entry.checksum())));
}

#[test]
fn a_dataset_of_a_newer_weir_is_not_opened() {
    let (dir, _chain, _) = started();
    let folder = dir.path().join("test");
    let path = folder.join("ledger/dataset.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_dir_all(folder.join("ledger/columns")).unwrap();
    for (from, to) in
        [("\"format\": 2", "\"format\": 3"), ("\"format\": 2", "\"format\": 2, \"requires\": [\"tables\"]")]
    {
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = Dataset::open(&folder, &identity(), definition()).unwrap_err();
        assert!(matches!(error, LedgerError::Format { .. } | LedgerError::Requires { .. }), "{error}");
        assert!(!folder.join("ledger/columns").exists(), "nothing was made");
    }
}

/// Its checksum is looked at before its format is believed.
#[test]
fn a_damaged_format_is_damage() {
    let (_dir, chain, tip) = started();
    commit_to(&chain, &tip, 7);
    let line = fs::read_to_string(chain.entry_path(1)).unwrap();
    for other in ["3", "0", "7"] {
        fs::write(chain.entry_path(1), line.replacen("\"format\":2", &format!("\"format\":{other}"), 1)).unwrap();
        assert!(matches!(chain.read(1), Err(LedgerError::Unreadable { .. })), "{other}");
    }
    // A seal over two lines would be two entries in a checkpoint.
    let mut entry: Map<String, Value> = serde_json::from_str(&line).unwrap();
    let two = String::from_utf8(sealed(&mut entry)).unwrap().replacen(",\"dataset\"", ",\n\"dataset\"", 1);
    let (before, hash) = (&two[..two.len() - 78], |text: &str| names::hex(&Sha256::digest(text)));
    fs::write(chain.entry_path(1), format!("{before},\"sha256\":\"{}\"}}\n", hash(before))).unwrap();
    assert!(matches!(chain.read(1), Err(LedgerError::Unreadable { .. })));
}

/// The oldest entries have no checksum: there every name of a field counts.
#[test]
fn a_damaged_name_in_an_entry_without_a_checksum() {
    let (_copied, chain) = fixtures::chain("ledger-1");
    let path = chain.entry_path(1);
    let text = fs::read_to_string(&path).unwrap();
    let seal = text.rfind(",\n  \"sha256\"").unwrap();
    let oldest = format!("{}\n}}\n", &text[..seal]);
    fs::write(&path, &oldest).unwrap();
    assert_eq!(chain.read(1).unwrap().unwrap().sha256, None);
    for name in ["watermark", "event_time", "leader_epoch", "reopened"] {
        fs::write(&path, oldest.replacen(&format!("\"{name}\""), &format!("\"x{}\"", &name[1..]), 1)).unwrap();
        assert!(matches!(chain.read(1), Err(LedgerError::Unreadable { .. })), "{name}");
    }
}
