//! TOML text to a tree of values with their places in the text, variables filled in.
//!
//! A value that can't be had (a variable that is not set) becomes [`Toml::Nothing`], with its mistake noted: whoever
//! comes across it later says no more about it.
//!
//! Files' secrets stand in [source.client] only, whose values no message, log or command shows.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Mistakes};
use super::secret;
use super::variables::{Filled, Unfilled, Values, fill};

/// The tables whose values are never shown.
const SECRET_TABLE: [&str; 2] = ["source", "client"];

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
    let (root, mut errors) = DeTable::parse_recoverable(text);
    // After a `{` that isn't closed, each line to the end of the file is one more mistake.
    if let Some(first) = errors.iter().position(|error| error.message().contains("expected `,`")) {
        let open = |error: &toml::de::Error| {
            let after = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            after.trim_end_matches([' ', '\t']).ends_with('\n')
        };
        if open(&errors[first]) {
            let before = text[..errors[first].span().unwrap_or(0..0).start].trim_end().len();
            errors.truncate(first);
            let place = before.saturating_sub(1)..before;
            let unclosed = Mistake::new(&place, "this `{` … `}` or `[` … `]` is not closed where the line ends");
            mistakes.add(unclosed.help("add the `}` or `]` that is missing, or a `,` if more belongs to it"));
        }
    }
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        mistakes.add(Mistake::new(&span, error.message()).help(syntax_help(error.message())));
    }
    if !mistakes.is_empty() {
        return None;
    }
    let filling = Filling { environment, mistakes };
    let toml = filling.table(root.into_inner(), &[]);
    Some(Node { span: 0..0, toml })
}

/// The values that were filled in, in the file's order.
pub(super) fn filled_in<'a>(node: &'a Node, visit: &mut dyn FnMut(&'a str)) {
    match &node.toml {
        Toml::Text(filled) if filled.any => visit(&filled.text),
        Toml::Array(items) => items.iter().for_each(|item| filled_in(item, visit)),
        Toml::Table(entries) => entries.iter().for_each(|entry| filled_in(&entry.node, visit)),
        _ => {}
    }
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

/// Makes the tree; what can't be filled in is noted.
struct Filling<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    mistakes: &'a Mistakes,
}

impl Filling<'_> {
    /// `keys` lead to this table.
    fn table(&self, table: DeTable<'_>, keys: &[&str]) -> Toml {
        let entry = |(key, value): (Spanned<_>, _)| {
            let key_span = key.span();
            let key: String = std::borrow::Cow::into_owned(key.into_inner());
            let node = self.node(value, &[keys, &[&key]].concat());
            Entry { key, key_span, node }
        };
        Toml::Table(table.into_iter().map(entry).collect())
    }

    fn node(&self, value: Spanned<DeValue<'_>>, keys: &[&str]) -> Node {
        let span = value.span();
        let nothing = |mistake: Mistake| {
            self.mistakes.add(mistake);
            Toml::Nothing
        };
        let toml = match value.into_inner() {
            DeValue::String(text) => match self.fill(&text, keys) {
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
            DeValue::Array(array) => Toml::Array(array.into_iter().map(|item| self.node(item, keys)).collect()),
            DeValue::Table(inner) => self.table(inner, keys),
        };
        Node { span, toml }
    }

    fn fill(&self, written: &str, keys: &[&str]) -> Result<Filled, Unfilled> {
        let secret: &dyn Fn(&Path) -> _ = if keys.starts_with(&SECRET_TABLE) { &secret } else { &misplaced };
        fill(written, Values { environment: self.environment, secret })
    }
}

fn secret(path: &Path) -> Result<String, Unfilled> {
    secret::read(path).map_err(|error| Unfilled { message: error.to_string(), help: error.help() })
}

/// Everything else of a pipeline is shown: by `weir check`, in messages, in the names of folders.
fn misplaced(_: &Path) -> Result<String, Unfilled> {
    Err(Unfilled {
        message: "a secret's file can only be used in [source.client]".into(),
        help: "this value is no secret: write it here, or take it from a variable: ${NAME}".into(),
    })
}
