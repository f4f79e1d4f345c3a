//! What everything stands on and nothing is about: threads, memory, words for people, codes of errors, log lines, and the places where tests crash
//! the process.

pub mod allocator;
pub(crate) mod background;
pub mod codes;
pub mod credits;
pub mod failpoint;
pub mod logging;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod panics;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod units;
pub(crate) mod words;
