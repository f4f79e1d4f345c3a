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
//! # Floors
//!
//! A folder imports only from the folders that stand in its row, all of which are below it. A test holds every file against
//! this table, and follows each name that is passed on to where it is at home.
//!
//! | floor | may import | what it decides |
//! |---|---|---|
//! | `base` | | threads, memory, words for people, codes of errors, log lines, and where tests crash the process |
//! | `model` | `base` | the words that all floors share: partitions, records, classes, windows, names, times, the definition |
//! | `settings` | `base`, `model` | what people write: pipeline files, service settings |
//! | `decode/shared` | `base`, `model` | what every format's decoder does, and values in the columns' types |
//! | `decode/json` | `model`, `decode/shared` | JSON: the bytes of a record to values |
//! | `decode` | `model`, `decode/shared`, `decode/json` | which format has which decoder |
//! | `store` | `base`, `model` | where a dataset is kept, and how its files stay there through crashes |
//! | `ledger/protocol` | `base`, `model`, `store` | what an entry says, when it counts, and how a chain stays true through crashes |
//! | `ledger/read` | `base`, `model`, `store`, `ledger/protocol` | what commands and HTTP are told of a ledger |
//! | `ledger/care` | `base`, `model`, `store`, `ledger/protocol` | what a person asks for: verify, repair, back up, give offsets up |
//! | `ledger` | `ledger/protocol`, `ledger/read`, `ledger/care` | what floors above the ledger see of it |
//! | `ledger/tests` | `base`, `model`, `store`, `ledger/protocol`, `ledger/read`, `ledger/care`, `ledger` | for tests: the protocol and the care as a whole |
//! | `kafka` | `base`, `model` | the client: every question to brokers, and all unsafe code for it |
//! | `flow` | `base`, `model`, `ledger/protocol`, `ledger/read` | what the stages say to each other: read `flow/messages.rs` first |
//! | `validate` | `base`, `model`, `decode/shared`, `decode`, `flow` | which class a record is in, and its columns |
//! | `window` | `base`, `model`, `flow` | which window a row is in, and when a window is complete |
//! | `sink` | `base`, `model`, `ledger/protocol`, `flow`, `validate`, `window` | which file a row goes to, when files end, and when a lane commits |
//! | `source` | `base`, `model`, `ledger/protocol`, `ledger/read`, `kafka`, `flow` | which partitions are read, from where, and when reading pauses |
//! | `engine` | `base`, `model`, `ledger/protocol`, `kafka`, `flow`, `validate`, `window`, `sink`, `source` | who talks to whom, how a pipeline starts, who has how much memory: read `engine/topology.rs` second |
//! | `service` | `base`, `model`, `settings`, `ledger/protocol`, `ledger/read`, `flow`, `engine` | which pipelines run, who may ask about them, and what is answered |
//! | `cli` | `base`, `model`, `settings`, `ledger/protocol`, `ledger/read`, `ledger/care`, `ledger`, `kafka`, `flow`, `engine`, `service` | the commands, and the demo's readings |
//! | `testing` | `base`, `model`, `store`, `ledger/protocol`, `ledger/care`, `kafka`, `flow`, `validate`, `window`, `sink`, `source`, `engine` | for tests: these floors; lanes and ledger on a disk whose power fails, in every order of steps that chance gives |
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
pub mod store;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
pub mod validate;
pub mod window;
