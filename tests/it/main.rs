//! Everything that needs a real broker, the binary, or a reader of its output: one test binary, one broker.
//!
//! What it needs beyond Cargo (Java and Maven for the broker, Python for the readers) it fetches itself, see `tests/setup`.

// A test that stops at once, with a line, is what an unexpected error should be.
#![allow(clippy::unwrap_used)]

// The harness is written like a library: not every item of it is in use at all times.
#[allow(dead_code, unreachable_pub)]
mod harness;

mod api;
mod broker;
mod commands;
mod crashed;
mod disk;
mod documentation;
mod event_time;
mod exactly_once;
mod faults;
mod fuzzed;
mod group;
mod hostile;
mod judge;
mod memory;
mod notebook;
mod planted;
mod plug;
mod readers;
mod security;
mod serve;
mod ways;
