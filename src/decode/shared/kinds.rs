//! One value of a record to one value of a column's type: strict, exact, or a reason why not.
//!
//! Integers are exact: 1.0 is no integer, unless the column coerces. Floats take integers and the
//! nearest float of what is written; too large is at fault, too small is 0. What else a value may be
//! read as is up to its format ([`RecordValue`]).

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, TimestampMicrosecondType};

use crate::decode::shared::problem::{Problem, Rule};
use crate::decode::shared::time;
use crate::decode::shared::value::{Misfit, RecordValue};
use crate::model::pipeline::{TimeEncoding, TimestampFormat, Value};
use crate::model::time::civil;
use crate::model::time::show;

/// A fixed-width type of column.
pub(crate) trait Kind: Send {
    /// A value as the array holds it.
    type Native: Copy + Default + Send;
    /// A value as rules compare it: wide enough for whatever a definition may write.
    type Wide: Copy + PartialOrd + Send;

    /// The value as one of this type. Never called for null.
    fn read(&self, value: &impl RecordValue) -> Result<Self::Native, Problem>;
    fn widen(native: Self::Native) -> Self::Wide;
    /// A definition's value, if it is of this type.
    fn constant(value: &Value) -> Option<Self::Wide>;
    /// A widened value as the array holds it, if it can.
    fn narrow(wide: Self::Wide) -> Option<Self::Native>;
    fn show(wide: &Self::Wide) -> String;
    /// The instant that a value is, in microseconds since 1970; none for what isn't one.
    fn micros(_: Self::Wide) -> Option<i64> {
        None
    }
    fn array(values: Vec<Self::Native>, nulls: Option<NullBuffer>) -> ArrayRef;
}

/// Integers of every width.
#[derive(Debug)]
pub(crate) struct Integer<T> {
    coerce: bool,
    width: PhantomData<fn() -> T>,
}

/// Floats of both widths.
#[derive(Debug)]
pub(crate) struct Float<T> {
    coerce: bool,
    width: PhantomData<fn() -> T>,
}

/// Booleans.
#[derive(Debug)]
pub(crate) struct Bool {
    pub(crate) coerce: bool,
}

/// Instants.
#[derive(Debug)]
pub(crate) struct Instant {
    pub(crate) format: TimestampFormat,
    pub(crate) coerce: bool,
}

/// Dates.
#[derive(Debug)]
pub(crate) struct Date {
    pub(crate) format: Option<String>,
}

/// Text of any length: `string` and `json` columns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TextKind {
    String { coerce: bool },
    Json,
}

impl<T> Integer<T> {
    pub(crate) fn new(coerce: bool) -> Self {
        Integer { coerce, width: PhantomData }
    }
}

impl<T> Float<T> {
    pub(crate) fn new(coerce: bool) -> Self {
        Float { coerce, width: PhantomData }
    }
}

impl<T> Kind for Integer<T>
where
    T: ArrowPrimitiveType,
    T::Native: Default + TryFrom<i128> + Into<i128>,
{
    type Native = T::Native;
    type Wide = i128;

    #[inline]
    fn read(&self, value: &impl RecordValue) -> Result<T::Native, Problem> {
        let exact = integer(value, self.coerce, "an integer")?;
        T::Native::try_from(exact).map_err(|_| out_of_range(value, &T::DATA_TYPE))
    }
    fn widen(native: T::Native) -> i128 {
        native.into()
    }
    fn constant(value: &Value) -> Option<i128> {
        if let Value::Int(value) = value { Some(*value) } else { None }
    }
    fn narrow(wide: i128) -> Option<T::Native> {
        wide.try_into().ok()
    }
    fn show(wide: &i128) -> String {
        wide.to_string()
    }
    fn array(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
    }
}

/// Both widths differ only in how a number is rounded: to the column's own width at once, also in rules, so that 0.1 in a
/// definition is the 0.1 of the record.
macro_rules! float_kind {
    ($arrow:ty, $native:ty, $read:ident) => {
        impl Kind for Float<$arrow> {
            type Native = $native;
            type Wide = $native;

            #[inline]
            fn read(&self, value: &impl RecordValue) -> Result<$native, Problem> {
                value.$read(self.coerce).map_err(|why| misfit(why, value, "a number", &<$arrow>::DATA_TYPE))
            }
            fn widen(native: $native) -> $native {
                native
            }
            fn constant(value: &Value) -> Option<$native> {
                match value {
                    Value::Float(value) => Some(*value as $native),
                    Value::Int(value) => Some(*value as $native),
                    _ => None,
                }
            }
            fn narrow(wide: $native) -> Option<$native> {
                Some(wide)
            }
            fn show(wide: &$native) -> String {
                wide.to_string()
            }
            fn array(values: Vec<$native>, nulls: Option<NullBuffer>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::new(values.into(), nulls))
            }
        }
    };
}

float_kind!(Float64Type, f64, float64);
float_kind!(Float32Type, f32, float32);

impl Kind for Bool {
    type Native = bool;
    type Wide = bool;

    fn read(&self, value: &impl RecordValue) -> Result<bool, Problem> {
        value.boolean(self.coerce).map_err(|_| wrong_type(value, "true or false"))
    }
    fn widen(native: bool) -> bool {
        native
    }
    fn constant(value: &Value) -> Option<bool> {
        if let Value::Bool(value) = value { Some(*value) } else { None }
    }
    fn narrow(wide: bool) -> Option<bool> {
        Some(wide)
    }
    fn show(wide: &bool) -> String {
        wide.to_string()
    }
    fn array(values: Vec<bool>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(BooleanArray::new(values.into(), nulls))
    }
}

impl Kind for Instant {
    type Native = i64;
    type Wide = i64;

    fn read(&self, value: &impl RecordValue) -> Result<i64, Problem> {
        match self.format.encoding {
            TimeEncoding::Rfc3339 | TimeEncoding::Strptime(_) => {
                with_text(value, "a time as text", |text| time::instant(text, &self.format))
            }
            TimeEncoding::UnixSeconds => {
                let micros = value.seconds_as_micros(self.coerce);
                let expected = "seconds since 1970 as a number";
                time::in_range(micros.map_err(|why| misfit(why, value, expected, &"timestamps"))?)
            }
            TimeEncoding::UnixMillis => {
                let millis = integer(value, self.coerce, "a whole number of milliseconds since 1970")?;
                time::in_range(millis.saturating_mul(1000))
            }
            TimeEncoding::UnixMicros => {
                time::in_range(integer(value, self.coerce, "a whole number of microseconds since 1970")?)
            }
            TimeEncoding::UnixNanos => {
                let nanos = integer(value, self.coerce, "a whole number of nanoseconds since 1970")?;
                time::in_range(nanos.div_euclid(1000))
            }
        }
    }
    fn widen(native: i64) -> i64 {
        native
    }
    fn constant(value: &Value) -> Option<i64> {
        if let Value::Micros(value) = value { Some(*value) } else { None }
    }
    fn narrow(wide: i64) -> Option<i64> {
        Some(wide)
    }
    fn show(wide: &i64) -> String {
        show(*wide)
    }
    fn micros(wide: i64) -> Option<i64> {
        Some(wide)
    }
    fn array(values: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls).with_timezone("UTC"))
    }
}

impl Kind for Date {
    type Native = i32;
    type Wide = i32;

    fn read(&self, value: &impl RecordValue) -> Result<i32, Problem> {
        with_text(value, "a date as text", |text| time::date(text, self.format.as_deref()))
    }
    fn widen(native: i32) -> i32 {
        native
    }
    fn constant(value: &Value) -> Option<i32> {
        if let Value::Days(value) = value { Some(*value) } else { None }
    }
    fn narrow(wide: i32) -> Option<i32> {
        Some(wide)
    }
    fn show(wide: &i32) -> String {
        const MICROS: i64 = 86_400 * civil::SECOND;
        let instant = show(i64::from(*wide) * MICROS);
        instant.split_once('T').map_or(instant.clone(), |(date, _)| date.to_owned())
    }
    fn array(values: Vec<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(PrimitiveArray::<Date32Type>::new(values.into(), nulls))
    }
}

impl TextKind {
    /// Writes a value's text after what is in `out`. Never called for null.
    #[inline]
    pub(crate) fn read(self, value: &impl RecordValue, out: &mut Vec<u8>) -> Result<(), Problem> {
        match self {
            TextKind::String { coerce } => value.write_text(coerce, out).map_err(|_| wrong_type(value, "a text")),
            TextKind::Json => {
                value.write_json(out);
                Ok(())
            }
        }
    }
}

/// Calls `read` with a text.
#[inline]
fn with_text<T>(
    value: &impl RecordValue,
    expected: &str,
    read: impl Fn(&str) -> Result<T, Problem>,
) -> Result<T, Problem> {
    value.with_text(read).unwrap_or_else(|_| Err(wrong_type(value, expected)))
}

#[inline]
fn integer(value: &impl RecordValue, coerce: bool, expected: &str) -> Result<i128, Problem> {
    value.integer(coerce).map_err(|why| misfit(why, value, expected, &"64 bits"))
}

#[cold]
fn misfit(why: Misfit, value: &impl RecordValue, expected: &str, kind: &dyn Display) -> Problem {
    match why {
        Misfit::Type => wrong_type(value, expected),
        Misfit::Range => out_of_range(value, kind),
    }
}

#[cold]
fn wrong_type(value: &impl RecordValue, expected: &str) -> Problem {
    Problem::expected(Rule::Type, expected, &value.describe())
}

#[cold]
fn out_of_range(value: &impl RecordValue, kind: &dyn Display) -> Problem {
    let kind = kind.to_string().to_lowercase();
    Problem::expected(Rule::Range, &format!("a number in the range of {kind}"), &value.describe())
}
