//! What columns may ask of a JSON value.
//!
//! With `coerce`, text that is wholly a JSON number becomes that number, a number without a real
//! fraction (17.0, 170e-1) an integer, "true" and "false" booleans, and numbers and booleans text
//! as written; 1.9 still isn't 1. Nothing is trimmed, and "NaN" or "007" are no numbers.

use crate::decode::json::escape::unescape;
use crate::decode::json::number::{NotInteger, Number};
use crate::decode::json::token::{Token, TokenKind};
use crate::decode::shared::{Misfit, RecordValue, shorten};

// What columns read again and again is inlined into each kind of column: so is what makes up a number.
impl RecordValue for Token<'_> {
    #[inline]
    fn is_null(&self) -> bool {
        self.kind == TokenKind::Null
    }

    #[inline]
    fn boolean(&self, coerce: bool) -> Result<bool, Misfit> {
        match self.kind {
            TokenKind::Bool(value) => Ok(value),
            TokenKind::Text { .. } if coerce && self.inner() == "true" => Ok(true),
            TokenKind::Text { .. } if coerce && self.inner() == "false" => Ok(false),
            _ => Err(Misfit::Type),
        }
    }

    #[inline(always)]
    fn integer(&self, coerce: bool) -> Result<i128, Misfit> {
        with_number(self, coerce, |number| {
            if !number.integer && !coerce {
                return Err(Misfit::Type);
            }
            if number.exponent == 0 && number.exact {
                let magnitude = i128::from(number.mantissa);
                return Ok(if number.negative { -magnitude } else { magnitude });
            }
            number.to_integer().map_err(|why| match why {
                NotInteger::Fraction => Misfit::Type,
                NotInteger::Range => Misfit::Range,
            })
        })
    }

    #[inline(always)]
    fn float64(&self, coerce: bool) -> Result<f64, Misfit> {
        with_number(self, coerce, |number| number.to_f64(|| self.digits()).ok_or(Misfit::Range))
    }

    #[inline(always)]
    fn float32(&self, coerce: bool) -> Result<f32, Misfit> {
        with_number(self, coerce, |number| number.to_f32(|| self.digits()).ok_or(Misfit::Range))
    }

    #[inline(always)]
    fn seconds_as_micros(&self, coerce: bool) -> Result<i128, Misfit> {
        with_number(self, coerce, |number| number.scaled_floor(6).ok_or(Misfit::Range))
    }

    #[inline]
    fn with_text<T>(&self, read: impl Fn(&str) -> T) -> Result<T, Misfit> {
        match self.kind {
            TokenKind::Text { escaped: false } => Ok(read(self.inner())),
            TokenKind::Text { escaped: true } => {
                let mut text = Vec::new();
                unescape(self.inner(), &mut text);
                Ok(read(&String::from_utf8_lossy(&text)))
            }
            _ => Err(Misfit::Type),
        }
    }

    #[inline(always)]
    fn write_text(&self, coerce: bool, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self.kind {
            TokenKind::Text { escaped: true } => unescape(self.inner(), out),
            TokenKind::Text { escaped: false } => out.extend_from_slice(self.inner().as_bytes()),
            TokenKind::Number | TokenKind::Bool(_) if coerce => out.extend_from_slice(self.raw().as_bytes()),
            _ => return Err(Misfit::Type),
        }
        Ok(())
    }

    #[inline(always)]
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.raw().as_bytes());
    }

    fn describe(&self) -> String {
        let raw = shorten(self.raw());
        match self.kind {
            TokenKind::Null => "null".to_owned(),
            TokenKind::Bool(_) => format!("the boolean {raw}"),
            TokenKind::Number => format!("the number {raw}"),
            TokenKind::Text { .. } => format!("the text {raw}"),
            TokenKind::Array => format!("the array {raw}"),
            TokenKind::Object => format!("the object {raw}"),
        }
    }
}

/// Calls `read` with a number.
#[inline(always)]
fn with_number<T>(token: &Token<'_>, coerce: bool, read: impl Fn(&Number) -> Result<T, Misfit>) -> Result<T, Misfit> {
    let parsed;
    let number = match token.kind {
        TokenKind::Number => &token.number,
        TokenKind::Text { .. } if coerce => match Number::parse(token.inner()) {
            Some(number) => {
                parsed = number;
                &parsed
            }
            None => return Err(Misfit::Type),
        },
        _ => return Err(Misfit::Type),
    };
    read(number)
}
