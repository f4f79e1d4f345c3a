//! The files that fuzzing found, each fed to its target as the fuzzer does; see `tests/fuzz`.

use std::fs;
use std::path::Path;

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
