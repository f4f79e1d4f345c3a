//! Values in `default`, `missing`, `min`, `max` and `one_of`: of the column's type and within its range.

use std::cmp::Ordering;

use super::mistake::Mistakes;
use super::section::{flag, integer, number_help, refuse, text, wrong};
use super::tree::{Node, Toml};
use crate::model::pipeline::{ColumnType, Value};
use crate::model::time::civil;

/// The value that a node writes for a column of this type.
pub(super) fn value(kind: &ColumnType, node: &Node, mistakes: &Mistakes) -> Option<Value> {
    match kind {
        ColumnType::String => text(node, mistakes).map(|text| Value::Text(text.to_owned())),
        ColumnType::Json => json(node, mistakes),
        ColumnType::Bool => flag(node, mistakes).map(Value::Bool),
        ColumnType::Int(bits) => {
            let largest = (1_i128 << (bits - 1)) - 1;
            integer(node, -largest - 1..=largest, mistakes).map(Value::Int)
        }
        ColumnType::Uint(bits) => integer(node, 0..=(1_i128 << bits) - 1, mistakes).map(Value::Int),
        ColumnType::Float(bits) => float(*bits, node, mistakes),
        ColumnType::Timestamp(_) => instant(node, mistakes),
        ColumnType::Date(_) => day(node, mistakes),
    }
}

/// The order of two values of the same column.
pub(super) fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Micros(one), Value::Micros(other)) => Some(one.cmp(other)),
        (Value::Days(one), Value::Days(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

fn json(node: &Node, mistakes: &Mistakes) -> Option<Value> {
    let text = text(node, mistakes)?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let help = "write JSON text, such as '{\"a\": 1}', '\"text\"' or 'null'";
        return refuse(node, format!("this is not JSON: {error}"), help, mistakes);
    }
    Some(Value::Text(text.to_owned()))
}

/// A number as the column will hold it: a 32-bit column's 0.1 is not a 64-bit one's, and they must compare as equal.
fn float(bits: u8, node: &Node, mistakes: &Mistakes) -> Option<Value> {
    let number = match &node.toml {
        Toml::Int(number) => *number as f64,
        Toml::Float(number) => *number,
        Toml::Text(filled) if filled.whole => filled.text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    let number = if bits == 32 { f64::from(number as f32) } else { number };
    if number.is_finite() {
        Some(Value::Float(number))
    } else {
        let expected = format!("this must be a number that a float{bits} holds");
        wrong(node, &expected, number_help(node), mistakes)
    }
}

/// Microseconds since 1970 of an instant.
pub(super) fn instant(node: &Node, mistakes: &Mistakes) -> Option<Value> {
    let (Toml::Text(super::variables::Filled { text, .. }) | Toml::Datetime(text)) = &node.toml else {
        return wrong(node, "this must be a timestamp", "write \"2004-03-10T18:00:00Z\"", mistakes);
    };
    match civil::typed_instant(text) {
        Some(micros) => Some(Value::Micros(micros)),
        None => {
            let expected = "this must be a timestamp with its offset (RFC 3339)";
            wrong(node, expected, "write \"2004-03-10T18:00:00Z\" or \"2004-03-10T18:00:00+01:00\"", mistakes)
        }
    }
}

fn day(node: &Node, mistakes: &Mistakes) -> Option<Value> {
    let (Toml::Text(super::variables::Filled { text, .. }) | Toml::Datetime(text)) = &node.toml else {
        return wrong(node, "this must be a date", "write \"2004-03-10\"", mistakes);
    };
    match civil::date(text.as_bytes()) {
        Some(day) => Some(Value::Days(day)),
        None => wrong(node, "this must be a date", "write \"2004-03-10\"", mistakes),
    }
}
