//! The files that fuzzing found, each fed to its target as the fuzzer does; see `tests/fuzz`.

use std::fs;
use std::path::Path;

use arrow::array::Array as _;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use sha2::{Digest as _, Sha256};
use weir::model::{Partition, RawRecords};
use weir::validate::Checker;

#[allow(unreachable_pub)]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Feeds a target every file of its corpus.
fn corpus(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut fed = 0;
    for file in files {
        let data = fs::read(&file).unwrap();
        let held = std::panic::catch_unwind(|| target(&data));
        assert!(held.is_ok(), "{}: the panic is above", file.display());
        fed += 1;
    }
    assert!(fed >= 50, "only {fed} files are in {}", folder.display());
}

#[test]
fn pipeline_files() {
    corpus("pipeline");
}

#[test]
fn entries_and_checkpoints() {
    corpus("entry");
}

#[test]
fn payloads() {
    corpus("payload");
}

#[test]
fn requests() {
    corpus("http");
}

/// Every entry of a ledger says by which behaviour its records were judged, so that a range can be judged again as it was. Whoever
/// changes what becomes of a record under the same definition finds it here, and raises [`weir::model::BEHAVIOUR`].
#[test]
fn what_becomes_of_records_is_what_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/payload");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut records = RawRecords::default();
    for file in files {
        for payload in fs::read(file).unwrap().split(|byte| *byte == 0xFF) {
            records.push(records.len() as i64, Some(1_078_938_000_000), None, Some(payload));
        }
    }
    let mut seen = String::new();
    for unknown_fields in ["keep", "reject"] {
        let pipeline = targets::payload::kinds(unknown_fields);
        let checked = Checker::new(&pipeline).check(&Partition { topic: "t".into(), partition: 0 }, &records);
        let mut digest = Sha256::new();
        // The words of a reason may change.
        let said = ["_kafka_offset", "stage", "column", "rule"].map(|name| &checked.rejects[name]);
        for column in checked.rows.columns().iter().chain(said) {
            let column = match column.data_type() {
                DataType::Timestamp(..) => cast(column, &DataType::Int64).unwrap(),
                _ => column.clone(),
            };
            for row in 0..column.len() {
                digest.update(array_value_to_string(&column, row).unwrap());
                digest.update([0]);
            }
        }
        let (rows, rejects) = (checked.rows.num_rows(), checked.rejects.num_rows());
        let hash = weir::model::names::hex(&digest.finalize());
        seen += &format!("{unknown_fields}: {rows} rows, {rejects} rejects, {hash}\n");
    }
    insta::assert_snapshot!(format!("behaviour {}\n{seen}", weir::model::BEHAVIOUR), @"
    behaviour 1
    keep: 102 rows, 1012 rejects, 5688601568893250916f2dbd64b77bdaeec2996db8ee3e8a544a5e78247330bd
    reject: 72 rows, 1042 rejects, 7eca1745e5999cf4b7e8f928d837e39b76bc4b3da077ce086c3b387be61fc186
    ");
}
