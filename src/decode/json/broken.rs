//! Why a payload is no JSON object, in words.

use crate::decode::json::scan::Syntax;
use crate::decode::shared::{END, Problem, Rule, shorten};

/// Why a payload as a whole is no record.
#[derive(Debug, PartialEq)]
pub(crate) enum Broken {
    /// It is not JSON, or more than that, or reads a field twice.
    Syntax(Box<Syntax>),
    /// It is JSON, but this instead of an object.
    NoObject(String),
}

impl Broken {
    /// In words, for the payload that was read.
    pub(crate) fn problem(&self, payload: &str) -> Problem {
        match self {
            Broken::Syntax(fault) => syntax(fault, payload),
            Broken::NoObject(found) => Problem::expected(Rule::Type, "a JSON object", found),
        }
    }
}

impl From<Box<Syntax>> for Broken {
    fn from(fault: Box<Syntax>) -> Self {
        Broken::Syntax(fault)
    }
}

/// A payload that could not be read on from some byte of it.
fn syntax(fault: &Syntax, payload: &str) -> Problem {
    let at = fault.at;
    let reason = match fault.rule {
        Rule::Depth => format!("expected at most {} levels of nesting, found more at byte {at}", fault.expected),
        Rule::Duplicate => format!("expected each field once, found {} again at byte {at}", key_at(payload, at)),
        Rule::Trailing => format!("expected one object, found {} after it at byte {at}", found_at(payload, at)),
        _ => format!("expected {} at byte {at}, found {}", fault.expected, found_at(payload, at)),
    };
    Problem::new(fault.rule, reason)
}

/// The character at a byte of a payload, for people.
fn found_at(payload: &str, at: usize) -> String {
    match payload.get(at..).and_then(|rest| rest.chars().next()) {
        None => END.to_owned(),
        Some(found) if found.is_control() => {
            format!("the control character U+{:04X}", u32::from(found))
        }
        Some(found) => format!("`{found}`"),
    }
}

/// The key whose opening quote stands at a byte of a payload, as written.
fn key_at(payload: &str, at: usize) -> String {
    let rest = payload.get(at + 1..).unwrap_or_default();
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    format!("`{}`", shorten(&rest[..end.unwrap_or(rest.len())]))
}
