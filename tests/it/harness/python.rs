//! Python with the notebook libraries, for what a reader of a dataset sees.

use std::ffi::OsStr;
use std::process::Command;

use super::setup;

/// Runs a script of `tests/python/` and returns the JSON that it prints; panics with its message if it fails.
pub fn run(script: &str, args: &[&OsStr]) -> serde_json::Value {
    run_with(script, args, &[])
}

/// The same with environment variables.
pub fn run_with(script: &str, args: &[&OsStr], environment: &[(&str, &OsStr)]) -> serde_json::Value {
    setup::provision("python");
    let output = Command::new(setup::target().join("venv/bin/python"))
        .arg(setup::root().join("tests/python").join(script))
        .args(args)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed:\n{message}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{script} printed no JSON ({error}):\n{message}"))
}
