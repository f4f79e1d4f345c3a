//! What the tests stand on: a real broker, records in transactions, the truth, the binary, and Python.

pub mod broker;
pub mod case;
pub mod cgroup;
pub mod cluster;
pub mod crash;
pub mod dataset;
pub mod feed;
pub mod ledger;
pub mod oracle;
pub mod pipeline;
pub mod produce;
pub mod proxy;
pub mod python;
pub mod secured;
pub mod service;
pub mod setup;
pub mod shim;
pub mod stranger;
pub mod topics;
pub mod watcher;
pub mod weir;

use std::time::{Duration, Instant};

/// Waits until `done`; panics with `what` after `timeout`.
pub fn until(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < deadline, "waited {timeout:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
