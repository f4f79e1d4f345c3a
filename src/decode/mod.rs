//! Bytes to columns: reads a payload once and hands each value to whoever keeps the column.
//!
//! Everything here is pure and total: whatever the bytes, the answer is a value or a problem with a reason, never a panic and never
//! an `Err` of the environment. What a record must contain beyond its types is the business of [`crate::validate`].

mod escape;
mod json;
mod kinds;
mod number;
mod problem;
mod scan;
mod template;
mod time;
mod token;

pub(crate) use json::{Fields, Reader, Segment};
pub(crate) use kinds::{Bool, Date, Float, Instant, Integer, Kind, TextKind};
pub use problem::Rule;
pub(crate) use problem::{Problem, shorten};
pub(crate) use token::{Token, TokenKind};
