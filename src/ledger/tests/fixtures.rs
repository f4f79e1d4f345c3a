//! Datasets that earlier builds wrote are read, verified, continued, folded, backed up and
//! repaired. How each was made stands beside it.

use super::*;
use crate::model::Pipeline;

/// A copy of what stands in `tests/fixtures/`.
fn copy_of(fixture: &str) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture), copied.path());
    copied
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &to);
        } else {
            fs::copy(item.path(), to).unwrap();
        }
    }
}

/// A copy of a fixture, and its one chain.
pub(super) fn chain(fixture: &str) -> (TempDir, Chain) {
    let copied = copy_of(fixture);
    let dataset = open(copied.path());
    let topic = dataset.topics().unwrap().remove(0);
    let chain = dataset.chain(&topic.topic, &topic.topic_id, 0);
    (copied, chain)
}

fn folder(copied: &Path) -> PathBuf {
    copied.join("data/fixture")
}

fn open(copied: &Path) -> Dataset {
    let pipeline = Pipeline::load(&copied.join("fixture.toml")).unwrap();
    let identity = Dataset::existing(&folder(copied)).unwrap().identity().clone();
    Dataset::open(&folder(copied), &identity, Definition::of(&pipeline)).unwrap()
}

/// Goes on by an entry that has no files.
fn go_on(chain: &Chain, tip: &Tip) -> Tip {
    let next = NextEntry {
        to: tip.to + 2,
        last: last(tip.to + 2),
        counts: Counts::from([(Class::Tombstone, 2)]),
        window: tip.window.clone(),
        tallies: vec![],
        reason: Reason::Age,
        files: vec![],
    };
    commit_one(chain, chain.entry(tip, next)).unwrap()
}

#[track_caller]
fn assert_all_of_it(folder: &Path, entries: u64) {
    let report = verify(folder).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries, report.files, report.rows), (&[][..], entries, 14, 36));
    let counts = [(Class::Row, 33), (Class::Rejected, 2), (Class::Late, 1), (Class::Tombstone, 2 * (entries - 4))];
    assert_eq!(report.counts, Counts::from(counts));
    let completeness = LedgerReader::of(folder).unwrap().completeness().unwrap();
    assert_eq!(completeness.windows.iter().map(|window| window.rows).collect::<Vec<_>>(), [6, 7, 6, 6, 6, 2]);
}

#[test]
fn format_1_is_read_and_continued() {
    let copied = copy_of("ledger-1");
    assert_all_of_it(&folder(copied.path()), 4);
    let dataset = open(copied.path());
    let topic = dataset.topics().unwrap().remove(0);
    let chain = dataset.chain(&topic.topic, &topic.topic_id, 0);
    let (tip, before) = (chain.recover().unwrap().unwrap(), fs::read(chain.entry_path(3)).unwrap());
    assert_eq!((tip.sequence, tip.to), (3, 36));
    assert_eq!(go_on(&chain, &tip).to, 38);
    assert_all_of_it(&folder(copied.path()), 5);
    let [third, fourth] = [3, 4].map(|sequence| chain.read(sequence).unwrap().unwrap());
    assert_eq!((third.format, fourth.format, fourth.previous), (1, FORMAT, third.sha256));
    assert_eq!(fs::read(chain.entry_path(3)).unwrap(), before, "what was written stays");
}

#[test]
fn format_1_is_backed_up_and_repaired() {
    let (copied, chain) = chain("ledger-1");
    let folder = folder(copied.path());
    go_on(&chain, &chain.recover().unwrap().unwrap());
    let backup_folder = copied.path().join("backup");
    backup(&folder, &backup_folder, true).unwrap();
    assert_all_of_it(&backup_folder, 5);
    for damaged in [1, 3] {
        fs::write(chain.entry_path(damaged), "{").unwrap();
    }
    fs::remove_file(folder.join(&chain.read(2).unwrap().unwrap().files[0].path)).unwrap();
    let done = repair(&folder, Some(&backup_folder), false).unwrap();
    assert_eq!((done.actions.len(), done.left.as_slice()), (3, &[][..]), "{done:#?}");
    assert_all_of_it(&folder, 5);
    assert_eq!(chain.recover().unwrap().unwrap().to, 38);
}

/// A checkpoint that holds entries of both formats.
#[test]
fn format_1_folds() {
    let copied = copy_of("ledger-1");
    let head = folder(copied.path()).join("ledger/dataset.json");
    let text = fs::read_to_string(&head).unwrap();
    fs::write(&head, text.replace(r#""checkpoint_entries": 1000"#, r#""checkpoint_entries": 3"#)).unwrap();
    let dataset = open(copied.path());
    let topic = dataset.topics().unwrap().remove(0);
    let chain = dataset.chain(&topic.topic, &topic.topic_id, 0);
    let mut tip = chain.recover().unwrap().unwrap();
    assert_eq!(chain.listing().unwrap().checkpoints, [2], "a start folds");
    for _ in 0..3 {
        tip = go_on(&chain, &tip);
    }
    let listing = chain.listing().unwrap();
    assert_eq!((listing.entries, listing.checkpoints), (vec![6], vec![2, 5]));
    let formats: Vec<u32> = chain.all().unwrap().map(|entry| entry.unwrap().format).collect();
    assert_eq!(formats, [1, 1, 1, 1, FORMAT, FORMAT, FORMAT]);
    assert_all_of_it(&folder(copied.path()), 7);
}

/// Checkpoints that the build before format 2 made.
#[test]
fn checkpoints_of_format_1_are_read_and_continued() {
    let (copied, chain) = chain("ledger-1-folded");
    assert_eq!(chain.listing().unwrap().checkpoints, [1, 3]);
    let tip = go_on(&chain, &chain.recover().unwrap().unwrap());
    assert_eq!((tip.sequence, tip.to), (4, 38));
    assert_all_of_it(&folder(copied.path()), 5);
    let backup_folder = copied.path().join("backup");
    backup(&folder(copied.path()), &backup_folder, true).unwrap();
    assert_all_of_it(&backup_folder, 5);
}
