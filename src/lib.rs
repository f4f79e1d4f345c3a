//! weir turns Kafka topics into Parquet datasets: exactly once, from one TOML file.
//!
//! ```text
//!              one lane per assigned partition, lanes spread over arbiter threads
//!  Kafka ──► Source ──► Validator ──► Windower ──► Sink ──► ledger ──► data/, rejects/, late/
//!  (read_     poll       bytes →       rows →       batches → staged      │
//!  committed) thread     columns       windows      files                 │
//!               ▲        + rules                                          │
//!               └────────── Committed (position), byte credits ◄──────────┘
//! ```
//!
//! # Where things are
//!
//! | module | what it decides |
//! |---|---|
//! | [`pipeline::messages`] | what the stages say to each other: read it first |
//! | [`pipeline::topology`] | who talks to whom; how a pipeline starts: read it second |
//! | [`source`] | which partitions are read, from where, and when reading pauses |
//! | [`decode`], [`validate`] | which class a record is in, and its columns |
//! | [`window`] | which window a row is in, and when a window is complete |
//! | [`sink`] | which file a row goes to, when files end, and when a lane commits |
//! | [`service`] | which pipelines run, who may ask about them, and what is answered |
//! | [`ledger`] | what is in the dataset, and how it stays true through crashes |
//! | [`settings`] | what people write: pipeline files, service settings |
//! | [`cli`] | the commands |
//! | [`allocator`], `machine` | how memory that the C library keeps is given back; how much memory there is |
//! | `background` | on which threads blocking work goes on beside a lane |
//! | [`names`] | how texts become parts of paths, and back |
//! | `panics` | whether a panic is a bug, or the operating system gives no more threads |
//! | `logging`, `words` | where log lines go; how things are written for people |
//! | `simulation` | for tests: lanes and ledger on a disk whose power fails, in every order of steps that chance gives |
//! | [`readings`], [`failpoint`] | the demo's data; places where tests crash the process |
//!
//! # Invariants
//!
//! 1. Every offset once: a partition's ledger is one unbroken chain of half-open ranges; every record that
//!    read_committed shows in a range is in exactly one class: row, rejected, late, filtered, tombstone, or lost, which only
//!    a person makes of records that can't be read any more.
//! 2. The ledger is the truth; Kafka's committed offset is advisory. A pipeline starts from its ledger, never by a
//!    silent reset.
//! 3. `data/` holds finished Parquet files that the ledger names, and nothing else, at every instant.
//! 4. The partition is the unit of everything; nothing waits for another partition.
//! 5. Bad data is a value, never an error; a bad environment is an error, which ends the lane, and the lane starts again
//!    from the ledger.
//! 6. Memory is bounded by one number.
//! 7. Column types come from the pipeline file, never from the data.
//! 8. Event time decides, the wall clock only hurries.

pub mod base;
pub mod cli;
pub mod decode;
pub mod engine;
pub mod flow;
pub mod kafka;
pub mod ledger;
pub mod model;
pub mod service;
pub mod settings;
pub mod sink;
pub mod source;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
pub mod validate;
pub mod window;
