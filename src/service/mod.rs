//! weir as a service: every pipeline of a folder, kept running, and answers over HTTP.
//!
//! ```text
//!  folder of pipeline files, SIGHUP, API
//!            │
//!            ▼
//!          Fleet ── Define, Want ──► Keeper (one a pipeline) ── start, hold, stop ──► a run: sources and lanes
//!            │                          │                                                │
//!            └──────────► Board ◄───────┘ phase                        progress, meters ─┘
//!                           ▲
//!                           │ reads only
//!                  http (API, health, SSE), metrics
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | `plan.rs` | which pipelines the files ask for, and which files are refused: pure |
//! | `step.rs` | what a keeper does next: pure |
//! | `fleet.rs` | when files are read again, who keeps what, how memory is shared |
//! | `keeper.rs` | one pipeline's life: start, hold, drain, start again |
//! | `board.rs` | what everybody may know |
//! | `http/` | who may ask, and what is answered |
//! | `metrics.rs`, `process.rs` | the numbers for Prometheus |
//!
//! **Promise:** a broken file, a pipeline that can't start or one that fails touches no other one. What answers over HTTP reads
//! what runs, and can't hold it up.

mod board;
mod fleet;
mod http;
mod keeper;
mod metrics;
mod plan;
mod process;
mod step;

pub use board::{Board, Phase, Problem, Status};
pub use fleet::{Fleet, Reload, Shutdown};
pub use http::{Server, openapi};
pub use keeper::Command;
