//! TOML text to a tree of values with their places in the text, variables filled in.
//!
//! A value that can't be had (a variable that is not set) becomes [`Toml::Nothing`], with its mistake noted: whoever
//! comes across it later says no more about it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Mistakes};
use super::variables::{Filled, fill};

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) toml: Toml,
}

#[derive(Debug)]
pub(super) enum Toml {
    Text(Filled),
    Int(i128),
    Float(f64),
    Bool(bool),
    /// A TOML date or time, as text.
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// A value whose mistake is noted already.
    Nothing,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

/// Parses `text`. Broken syntax ends it, all of it reported: what a half-read file means would be a guess.
pub(super) fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>, mistakes: &Mistakes) -> Option<Node> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        mistakes.add(Mistake::new(&span, error.message()).help(syntax_help(error.message())));
    }
    if !errors.is_empty() {
        return None;
    }
    let toml = table(root.into_inner(), environment, mistakes);
    Some(Node { span: 0..0, toml })
}

fn syntax_help(message: &str) -> &'static str {
    if message.contains("quoted") {
        "put text between quotes: key = \"text\""
    } else if message.contains("duplicate") {
        "write each key and each [section] once"
    } else if message.contains("string") {
        "end the text with the quote that it begins with, on the same line"
    } else {
        "this is not TOML: see https://toml.io for how values are written"
    }
}

fn table(table: DeTable<'_>, environment: &dyn Fn(&str) -> Option<String>, mistakes: &Mistakes) -> Toml {
    let entry = |(key, value): (Spanned<_>, _)| {
        let key_span = key.span();
        Entry {
            key: std::borrow::Cow::into_owned(key.into_inner()),
            key_span,
            node: node(value, environment, mistakes),
        }
    };
    Toml::Table(table.into_iter().map(entry).collect())
}

fn node(value: Spanned<DeValue<'_>>, environment: &dyn Fn(&str) -> Option<String>, mistakes: &Mistakes) -> Node {
    let span = value.span();
    let nothing = |mistake: Mistake| {
        mistakes.add(mistake);
        Toml::Nothing
    };
    let toml = match value.into_inner() {
        DeValue::String(text) => match fill(&text, environment) {
            Ok(filled) => Toml::Text(filled),
            Err(unfilled) => nothing(Mistake::new(&span, unfilled.message).help(unfilled.help)),
        },
        DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Toml::Int(integer),
            Err(_) => nothing(Mistake::new(&span, "this number is too large")),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(float) => Toml::Float(float),
            Err(_) => nothing(Mistake::new(&span, "this is not a number")),
        },
        DeValue::Boolean(flag) => Toml::Bool(flag),
        DeValue::Datetime(datetime) => Toml::Datetime(datetime.to_string()),
        DeValue::Array(array) => Toml::Array(array.into_iter().map(|item| node(item, environment, mistakes)).collect()),
        DeValue::Table(inner) => table(inner, environment, mistakes),
    };
    Node { span, toml }
}
