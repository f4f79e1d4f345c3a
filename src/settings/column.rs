//! One column of `[columns]`: its options, whether they fit its type, and whether they fit each other.

use regex::Regex;

use super::keys;
use super::keys::family;
use super::mistake::{Mistake, Mistakes};
use super::section::{Section, array, choice_with, filled_text, flag, integer, refuse, text};
use super::time;
use super::tree::{Entry, Node};
use super::value::{order, value};
use crate::model::pipeline::{Column, ColumnType, Value};
use crate::model::schema::{EXTRA, LATE_BY};

/// A hive key's name and value are one folder's name, which filesystems limit to 255 bytes.
const NAME_BYTES_MAX: usize = 100;

/// What is known of a column for the sections that name it, though it may have mistakes of its own.
pub(super) struct Known<'a> {
    pub(super) name: &'a str,
    /// The kind of its type, as a bit, where the type could be read.
    pub(super) family: Option<u8>,
    /// The column, where it has no mistake.
    pub(super) column: Option<Column>,
}

/// Reads `[columns]`, in the file's order.
pub(super) fn columns<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<Vec<Known<'a>>> {
    let entries = super::section::entries("[columns]", node, mistakes)?;
    if entries.is_empty() {
        return refuse(node, "[columns] is empty", "add a column: station_id = { type = \"string\" }", mistakes);
    }
    for (index, entry) in entries.iter().enumerate() {
        check_name(entry, &entries[..index], mistakes);
    }
    Some(entries.iter().map(|entry| column(entry, mistakes)).collect())
}

fn check_name(entry: &Entry, before: &[Entry], mistakes: &Mistakes) {
    let name = &entry.key;
    let refuse = |message: String, help: &str| mistakes.add(Mistake::new(&entry.key_span, message).help(help));
    let folded = name.to_lowercase();
    if folded.starts_with("_kafka_") || folded.starts_with("_weir_") || [EXTRA, LATE_BY].contains(&folded.as_str()) {
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

fn column<'a>(entry: &'a Entry, mistakes: &Mistakes) -> Known<'a> {
    let section = Section::column(&entry.key, &entry.node, mistakes);
    let family = section.as_ref().and_then(family_of);
    let column = section.and_then(|section| options(entry, &section, family));
    Known { name: &entry.key, family: family.map(|(_, family)| family), column }
}

/// A column's options. Each is looked at, whatever is wrong with the others.
fn options(entry: &Entry, section: &Section<'_>, family: Option<(&'static str, u8)>) -> Option<Column> {
    let mistakes = section.mistakes;
    let kind = family.and_then(|(name, family)| kind(section, name, family));
    let from = match section.node("from") {
        Some(node) => from(node, mistakes),
        None => Some(vec![entry.key.clone()]),
    };
    let required = section.node("required").and_then(|node| flag(node, mistakes)).unwrap_or(false);
    let coerce = section.node("coerce").and_then(|node| flag(node, mistakes)).unwrap_or(false);
    let pattern = section.node("pattern").and_then(|node| pattern(node, mistakes));
    let max_length = section.node("max_length").and_then(|node| integer(node, 1..=usize::MAX >> 1, mistakes));
    let fits_all = family.is_some_and(|(name, family)| refuse_misfits(section, name, family));
    let kind = kind?;
    // Values of an option that doesn't fit can't be judged.
    let node = |key| section.node(key).filter(|_| family.is_some_and(|(_, family)| fits(key, family)));
    let one = |key| node(key).and_then(|node| value(&kind, node, mistakes));
    let list = |key| node(key).map(|node| values(&kind, node, mistakes)).unwrap_or_default();
    let column = Column {
        name: entry.key.clone(),
        required,
        default: one("default"),
        missing: list("missing"),
        min: one("min"),
        max: one("max"),
        one_of: list("one_of"),
        pattern,
        max_length,
        coerce,
        kind,
        // Last, so that the other options were looked at.
        from: from?,
    };
    check_together(&column, section);
    fits_all.then_some(column)
}

/// The name of the column's type, and its kind.
fn family_of(section: &Section<'_>) -> Option<(&'static str, u8)> {
    let node = section.must("type", "type = \"float64\"")?;
    let types: Vec<(&str, &(&str, u8))> = keys::TYPES.iter().map(|known| (known.0, known)).collect();
    choice_with(node, &types, keys::OTHER_TYPES, section.mistakes).copied()
}

fn fits(key: &str, family: u8) -> bool {
    keys::COLUMN.iter().any(|(known, fits)| *known == key && fits & family != 0)
}

/// Options that don't fit the column's type are mistakes; whether all fit.
fn refuse_misfits(section: &Section<'_>, name: &str, family: u8) -> bool {
    let mut fits_all = true;
    for (key, fits) in keys::COLUMN.iter().filter(|(_, fits)| fits & family == 0) {
        let Some(entry) = section.entries().iter().find(|entry| entry.key == *key) else { continue };
        fits_all = false;
        let fitting = keys::TYPES.iter().filter(|(_, family)| fits & family != 0).map(|(name, _)| *name);
        let help = format!("leave it out; it fits {}", fitting.collect::<Vec<_>>().join(", "));
        let message = format!("`{key}` doesn't fit a {name}");
        section.mistakes.add(Mistake::new(&entry.key_span, message).help(help));
    }
    fits_all
}

/// The column's type.
fn kind(section: &Section<'_>, name: &str, family: u8) -> Option<ColumnType> {
    Some(match family {
        family::STRING => ColumnType::String,
        family::BOOL => ColumnType::Bool,
        family::TIMESTAMP => ColumnType::Timestamp(time::timestamp(section)?),
        family::DATE => ColumnType::Date(time::date(section)),
        family::JSON => ColumnType::Json,
        _ => numeric(name)?,
    })
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
