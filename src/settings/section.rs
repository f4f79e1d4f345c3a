//! Reading one table of a pipeline file, and the kinds of values that stand in it. Each function notes what is wrong and
//! returns `None`, so that reading goes on.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use super::keys;
use super::mistake::{Mistake, Mistakes};
use super::tree::{Entry, Node, Toml};
use crate::base::units::Amount;

/// A table whose keys are all known.
pub(super) struct Section<'a> {
    title: String,
    entries: &'a [Entry],
    span: &'a Range<usize>,
    pub(super) mistakes: &'a Mistakes,
}

impl<'a> Section<'a> {
    /// The section at a dotted path, its keys as [`keys::SECTIONS`] has them; `""` is the whole file.
    pub(super) fn open(path: &str, node: &'a Node, mistakes: &'a Mistakes) -> Option<Self> {
        let title = if path.is_empty() { "the file".to_owned() } else { format!("[{}]", keys::title(path)) };
        let section = Section::untold(title, node, mistakes)?;
        section.refuse_unknown(keys::of(path));
        Some(section)
    }

    /// A column's options.
    pub(super) fn column(name: &str, node: &'a Node, mistakes: &'a Mistakes) -> Option<Self> {
        let section = Section::untold(format!("column `{name}`"), node, mistakes)?;
        section.refuse_unknown(&keys::COLUMN.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        Some(section)
    }

    fn untold(title: String, node: &'a Node, mistakes: &'a Mistakes) -> Option<Self> {
        let entries = entries(&title, node, mistakes)?;
        Some(Section { title, entries, span: &node.span, mistakes })
    }

    /// The value of a key that may be left out.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value of a key that must be there.
    pub(super) fn must(&self, key: &str, example: &str) -> Option<&'a Node> {
        let node = self.node(key);
        if node.is_none() {
            let lacks = Mistake::new(self.span, format!("{} lacks `{key}`", self.title));
            self.mistakes.add(lacks.help(format!("add: {example}")));
        }
        node
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    fn refuse_unknown(&self, known: &[&str]) {
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let unknown = Mistake::new(&entry.key_span, format!("{} has no key `{}`", self.title, entry.key));
            self.mistakes.add(unknown.help(self.advice(&entry.key, known)));
        }
    }

    fn advice(&self, key: &str, known: &[&str]) -> String {
        if let Some(close) = closest(key, known.iter().copied()) {
            return format!("did you mean `{close}`?");
        }
        let home = keys::SECTIONS.iter().find(|(_, keys)| keys.contains(&key));
        match home {
            Some((path, _)) if keys::title(path) != *path && self.title == format!("[{}]", keys::title(path)) => {
                format!("`{key}` belongs to type = \"{}\"", path.rsplit('.').next().unwrap_or(path))
            }
            Some((path, _)) if !path.is_empty() => format!("`{key}` belongs in [{}]", keys::title(path)),
            _ if self.title == "[source]" && key.contains('.') => {
                format!("put `{key}` into [source.client]")
            }
            _ => format!("its keys are {}", known.join(", ")),
        }
    }
}

/// The entries of a table.
pub(super) fn entries<'a>(title: &str, node: &'a Node, mistakes: &Mistakes) -> Option<&'a [Entry]> {
    match &node.toml {
        Toml::Table(entries) => Some(entries),
        _ => {
            let help = match title.strip_prefix("column ") {
                Some(_) => "give its options: { type = \"float64\" }".to_owned(),
                None => format!("write its keys below a line {title}"),
            };
            wrong(node, &format!("{title} must be a table"), help, mistakes)
        }
    }
}

/// Text.
pub(super) fn text<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a str> {
    match &node.toml {
        Toml::Text(filled) => Some(&filled.text),
        _ => wrong(node, "this must be text", "put it between quotes", mistakes),
    }
}

/// Text that is not empty.
pub(super) fn filled_text<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a str> {
    let text = text(node, mistakes)?;
    if text.trim().is_empty() {
        return refuse(node, "this must not be empty", "write a value between the quotes", mistakes);
    }
    Some(text)
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, mistakes: &Mistakes) -> Option<bool> {
    match node.toml {
        Toml::Bool(flag) => Some(flag),
        _ => wrong(node, "this must be true or false", "write true or false, without quotes", mistakes),
    }
}

/// A whole number, also from a string that is one variable.
pub(super) fn integer<T>(node: &Node, range: RangeInclusive<T>, mistakes: &Mistakes) -> Option<T>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    let number = match &node.toml {
        Toml::Int(number) => Some(*number),
        Toml::Text(filled) if filled.whole => filled.text.parse().ok(),
        _ => None,
    };
    match number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number)) {
        Some(number) => Some(number),
        None => {
            let expected = format!("this must be a whole number from {} to {}", range.start(), range.end());
            wrong(node, &expected, number_help(node), mistakes)
        }
    }
}

/// A number with a unit, within limits.
pub(super) fn amount<T: PartialOrd + Copy>(
    node: &Node,
    kind: &Amount<T>,
    range: RangeInclusive<T>,
    mistakes: &Mistakes,
) -> Option<T> {
    let Amount { what, read, show } = kind;
    let written = match &node.toml {
        Toml::Text(filled) => read(&filled.text),
        _ => None,
    };
    match written {
        Some(amount) if range.contains(&amount) => Some(amount),
        Some(_) => {
            let message = format!("this must be from {} to {}", show(*range.start()), show(*range.end()));
            wrong(node, &message, "choose a value in between", mistakes)
        }
        None => wrong(node, "this must be a number with its unit", format!("write {what}"), mistakes),
    }
}

/// How to write a number that is not one, or not in its range, yet.
pub(super) fn number_help(node: &Node) -> &'static str {
    match &node.toml {
        Toml::Text(filled) if filled.any => "set the variable to such a number, and write nothing else beside it",
        Toml::Text(_) => "write the number without quotes",
        _ => "write such a number",
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, choices: &[(&str, T)], mistakes: &Mistakes) -> Option<T> {
    choice_with(node, choices, &[], mistakes)
}

/// The same, where some words have other names elsewhere.
pub(super) fn choice_with<T: Copy>(
    node: &Node,
    choices: &[(&str, T)],
    elsewhere: &[(&str, &'static str)],
    mistakes: &Mistakes,
) -> Option<T> {
    let word = text(node, mistakes)?;
    if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == word) {
        return Some(*chosen);
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let help = match here(word, elsewhere).or_else(|| closest(word, names())) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None if choices.len() > 1 => "write one of them".to_owned(),
        None => format!("write {}", one_of(names())),
    };
    wrong(node, &format!("this must be {}", one_of(names())), help, mistakes)
}

/// What a word from elsewhere is called here; what is between brackets behind it doesn't count.
pub(super) fn here(word: &str, elsewhere: &[(&str, &'static str)]) -> Option<&'static str> {
    let word = word.split(['<', '(', '[']).next().unwrap_or(word);
    elsewhere.iter().find(|(other, _)| other.eq_ignore_ascii_case(word)).map(|(_, here)| *here)
}

/// An array; a single value gets the advice to put brackets around it.
pub(super) fn array<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a [Node]> {
    match &node.toml {
        Toml::Array(items) => Some(items),
        Toml::Text(filled) if !filled.any => {
            wrong(node, "this must be a list", format!("put it between brackets: [{:?}]", filled.text), mistakes)
        }
        _ => wrong(node, "this must be a list", "put it between brackets: [ … ]", mistakes),
    }
}

/// Notes that a value is not what was expected, and what it is instead, unless that is noted already.
pub(super) fn wrong<T>(node: &Node, expected: &str, help: impl Into<String>, mistakes: &Mistakes) -> Option<T> {
    if !matches!(node.toml, Toml::Nothing) {
        mistakes.add(Mistake::new(&node.span, format!("{expected}, not {}", found(node))).help(help));
    }
    None
}

/// Notes a mistake at a value.
pub(super) fn refuse<T>(
    node: &Node,
    message: impl Into<String>,
    help: impl Into<String>,
    mistakes: &Mistakes,
) -> Option<T> {
    mistakes.add(Mistake::new(&node.span, message).help(help));
    None
}

/// A value in words.
fn found(node: &Node) -> String {
    match &node.toml {
        Toml::Text(filled) if filled.any => format!("{:?}, which its variable holds", filled.text),
        Toml::Text(filled) => format!("{:?}", filled.text),
        Toml::Int(number) => number.to_string(),
        Toml::Float(number) => number.to_string(),
        Toml::Bool(flag) => flag.to_string(),
        Toml::Datetime(datetime) => format!("the date or time {datetime}"),
        Toml::Array(_) => "a list".to_owned(),
        Toml::Table(_) => "a table".to_owned(),
        Toml::Nothing => "nothing".to_owned(),
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The known word that `word` was probably meant to be.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let distance = |candidate: &'a str| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate);
    let (distance, close) = known.into_iter().map(distance).min_by_key(|(distance, _)| *distance)?;
    (distance <= close.len().div_ceil(4)).then_some(close)
}
