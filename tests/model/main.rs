//! Runs the ledger protocol's model: the protocol holds in every reachable state, and each rule left out breaks it.
//!
//! The model is a program of its own and compiled with optimisation here, because a debug build is far slower. The bounds
//! here take seconds. The last rows of its own table take minutes and are for whoever changes the protocol: compile
//! `ledger_model.rs` and run it without arguments.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Instances, crashes, power losses, folds, most commits.
const FIXED: [&str; 4] = ["1 1 1 1 2", "2 1 0 0 1", "2 0 0 1 2", "2 0 1 0 1"];

#[test]
fn the_protocol_holds_and_every_rule_is_needed() {
    let model = compile();
    let rows: Vec<(&str, String)> = flags().into_iter().chain(FIXED.map(|bounds| ("-", bounds.to_owned()))).collect();
    let (first, second) = rows.split_at(rows.len() / 2);
    std::thread::scope(|scope| {
        for part in [first, second] {
            scope.spawn(|| part.iter().for_each(|(flag, bounds)| check(&model, flag, bounds)));
        }
    });
}

fn check(model: &Path, flag: &str, bounds: &str) {
    let output = Command::new(model).arg(flag).args(bounds.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let verdict = text.lines().next().unwrap_or_default();
    let wanted = if flag == "-" { "ok, exhausted" } else { "VIOLATION" };
    assert!(verdict.contains(wanted), "{flag} with {bounds}: wanted {wanted}:\n{text}");
}

/// Each flag of the model's table, and the bounds that show it.
fn flags() -> Vec<(&'static str, String)> {
    let source = include_str!("ledger_model.rs");
    let row = |line: &'static str| {
        let (flag, rest) = line.strip_prefix("    (\"")?.split_once("\",")?;
        let (bounds, _) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
        Some((flag, bounds.replace(',', "")))
    };
    let rows: Vec<_> = source.lines().filter_map(row).collect();
    assert!(source.contains(&format!("const FLAGS: [(&str, [u8; 5], &str); {}]", rows.len())), "read {rows:?}");
    rows
}

fn compile() -> PathBuf {
    let model = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ledger_model");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/ledger_model.rs");
    let status = Command::new(rustc).args(["--edition", "2021", "-O", "-o"]).arg(&model).arg(source).status();
    assert!(status.unwrap().success());
    model
}
