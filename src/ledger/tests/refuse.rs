//! What the ledger refuses, and what it says then.

use super::*;

fn refusal(damage: impl Fn(&Path, &Chain, &Tip)) -> String {
    let (dir, chain, tip) = started();
    let tip = commit_to(&chain, &tip, 7);
    let tip = commit_to(&chain, &tip, 12);
    damage(&dir.path().join("test"), &chain, &tip);
    text(&chain.recover().unwrap_err(), dir.path())
}

fn last_file(chain: &Chain) -> FileEntry {
    chain.read(2).unwrap().unwrap().files[0].clone()
}

fn rewrite(chain: &Chain, change: impl Fn(&mut Entry)) {
    let mut entry = chain.read(2).unwrap().unwrap();
    change(&mut entry);
    fs::write(chain.entry_path(2), entry.clone().sealed().line()).unwrap();
}

#[test]
fn both_names_of_a_file_gone() {
    let text = refusal(|folder, chain, _| fs::remove_file(folder.join(last_file(chain).path)).unwrap());
    insta::assert_snapshot!(text, @"DIR/test/data/t-0-00000000000000000002-0-RANDOM.parquet is named by entry 2 of t:0, but neither it nor its staged file DIR/test/staging/id.RANDOM.0.00000000000000000002.0.INSTANCE.RANDOM.parquet is there; weir does not go on without it, because its rows would be lost. `weir repair FILE --from BACKUP` puts it back from a backup; without one, write a new dataset (another `name`) from what Kafka still has");
}

#[test]
fn another_file_under_the_name() {
    let text = refusal(|folder, chain, _| fs::write(folder.join(last_file(chain).path), "mine").unwrap());
    insta::assert_snapshot!(text, @"DIR/test/data/t-0-00000000000000000002-0-RANDOM.parquet is not the file that entry 2 of t:0 names: expected 535 bytes, found 4 bytes. weir never overwrites a file. `weir repair FILE --from BACKUP` moves it aside and puts the right one in its place");
}

#[test]
fn a_staged_file_that_a_disk_has_changed() {
    let text = refusal(|folder, chain, _| {
        let file = last_file(chain);
        let mut content = fs::read(folder.join(&file.path)).unwrap();
        content[9] ^= 1;
        fs::remove_file(folder.join(&file.path)).unwrap();
        fs::write(folder.join(&file.staged), content).unwrap();
    });
    assert!(text.starts_with("DIR/test/staging/") && text.contains("expected SHA-256"), "{text}");
}

#[test]
fn a_hole() {
    let text = refusal(|_, chain, _| fs::remove_file(chain.entry_path(1)).unwrap());
    insta::assert_snapshot!(text, @"the ledger of t:0 has a hole: DIR/test/ledger/t/id/0/00000000000000000001.json is missing, but entry 2 is there. weir removes no entry that is not in a checkpoint. `weir repair FILE --from BACKUP` puts it back from a backup");
}

#[test]
fn a_broken_range() {
    insta::assert_snapshot!(refusal(|_, chain, _| rewrite(chain, |entry| entry.from = 8)), @"the ledger of t:0 is broken: DIR/test/ledger/t/id/0/00000000000000000002.json starts at position 8, but the entry before it ends at 7. weir does not go on, because records would be lost or doubled. `weir verify FILE` lists all that is wrong; restore the dataset from a backup");
}

#[test]
fn another_partitions_entry() {
    insta::assert_snapshot!(refusal(|_, chain, _| rewrite(chain, |entry| entry.partition = 1)), @r#"DIR/test/ledger/t/id/0/00000000000000000002.json is not readable as a part of the ledger: it says that it is ("t", "id", 1, 2) from 7 to 12, its place says ("t", "id", 0, 2). Put it back from a backup; if it is an entry, `weir repair FILE --from BACKUP` does that"#);
}

#[test]
fn a_newer_format() {
    let text = refusal(|_, chain, _| fs::write(chain.entry_path(2), r#"{"format": 3, "new": true}"#).unwrap());
    insta::assert_snapshot!(text, @"DIR/test/ledger/t/id/0/00000000000000000002.json has ledger format 3, this weir knows 2: it was written by a newer weir. Use that one; this one changed nothing in this chain");
}

#[test]
fn a_torn_entry() {
    let text = refusal(|_, chain, _| fs::write(chain.entry_path(2), r#"{"format": 1, "inst"#).unwrap());
    insta::assert_snapshot!(text, @"DIR/test/ledger/t/id/0/00000000000000000002.json is not readable as a part of the ledger: EOF while parsing a string at line 1 column 19. Put it back from a backup; if it is an entry, `weir repair FILE --from BACKUP` does that");
}

#[test]
fn another_identity() {
    let dir = TempDir::new().unwrap();
    let open = |change: &dyn Fn(&mut Identity)| {
        let mut wanted = identity();
        wanted.columns.push(ColumnIdentity { name: "co".into(), kind: "float64".into() });
        change(&mut wanted);
        Dataset::open(dir.path(), &wanted, definition())
    };
    open(&|_| ()).unwrap();
    open(&|_| ()).unwrap();
    let cluster = open(&|wanted| wanted.cluster_id = "other".into()).unwrap_err();
    insta::assert_snapshot!(text(&cluster, dir.path()), @"the dataset DIR was made differently: the Kafka cluster's id is cluster there and other in the pipeline. Give the pipeline another name (a new dataset), or move the old dataset's folder away, or put the old definition back (ledger/pipelines/ holds every one that wrote here)");
    let order = open(&|wanted| wanted.columns.reverse()).unwrap_err();
    insta::assert_snapshot!(text(&order, dir.path()), @"the dataset DIR was made differently: the columns' order is _kafka_offset, co there and co, _kafka_offset in the pipeline. Give the pipeline another name (a new dataset), or move the old dataset's folder away, or put the old definition back (ledger/pipelines/ holds every one that wrote here)");
    let all = open(&|wanted| {
        wanted.name = "n".into();
        wanted.partition_by = vec!["co".into()];
        wanted.columns[0].kind = "int32".into();
        wanted.columns[1].name = "no2".into();
    });
    insta::assert_snapshot!(text(&all.unwrap_err(), dir.path()), @r#"the dataset DIR was made differently: its name is test there and n in the pipeline; partition_by is [] there and ["co"] in the pipeline; the column _kafka_offset is int64 there and int32 in the pipeline; the column co is float64 there and missing in the pipeline; the column no2 is missing there and float64 in the pipeline. Give the pipeline another name (a new dataset), or move the old dataset's folder away, or put the old definition back (ledger/pipelines/ holds every one that wrote here)"#);
}

#[test]
fn another_topic_of_the_same_name() {
    let dir = TempDir::new().unwrap();
    let dataset = open(dir.path());
    dataset.topic("t", "old", 1).unwrap();
    dataset.topic("t", "unused", 1).unwrap();
    dataset.chain("t", "old", 0).start(0, WINDOW).unwrap();
    dataset.topic("t", "old", 1).unwrap();
    insta::assert_snapshot!(text(&dataset.topic("t", "new", 1).unwrap_err(), dir.path()), @"the topic t was deleted and made again: its id is new, but the dataset DIR holds records of old. Offsets started again at 0, so the two can't be one chain. Give the pipeline another name (a new dataset), or move the old dataset's folder away");
}

#[test]
fn a_folder_without_a_dataset() {
    let dir = TempDir::new().unwrap();
    insta::assert_snapshot!(text(&Dataset::existing(dir.path()).unwrap_err(), dir.path()), @"DIR is not a dataset: it has no ledger/dataset.json. It should be the folder <sink.path>/<pipeline's name>");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a reader makes nothing");
}
