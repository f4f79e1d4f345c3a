//! Provisioning: `tests/setup` is called on first need, one process at a time. It fails loudly, and never skips a test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's build folder, where everything that is fetched or made for tests goes.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// A new folder for a test's files, in the build folder; it goes when it is dropped.
pub fn folder(name: &str) -> tempfile::TempDir {
    let all = target().join("tmp");
    fs::create_dir_all(&all).unwrap();
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(all).unwrap()
}

/// Makes sure that `kafka`, `python`, `prometheus` or `shim` is there.
pub fn provision(what: &str) {
    let lock = File::create(target().join("setup.lock")).unwrap();
    // Other tests of this process and other test processes wait here; the lock goes with the file.
    lock.lock().unwrap();
    let setup = root().join("tests/setup");
    let output = Command::new("bash").arg(setup).arg(what).env("CARGO_TARGET_DIR", target()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The class path of Apache Kafka's jars.
pub fn kafka_class_path() -> PathBuf {
    target().join("kafka/libs/*")
}
