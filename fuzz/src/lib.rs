//! What is fuzzed, a function for each target: it takes any bytes, and panics where weir breaks a
//! promise.
//!
//! The fuzzer calls them (`fuzz_targets/`), and `cargo test` does so with the files in `corpus/`.

mod bytes;
mod dataset;
pub mod entry;
pub mod http;
pub mod payload;
pub mod pipeline;

/// What is fuzzed: it takes any bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 4] =
    [("pipeline", pipeline::run), ("entry", entry::run), ("payload", payload::run), ("http", http::run)];
