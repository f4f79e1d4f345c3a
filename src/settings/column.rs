//! One column of `[columns]`: its options, whether they fit its type, and whether they fit each other.

use regex::Regex;

use super::keys::{self, family};
use super::mistake::{Mistake, Mistakes};
use super::pipeline::{Column, ColumnType, Value};
use super::section::{Section, array, choice, filled_text, flag, integer, refuse, text};
use super::time;
use super::tree::{Entry, Node};
use super::value::{order, value};
use crate::decode::schema::{EXTRA, LATE_BY};

/// A hive key's name and value are one folder's name, which filesystems limit to 255 bytes.
const NAME_BYTES_MAX: usize = 100;

/// Reads `[columns]`, in the file's order.
pub(super) fn columns(node: &Node, mistakes: &Mistakes) -> Option<Vec<Column>> {
    let entries = super::section::entries("[columns]", node, mistakes)?;
    if entries.is_empty() {
        return refuse(node, "[columns] is empty", "add a column: station_id = { type = \"string\" }", mistakes);
    }
    for (index, entry) in entries.iter().enumerate() {
        check_name(entry, &entries[..index], mistakes);
    }
    entries.iter().map(|entry| column(entry, mistakes)).collect::<Vec<_>>().into_iter().collect()
}

fn check_name(entry: &Entry, before: &[Entry], mistakes: &Mistakes) {
    let name = &entry.key;
    let refuse = |message: String, help: &str| mistakes.add(Mistake::new(&entry.key_span, message).help(help));
    let folded = name.to_lowercase();
    if folded.starts_with("_kafka_") || [EXTRA, LATE_BY].contains(&folded.as_str()) {
        refuse(format!("`{name}` is a name that weir gives"), "choose another name; `from` may still be this one");
    } else if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        refuse(
            "this can't be a column's name".to_owned(),
            "choose one of 1 to 100 bytes, without control characters; `from` names the record's field",
        );
    }
    if let Some(twin) = before.iter().find(|other| other.key.to_lowercase() == folded) {
        let message = format!("`{name}` and `{}` are one column to readers that ignore case", twin.key);
        mistakes
            .add(Mistake::new(&entry.key_span, message).help("rename one of them").also(&twin.key_span, "the other"));
    }
}

fn column(entry: &Entry, mistakes: &Mistakes) -> Option<Column> {
    let section = Section::column(&entry.key, &entry.node, mistakes)?;
    let kind = kind(&section);
    let from = match section.node("from") {
        Some(node) => from(node, mistakes),
        None => Some(vec![entry.key.clone()]),
    };
    let required = section.node("required").and_then(|node| flag(node, mistakes)).unwrap_or(false);
    let coerce = section.node("coerce").and_then(|node| flag(node, mistakes)).unwrap_or(false);
    let kind = kind?;
    let one = |key| section.node(key).and_then(|node| value(&kind, node, mistakes));
    let list = |key| section.node(key).map(|node| values(&kind, node, mistakes)).unwrap_or_default();
    let column = Column {
        name: entry.key.clone(),
        from: from?,
        required,
        default: one("default"),
        missing: list("missing"),
        min: one("min"),
        max: one("max"),
        one_of: list("one_of"),
        pattern: section.node("pattern").and_then(|node| pattern(node, mistakes)),
        max_length: section.node("max_length").and_then(|node| integer(node, 1..=usize::MAX >> 1, mistakes)),
        coerce,
        kind,
    };
    check_together(&column, &section);
    Some(column)
}

/// The column's type; options that don't fit it are mistakes, and `None` ends the column.
fn kind(section: &Section<'_>) -> Option<ColumnType> {
    let types: Vec<(&str, &str)> = keys::TYPES.iter().map(|(name, _)| (*name, *name)).collect();
    let node = section.must("type", "type = \"float64\"")?;
    let name = choice(node, &types, section.mistakes)?;
    let family = keys::TYPES.iter().find(|(known, _)| *known == name)?.1;
    let misfits = keys::COLUMN.iter().filter(|(key, fits)| fits & family == 0 && section.node(key).is_some());
    let mut fits_all = true;
    for (key, fits) in misfits {
        fits_all = false;
        let entry = section.entries().iter().find(|entry| entry.key == *key)?;
        let fitting = keys::TYPES.iter().filter(|(_, family)| fits & family != 0).map(|(name, _)| *name);
        let help = format!("leave it out; it fits {}", fitting.collect::<Vec<_>>().join(", "));
        let message = format!("`{key}` doesn't fit a {name}");
        section.mistakes.add(Mistake::new(&entry.key_span, message).help(help));
    }
    let kind = match family {
        family::STRING => ColumnType::String,
        family::BOOL => ColumnType::Bool,
        family::TIMESTAMP => ColumnType::Timestamp(time::timestamp(section)?),
        family::DATE => ColumnType::Date(time::date(section)),
        family::JSON => ColumnType::Json,
        _ => numeric(name)?,
    };
    fits_all.then_some(kind)
}

fn numeric(name: &str) -> Option<ColumnType> {
    let digits = name.find(|character: char| character.is_ascii_digit())?;
    let bits = name[digits..].parse().ok()?;
    Some(match &name[..digits] {
        "int" => ColumnType::Int(bits),
        "uint" => ColumnType::Uint(bits),
        _ => ColumnType::Float(bits),
    })
}

/// A field's name, or the steps of a JSON pointer (RFC 6901) when it starts with `/`.
fn from(node: &Node, mistakes: &Mistakes) -> Option<Vec<String>> {
    let written = filled_text(node, mistakes)?;
    let Some(pointer) = written.strip_prefix('/') else {
        return Some(vec![written.to_owned()]);
    };
    let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
    if pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
        let help = "in a JSON pointer ~0 stands for ~ and ~1 for /";
        return refuse(node, "this JSON pointer has a ~ that stands for nothing", help, mistakes);
    }
    Some(pointer.split('/').map(unescape).collect())
}

fn values(kind: &ColumnType, node: &Node, mistakes: &Mistakes) -> Vec<Value> {
    let items = array(node, mistakes).unwrap_or_default();
    items.iter().filter_map(|item| value(kind, item, mistakes)).collect()
}

fn pattern(node: &Node, mistakes: &Mistakes) -> Option<Regex> {
    match Regex::new(text(node, mistakes)?) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let help = "see https://docs.rs/regex for what a pattern may hold; '…' quotes need no doubled backslashes";
            refuse(node, format!("this pattern can't be used: {error}"), help, mistakes)
        }
    }
}

/// Rules across a column's options.
fn check_together(column: &Column, section: &Section<'_>) {
    let mistakes = section.mistakes;
    if let (true, Some(node)) = (column.required, section.node("default")) {
        let message = "a required column is never without a value, so a default is never used";
        refuse::<()>(node, message, "leave out `required` or `default`", mistakes);
    }
    if let (Some(min), Some(max), Some(node)) = (&column.min, &column.max, section.node("min"))
        && order(min, max).is_some_and(std::cmp::Ordering::is_gt)
    {
        refuse::<()>(node, "`min` is above `max`: no value would do", "swap them", mistakes);
    }
    if let (Some(default), Some(node)) = (&column.default, section.node("default")) {
        if column.missing.contains(default) {
            refuse::<()>(node, "the default is one of `missing`", "choose another default", mistakes);
        }
        if let Some(rule) = broken_rule(column, default) {
            refuse::<()>(
                node,
                format!("the default breaks the column's own `{rule}`"),
                "choose another default",
                mistakes,
            );
        }
    }
    for key in ["missing", "one_of"] {
        if let Some(node @ Node { toml: super::tree::Toml::Array(items), .. }) = section.node(key)
            && items.is_empty()
        {
            refuse::<()>(node, format!("`{key}` lists nothing"), "list a value, or leave it out", mistakes);
        }
    }
    check_one_of(column, section);
}

/// Each of `one_of` must be able to pass the other rules.
fn check_one_of(column: &Column, section: &Section<'_>) {
    let lonely = Column { one_of: Vec::new(), ..column.clone() };
    if let Some(node) = section.node("one_of")
        && let Some(rule) = column.one_of.iter().find_map(|value| broken_rule(&lonely, value))
    {
        let message = format!("a value of `one_of` breaks the column's own `{rule}`");
        refuse::<()>(node, message, "change one of the two", section.mistakes);
    }
}

fn broken_rule(column: &Column, value: &Value) -> Option<&'static str> {
    let below = |limit: &Value| order(value, limit).is_some_and(std::cmp::Ordering::is_lt);
    let above = |limit: &Value| order(value, limit).is_some_and(std::cmp::Ordering::is_gt);
    let text = match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    if column.min.as_ref().is_some_and(below) {
        Some("min")
    } else if column.max.as_ref().is_some_and(above) {
        Some("max")
    } else if !column.one_of.is_empty() && !column.one_of.contains(value) {
        Some("one_of")
    } else if text.zip(column.pattern.as_ref()).is_some_and(|(text, pattern)| !pattern.is_match(text)) {
        Some("pattern")
    } else if text.zip(column.max_length).is_some_and(|(text, longest)| text.chars().count() > longest) {
        Some("max_length")
    } else {
        None
    }
}
