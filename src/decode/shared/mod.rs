//! What all formats share: what a decoder does and tells, how a column reads a value, and what can
//! be wrong with a record.

mod decoder;
mod kinds;
mod problem;
mod time;
mod value;

pub(crate) use decoder::{Decoder, Record, Values};
pub(crate) use kinds::{Bool, Date, Float, Instant, Integer, Kind, TextKind};
pub use problem::Rule;
pub(crate) use problem::{END, Problem, shorten};
pub(crate) use value::{Misfit, RecordValue};
