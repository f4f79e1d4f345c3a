//! Datasets that earlier builds wrote are read, verified and continued. How each was made stands beside it.

use super::*;
use crate::model::Pipeline;

/// A copy of what stands in `tests/fixtures/`.
fn copy_of(fixture: &str) -> TempDir {
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
    let copied = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture), copied.path());
    copied
}

#[test]
fn format_1_is_read_verified_and_continued() {
    let copied = copy_of("ledger-1");
    let folder = copied.path().join("data/fixture");
    let report = verify(&folder).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries, report.files, report.rows), (&[][..], 4, 14, 36));
    let counts = Counts::from([(Class::Row, 33), (Class::Rejected, 2), (Class::Late, 1)]);
    assert_eq!(report.counts, counts);
    let completeness = Completeness::read(&Dataset::existing(&folder).unwrap()).unwrap();
    assert_eq!(completeness.windows.iter().map(|window| window.rows).collect::<Vec<_>>(), [6, 7, 6, 6, 6, 2]);

    let pipeline = Pipeline::load(&copied.path().join("fixture.toml")).unwrap();
    let identity = Dataset::existing(&folder).unwrap().identity().clone();
    let definition = Definition { hash: pipeline.hash.clone(), text: pipeline.text.clone() };
    let dataset = Dataset::open(&folder, &identity, definition).unwrap();
    let topic = dataset.topics().unwrap().remove(0);
    let chain = dataset.chain(&topic.topic, &topic.topic_id, 0);
    let tip = chain.recover().unwrap().unwrap();
    assert_eq!((tip.sequence, tip.to), (3, 36));
    let next = NextEntry {
        to: 38,
        last: last(38),
        counts: Counts::from([(Class::Tombstone, 2)]),
        window: tip.window.clone(),
        tallies: vec![],
        reason: Reason::Age,
        files: vec![],
    };
    assert_eq!(commit_one(&chain, chain.entry(&tip, next)).unwrap().to, 38);
    let report = verify(&folder).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries, report.counts[Class::Tombstone]), (&[][..], 5, 2));
}
