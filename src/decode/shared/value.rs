//! What a column may ask of a value, whatever the format has it as.
//!
//! With `coerce` a value may be of another type than the column's, if nothing of it is lost: text
//! that is wholly a number is that number, 17.0 is an integer, "true" a boolean, and a number or
//! boolean is text as written. Each format says what it has of these.

/// A value of a record.
pub(crate) trait RecordValue {
    fn is_null(&self) -> bool;
    fn boolean(&self, coerce: bool) -> Result<bool, Misfit>;
    /// An exact integer. Out of range only where it is beyond 64 bits.
    fn integer(&self, coerce: bool) -> Result<i128, Misfit>;
    /// The nearest float. Out of range where that is infinite.
    fn float64(&self, coerce: bool) -> Result<f64, Misfit>;
    /// The nearest float of 32 bits, rounded once.
    fn float32(&self, coerce: bool) -> Result<f32, Misfit>;
    /// A number of seconds as microseconds, cut to the whole one at or before it.
    fn seconds_as_micros(&self, coerce: bool) -> Result<i128, Misfit>;
    /// Calls `read` with a text.
    fn with_text<T>(&self, read: impl Fn(&str) -> T) -> Result<T, Misfit>;
    /// Writes a text, which is UTF-8, after what is in `out`.
    fn write_text(&self, coerce: bool, out: &mut Vec<u8>) -> Result<(), Misfit>;
    /// Writes the value as JSON, which is UTF-8, after what is in `out`.
    fn write_json(&self, out: &mut Vec<u8>);
    /// The value in words, for a reason: "the number 1.5". It is shortened where it is long.
    fn describe(&self) -> String;
}

/// Why a value is not what a column asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is of another type.
    Type,
    /// It is a number that is too large or too small.
    Range,
}
