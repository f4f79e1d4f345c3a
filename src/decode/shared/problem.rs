//! What can be wrong with a record: a closed list of rules, and the words that say what was expected and what was found.
//!
//! The list is part of what users see (the column `rule` of `rejects/`), so a name in it never changes its meaning.

use crate::base::codes::Code;

/// Characters of a value that a reason repeats at the most.
const SHOWN: usize = 60;

/// The rule that a rejected record breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The payload is not JSON (RFC 8259, strictly).
    Json,
    /// Objects and arrays are nested more deeply than [`crate::model::schema::DEPTH_MAX`].
    Depth,
    /// The payload is not UTF-8.
    Utf8,
    /// Something follows the payload's one value.
    Trailing,
    /// A field that is read stands twice in its object.
    Duplicate,
    /// A value is of another type than its column, or the payload is no object.
    Type,
    /// A number or an instant is too large or too small for its column's type.
    Range,
    /// A text is not a time or a date in the column's format.
    Time,
    /// A local time that a daylight-saving change skips.
    Gap,
    /// A local time that a daylight-saving change repeats.
    Fold,
    /// There is no value where one is required.
    Required,
    /// A value is below the column's `min`.
    Min,
    /// A value is above the column's `max`.
    Max,
    /// A value is not one of the column's `one_of`.
    OneOf,
    /// A text does not match the column's `pattern`.
    Pattern,
    /// A text has more characters than the column's `max_length`.
    MaxLength,
    /// A hive key's value is too long for a folder's name, or would be read as null there.
    FolderName,
    /// A top-level field that no column reads, where `unknown_fields = "reject"`.
    UnknownField,
    /// An event time is further after the record's Kafka timestamp than `window.max_ahead`.
    MaxAhead,
}

impl Rule {
    /// The name in the column `rule` of `rejects/`.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Json => "json",
            Rule::Depth => "depth",
            Rule::Utf8 => "utf8",
            Rule::Trailing => "trailing",
            Rule::Duplicate => "duplicate",
            Rule::Type => "type",
            Rule::Range => "range",
            Rule::Time => "time",
            Rule::Gap => "gap",
            Rule::Fold => "fold",
            Rule::Required => "required",
            Rule::Min => "min",
            Rule::Max => "max",
            Rule::OneOf => "one_of",
            Rule::Pattern => "pattern",
            Rule::MaxLength => "max_length",
            Rule::FolderName => "folder_name",
            Rule::UnknownField => "unknown_field",
            Rule::MaxAhead => "max_ahead",
        }
    }

    /// The code of the rule.
    pub fn code(self) -> Code {
        match self {
            Rule::Json => Code::RejectJson,
            Rule::Depth => Code::RejectDepth,
            Rule::Utf8 => Code::RejectUtf8,
            Rule::Trailing => Code::RejectTrailing,
            Rule::Duplicate => Code::RejectDuplicate,
            Rule::Type => Code::RejectType,
            Rule::Range => Code::RejectRange,
            Rule::Time => Code::RejectTime,
            Rule::Gap => Code::RejectGap,
            Rule::Fold => Code::RejectFold,
            Rule::Required => Code::RejectRequired,
            Rule::Min => Code::RejectMin,
            Rule::Max => Code::RejectMax,
            Rule::OneOf => Code::RejectOneOf,
            Rule::Pattern => Code::RejectPattern,
            Rule::MaxLength => Code::RejectMaxLength,
            Rule::FolderName => Code::RejectFolderName,
            Rule::UnknownField => Code::RejectUnknownField,
            Rule::MaxAhead => Code::RejectMaxAhead,
        }
    }

    /// The name in the column `stage` of `rejects/`: `decode` where the bytes don't give a value of the column's type,
    /// `validate` where the value breaks a rule of the definition.
    pub fn stage(self) -> &'static str {
        match self {
            Rule::Required
            | Rule::Min
            | Rule::Max
            | Rule::OneOf
            | Rule::Pattern
            | Rule::MaxLength
            | Rule::FolderName
            | Rule::UnknownField
            | Rule::MaxAhead => "validate",
            _ => "decode",
        }
    }
}

/// A broken rule, and what was expected and found, in words. One pointer: reading any value may answer with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Box<(Rule, String)>);

impl Problem {
    pub(crate) fn new(rule: Rule, reason: String) -> Problem {
        Problem(Box::new((rule, reason)))
    }

    pub(crate) fn rule(&self) -> Rule {
        self.0.0
    }

    pub(crate) fn reason(&self) -> &str {
        &self.0.1
    }

    /// "expected X, found Y"
    pub(crate) fn expected(rule: Rule, expected: &str, found: &str) -> Problem {
        Problem::new(rule, format!("expected {expected}, found {found}"))
    }

    /// A payload that is not UTF-8 from some byte on.
    pub(crate) fn utf8(payload: &[u8], at: usize) -> Problem {
        let found = payload.get(at).map_or_else(|| END.to_owned(), |byte| format!("the byte 0x{byte:02x}"));
        Problem::new(Rule::Utf8, format!("expected UTF-8, found {found} at byte {at}"))
    }
}

/// Where a payload ends, for people.
pub(crate) const END: &str = "the end of the payload";

/// The beginning of a text, and how long all of it is where that is not everything.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
