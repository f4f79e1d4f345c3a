//! One value of a record to one value of a column's type: strict, exact, or a reason why not.
//!
//! Integers are exact: 1.0 is no integer, unless the column coerces. Floats take integers and the nearest float of what is
//! written; too large is at fault, too small is 0. With `coerce`, text that is wholly a JSON number becomes that number, a
//! number without a real fraction (17.0, 170e-1) an integer, "true" and "false" booleans, and numbers and booleans text as
//! written; 1.9 still isn't 1. Nothing is trimmed, and "NaN" or "007" are no numbers.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, TimestampMicrosecondType};

use crate::decode::escape::unescape;
use crate::decode::number::{NotInteger, Number};
use crate::decode::problem::{Problem, Rule};
use crate::decode::time;
use crate::decode::token::{Token, TokenKind};
use crate::model::pipeline::{TimeEncoding, TimestampFormat, Value};
use crate::model::time::civil;
use crate::model::time::show;

/// A fixed-width type of column.
pub(crate) trait Kind: Send {
    /// A value as the array holds it.
    type Native: Copy + Default + Send;
    /// A value as rules compare it: wide enough for whatever a definition may write.
    type Wide: Copy + PartialOrd + Send;

    /// The value that a token stands for. Never called for null.
    fn read(&self, token: &Token<'_>) -> Result<Self::Native, Problem>;
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
    fn read(&self, token: &Token<'_>) -> Result<T::Native, Problem> {
        let value = integer(token, self.coerce, "an integer")?;
        T::Native::try_from(value).map_err(|_| out_of_range(token, T::DATA_TYPE.to_string()))
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
    ($arrow:ty, $native:ty, $round:ident) => {
        impl Kind for Float<$arrow> {
            type Native = $native;
            type Wide = $native;

            #[inline]
            fn read(&self, token: &Token<'_>) -> Result<$native, Problem> {
                with_number(token, self.coerce, "a number", |number| {
                    let rounded = number.$round(|| token.digits());
                    rounded.ok_or_else(|| out_of_range(token, <$arrow>::DATA_TYPE.to_string()))
                })
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

float_kind!(Float64Type, f64, to_f64);
float_kind!(Float32Type, f32, to_f32);

impl Kind for Bool {
    type Native = bool;
    type Wide = bool;

    fn read(&self, token: &Token<'_>) -> Result<bool, Problem> {
        match token.kind {
            TokenKind::Bool(value) => Ok(value),
            TokenKind::Text { .. } if self.coerce && token.inner() == "true" => Ok(true),
            TokenKind::Text { .. } if self.coerce && token.inner() == "false" => Ok(false),
            _ => wrong_type(token, "true or false"),
        }
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

    fn read(&self, token: &Token<'_>) -> Result<i64, Problem> {
        match self.format.encoding {
            TimeEncoding::Rfc3339 | TimeEncoding::Strptime(_) => {
                with_text(token, "a time as text", |text| time::instant(text, &self.format))
            }
            TimeEncoding::UnixSeconds => with_number(token, self.coerce, "seconds since 1970 as a number", |number| {
                let micros = number.scaled_floor(6);
                let micros = micros.ok_or_else(|| out_of_range(token, "timestamps".to_owned()));
                time::in_range(micros?)
            }),
            TimeEncoding::UnixMillis => {
                let millis = integer(token, self.coerce, "a whole number of milliseconds since 1970")?;
                time::in_range(millis.saturating_mul(1000))
            }
            TimeEncoding::UnixMicros => {
                time::in_range(integer(token, self.coerce, "a whole number of microseconds since 1970")?)
            }
            TimeEncoding::UnixNanos => {
                let nanos = integer(token, self.coerce, "a whole number of nanoseconds since 1970")?;
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

    fn read(&self, token: &Token<'_>) -> Result<i32, Problem> {
        with_text(token, "a date as text", |text| time::date(text, self.format.as_deref()))
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
    /// Writes the text that a token stands for after what is in `out`. Never called for null.
    #[inline]
    pub(crate) fn read(self, token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), Problem> {
        match (self, token.kind) {
            (TextKind::String { .. }, TokenKind::Text { escaped: true }) => unescape(token.inner(), out),
            (TextKind::String { .. }, TokenKind::Text { escaped: false }) => {
                out.extend_from_slice(token.inner().as_bytes());
            }
            (TextKind::Json, _) | (TextKind::String { coerce: true }, TokenKind::Number | TokenKind::Bool(_)) => {
                out.extend_from_slice(token.raw().as_bytes());
            }
            _ => return wrong_type(token, "a text"),
        }
        Ok(())
    }
}

/// Calls `read` with a text without its escapes.
fn with_text<T>(token: &Token<'_>, expected: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<T, Problem> {
    match token.kind {
        TokenKind::Text { escaped: false } => read(token.inner()),
        TokenKind::Text { escaped: true } => {
            let mut text = Vec::new();
            unescape(token.inner(), &mut text);
            read(&String::from_utf8_lossy(&text))
        }
        _ => wrong_type(token, expected),
    }
}

/// Calls `read` with a number.
#[inline(always)]
fn with_number<T>(
    token: &Token<'_>,
    coerce: bool,
    expected: &str,
    read: impl Fn(&Number) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let parsed;
    let number = match token.kind {
        TokenKind::Number => &token.number,
        TokenKind::Text { .. } if coerce => match Number::parse(token.inner()) {
            Some(number) => {
                parsed = number;
                &parsed
            }
            None => return wrong_type(token, expected),
        },
        _ => return wrong_type(token, expected),
    };
    read(number)
}

#[inline]
fn integer(token: &Token<'_>, coerce: bool, expected: &str) -> Result<i128, Problem> {
    with_number(token, coerce, expected, |number| {
        if !number.integer && !coerce {
            return wrong_type(token, expected);
        }
        if number.exponent == 0 && number.exact {
            let magnitude = i128::from(number.mantissa);
            return Ok(if number.negative { -magnitude } else { magnitude });
        }
        number.to_integer().map_err(|why| match why {
            NotInteger::Fraction => Problem::expected(Rule::Type, expected, &token.describe()),
            NotInteger::Range => out_of_range(token, "64 bits".to_owned()),
        })
    })
}

#[cold]
fn wrong_type<T>(token: &Token<'_>, expected: &str) -> Result<T, Problem> {
    Err(Problem::expected(Rule::Type, expected, &token.describe()))
}

#[cold]
fn out_of_range(token: &Token<'_>, kind: String) -> Problem {
    Problem::expected(Rule::Range, &format!("a number in the range of {}", kind.to_lowercase()), &token.describe())
}
