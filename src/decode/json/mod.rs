//! JSON records: one object each, strictly after RFC 8259.
//!
//! The reader walks the grammar and remembers what it has seen: a record that differs from the one
//! before in its values alone is read by a [template](template), which is what makes JSON fast.
//! Nothing is built of a value; a token says where it stands.

mod broken;
mod decoder;
mod escape;
mod kept;
mod number;
mod reader;
mod scan;
mod template;
mod token;
mod value;

pub(crate) use decoder::Json;
