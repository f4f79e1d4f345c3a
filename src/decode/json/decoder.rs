//! The decoder of JSON: from what the reader finds to what the columns are told.

use crate::decode::json::kept::Kept;
use crate::decode::json::reader::{Fields, Reader, Segment};
use crate::decode::json::token::{Token, TokenKind};
use crate::decode::shared::{Decoder, Problem, Record, RecordValue as _, Rule, Values};
use crate::model::Pipeline;
use crate::model::pipeline::UnknownFields;

/// Reads records that are JSON objects.
#[derive(Debug)]
pub(crate) struct Json {
    reader: Reader,
    unknown_fields: UnknownFields,
    /// One record's unknown fields, where they are kept.
    kept: Kept,
    /// The same as one object.
    object: String,
}

impl Json {
    /// A decoder for a pipeline's columns.
    pub(crate) fn new(pipeline: &Pipeline) -> Json {
        let unknown_fields = pipeline.validate.unknown_fields;
        let reader = Reader::new(pipeline.columns.iter().map(|column| column.from.as_slice()));
        let reader = if unknown_fields == UnknownFields::Keep { reader.keeping() } else { reader };
        Json { reader, unknown_fields, kept: Kept::default(), object: String::new() }
    }
}

impl Decoder for Json {
    type Value<'r> = Token<'r>;

    const TEXT: bool = true;

    #[inline]
    fn decode(&mut self, record: &Record<'_>, values: &mut impl Values<Json>) -> Result<(), Problem> {
        let text = record.text()?;
        self.kept.clear();
        let mut report = Report { values, unknown_fields: self.unknown_fields, kept: &mut self.kept };
        self.reader.read(text, &mut report).map_err(|broken| broken.problem(text))
    }

    fn unread(&mut self) -> Option<&str> {
        self.kept.object(&mut self.object).then_some(&*self.object)
    }
}

/// What the reader finds, on its way to the columns.
struct Report<'r, V> {
    values: &'r mut V,
    unknown_fields: UnknownFields,
    kept: &'r mut Kept,
}

impl<V: Values<Json>> Fields for Report<'_, V> {
    #[inline]
    fn value(&mut self, column: usize, token: &Token<'_>) {
        self.values.value(column, token);
    }

    fn misplaced(&mut self, column: usize, token: &Token<'_>) {
        let expected = match token.kind {
            TokenKind::Array => "an object, or an index into the array, on the way to the value",
            _ => "an object or an array on the way to the value",
        };
        self.values.fault(column, Problem::expected(Rule::Type, expected, &token.describe()));
    }

    #[inline]
    fn unread(&mut self, name: &str, member: &str) {
        match self.unknown_fields {
            UnknownFields::Ignore => {}
            UnknownFields::Keep => self.kept.field(member),
            UnknownFields::Reject => self.values.unknown(name),
        }
    }

    fn unread_below(&mut self, path: &[Segment], element: Option<usize>, member: &str) {
        self.kept.below(path, element, member);
    }

    #[cold]
    fn again(&mut self) {
        self.kept.clear();
        self.values.again();
    }
}
