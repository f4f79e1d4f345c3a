//! The harness's own proof: a process that dies by a signal that no test sent leaves its core and a backtrace.

use std::fs;
use std::process::Command;

use crate::harness::case::PATIENCE;
use crate::harness::service::Service;
use crate::harness::until;
use crate::harness::weir::Workspace;

/// A service without pipelines, and a signal that its harness doesn't know of.
fn service(workspace: &Workspace) -> Service {
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    Service::start(workspace, &[])
}

#[test]
fn a_process_that_dies_leaves_its_core_and_a_backtrace() {
    let workspace = Workspace::new();
    let mut run = service(&workspace).run;
    let pid = run.pid();
    // The first one only takes the handler of Rust's runtime away: no instruction fails again.
    until("it dies", PATIENCE, || {
        let _ = Command::new("kill").args(["-SEGV", &pid.to_string()]).status();
        !run.is_running()
    });
    let report = run.wait(PATIENCE).crash.expect("nobody sent the signal, as far as the harness knows");
    assert!(report.contains(&format!("weir (process {pid}) died by SIGSEGV")), "{report}");
    let Some((_, rest)) = report.split_once("its core: ") else {
        // Somebody else has it, or nobody may: the report says how to come by one.
        assert!(report.contains("kernel.core_pattern is") && report.contains("RLIMIT_CORE"), "{report}");
        return;
    };
    let (core, rest) = rest.split_once('\n').unwrap();
    assert!(fs::metadata(core).unwrap().len() > 0);
    assert!(rest.contains("weir::cli::serve::run") || rest.contains("install gdb, and run"), "{report}");
    fs::remove_file(core).unwrap();
}

#[test]
fn a_signal_that_a_test_sends_is_no_surprise() {
    let workspace = Workspace::new();
    let run = service(&workspace).run;
    let finished = run.kill();
    assert_eq!(finished.crash, None, "{}", finished.status);
}
