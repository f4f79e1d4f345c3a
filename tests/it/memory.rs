//! Memory is bounded by one number: the peak of a run over a backlog many times as large.
//!
//! `WEIR_TEST_BACKLOG_BYTES` makes the backlog larger than everyday tests can afford; it prints what it measured.

use std::fs;
use std::time::Duration;

use crate::harness::broker::Broker;
use crate::harness::case::Case;
use crate::harness::produce::{Load, produce};
use crate::harness::until;

const LIMIT: u64 = 128 << 20;
/// What a process takes beyond `limits.memory`, whatever the backlog: code, threads, librdkafka, the encoders' buffers.
const FIXED: u64 = 64 << 20;
/// A reading is about so long.
const READING: u64 = 245;

#[test]
fn a_backlog_is_read_within_the_limit() {
    let backlog = std::env::var("WEIR_TEST_BACKLOG_BYTES").map_or(300_000_000, |bytes| bytes.parse().unwrap());
    let case = Case::new(Broker::shared(), "backlog", 3);
    check(&case, &Load { records: backlog / READING, transaction: 5_000, stations: 4, ..Load::default() });
}

#[test]
fn thousands_of_keys_with_a_few_rows_each_are_written_within_the_limit() {
    let case = Case::new(Broker::shared(), "many-keys", 3).with(|pipeline| {
        // A folder for each of the readings' 9,357 hours, all of them open until the end.
        let mut hour = pipeline.columns[0];
        (hour.name, hour.from, hour.station) = ("hour", "timestamp", false);
        pipeline.columns.push(hour);
        pipeline.partition_by = &["hour"];
        pipeline.roll = "windows = 1000".to_owned();
    });
    check(&case, &Load { records: 150_000, transaction: 5_000, ..Load::default() });
}

/// Reads a topic of so many records to its end.
#[track_caller]
fn check(case: &Case, load: &Load) {
    produce(case.broker, &case.pipeline.topic, 3, load);
    let mut run = case.to_end_with(&[("WEIR__LIMITS__MEMORY", "128MiB")]);
    let mut peak = 0;
    until("the topic is read", Duration::from_secs(1_800), || {
        peak = peak_bytes(run.pid()).unwrap_or(peak);
        !run.is_running()
    });
    let finished = run.wait(Duration::from_secs(1)).expect_code(0);
    println!("{}\npeak {} MiB over {} MB", finished.stdout, peak >> 20, load.records * READING / 1_000_000);
    let report = case.verify();
    assert_eq!(report["counts"]["row"], load.records);
    assert!(peak > 0 && peak < LIMIT + FIXED, "{} MiB, {} MiB are allowed", peak >> 20, (LIMIT + FIXED) >> 20);
}

/// The most memory that a process ever had; none when it has ended.
pub(crate) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
