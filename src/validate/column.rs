//! A column while a batch is read: it takes a value a row, can give up its last rows, and becomes an Arrow array in the end.
//!
//! The values stand in a plain vector that the array takes over without copying (booleans are packed into bits).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::decode::{
    Bool, Date, Decoder, Float, Instant, Integer, Kind, Problem, RecordValue as _, Rule, TextKind, shorten,
};
use crate::model::names::hive;
use crate::model::pipeline::{Column, ColumnType, Value};
use crate::validate::rules::{Rules, Verdict};

/// Why a record has no value for a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// The field is not there.
    Absent,
    /// The field is null.
    Null,
    /// The value is one of the column's `missing`.
    Missing,
}

/// A column that takes one value a row.
pub(crate) trait Cells: Send {
    /// Adds what stands for no value: the default or null, unless one is required.
    fn write_nothing(&mut self, why: Nothing) -> Result<(), Problem>;
    /// The instant in a row, in microseconds since 1970; none where there is no value, or the column is of another type.
    fn instant(&self, _row: usize) -> Option<i64> {
        None
    }
    /// How many rows there are.
    fn rows(&self) -> usize;
    /// Gives up all but the first rows.
    fn truncate(&mut self, rows: usize);
    /// Makes room for a batch.
    fn reserve(&mut self, rows: usize);
    /// The rows as an array; none are left.
    fn finish(&mut self) -> ArrayRef;
}

/// A column that takes the values of a decoder.
pub(crate) trait CellsOf<D: Decoder>: Cells {
    /// Adds a value, if it is of the column's type and breaks no rule; null is no value. After an
    /// `Err` the column must be truncated.
    fn write(&mut self, value: &D::Value<'_>) -> Result<(), Problem>;
}

/// The cells of a column, which may be a hive key.
pub(crate) fn cells<D: Decoder>(column: &Column, is_key: bool) -> Box<dyn CellsOf<D>> {
    let coerce = column.coerce;
    match &column.kind {
        ColumnType::String => {
            let room = is_key.then(|| hive::room(&column.name));
            Box::new(Texts { room, ..Texts::new(column, TextKind::String { coerce }) })
        }
        ColumnType::Json => Box::new(Texts::new(column, TextKind::Json)),
        ColumnType::Bool => fixed(column, Bool { coerce }),
        ColumnType::Int(8) => fixed(column, Integer::<Int8Type>::new(coerce)),
        ColumnType::Int(16) => fixed(column, Integer::<Int16Type>::new(coerce)),
        ColumnType::Int(32) => fixed(column, Integer::<Int32Type>::new(coerce)),
        ColumnType::Int(_) => fixed(column, Integer::<Int64Type>::new(coerce)),
        ColumnType::Uint(8) => fixed(column, Integer::<UInt8Type>::new(coerce)),
        ColumnType::Uint(16) => fixed(column, Integer::<UInt16Type>::new(coerce)),
        ColumnType::Uint(32) => fixed(column, Integer::<UInt32Type>::new(coerce)),
        ColumnType::Uint(_) => fixed(column, Integer::<UInt64Type>::new(coerce)),
        ColumnType::Float(32) => fixed(column, Float::<Float32Type>::new(coerce)),
        ColumnType::Float(_) => fixed(column, Float::<Float64Type>::new(coerce)),
        ColumnType::Timestamp(format) => fixed(column, Instant { format: format.clone(), coerce }),
        ColumnType::Date(format) => fixed(column, Date { format: format.clone() }),
    }
}

/// Values of a fixed width.
struct Fixed<K: Kind> {
    kind: K,
    rules: Rules<K::Wide>,
    default: Option<K::Native>,
    required: bool,
    values: Vec<K::Native>,
    nulls: Nulls,
}

/// The rows without a value, ascending: what has one costs nothing here.
#[derive(Default)]
struct Nulls(Vec<usize>);

impl Nulls {
    fn contain(&self, row: usize) -> bool {
        self.0.binary_search(&row).is_ok()
    }

    /// Gives up all but the first rows.
    fn truncate(&mut self, rows: usize) {
        self.0.truncate(self.0.partition_point(|null| *null < rows));
    }

    /// What an array of so many rows says of them; none are left.
    fn finish(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut present = BooleanBufferBuilder::new(rows);
        present.append_n(rows, true);
        for null in std::mem::take(&mut self.0) {
            present.set_bit(null, false);
        }
        Some(NullBuffer::new(present.finish()))
    }
}

fn fixed<D: Decoder, K: Kind + 'static>(column: &Column, kind: K) -> Box<dyn CellsOf<D>> {
    let default = column.default.as_ref().map(|value| {
        let native = K::constant(value).and_then(K::narrow);
        native.unwrap_or_else(|| panic!("column {}: the default {value:?} is no {:?}", column.name, column.kind))
    });
    Box::new(Fixed {
        kind,
        rules: Rules::new(column, K::constant),
        default,
        required: column.required,
        values: Vec::new(),
        nulls: Nulls::default(),
    })
}

impl<D: Decoder, K: Kind> CellsOf<D> for Fixed<K> {
    #[inline]
    fn write(&mut self, value: &D::Value<'_>) -> Result<(), Problem> {
        if value.is_null() {
            return self.write_nothing(Nothing::Null);
        }
        let native = self.kind.read(value)?;
        match self.rules.check(&K::widen(native), K::show)? {
            Verdict::Missing => self.write_nothing(Nothing::Missing),
            Verdict::Value => {
                self.values.push(native);
                Ok(())
            }
        }
    }
}

impl<K: Kind> Cells for Fixed<K> {
    fn write_nothing(&mut self, why: Nothing) -> Result<(), Problem> {
        if self.default.is_none() && self.required {
            return Err(required(why));
        }
        if self.default.is_none() {
            self.nulls.0.push(self.values.len());
        }
        self.values.push(self.default.unwrap_or_default());
        Ok(())
    }

    fn instant(&self, row: usize) -> Option<i64> {
        if self.nulls.contain(row) { None } else { K::micros(K::widen(self.values[row])) }
    }

    fn rows(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve_exact(rows);
    }

    fn finish(&mut self) -> ArrayRef {
        let nulls = self.nulls.finish(self.values.len());
        K::array(std::mem::take(&mut self.values), nulls)
    }
}

/// Text, end to end in one buffer.
pub(crate) struct Texts {
    kind: TextKind,
    rules: Rules<String>,
    pattern: Option<regex::Regex>,
    length_max: Option<usize>,
    /// For a hive key: bytes that its encoded value may have.
    room: Option<usize>,
    default: Option<String>,
    required: bool,
    text: Vec<u8>,
    /// Where each row's text starts, and where the last one ends.
    offsets: Vec<i32>,
    nulls: Nulls,
    /// Bytes of the last batch: what to make room for.
    bytes_last: usize,
    /// The last text here that broke no rule. Often the next one is the same.
    passed: Range<usize>,
}

impl Texts {
    fn new(column: &Column, kind: TextKind) -> Self {
        let text = |value: &Value| {
            if let Value::Text(text) = value { Some(text.clone()) } else { None }
        };
        let default = column.default.as_ref().map(|value| {
            text(value).unwrap_or_else(|| panic!("column {}: the default {value:?} is no text", column.name))
        });
        Texts {
            rules: Rules::new(column, text),
            pattern: column.pattern.clone(),
            length_max: column.max_length,
            default,
            required: column.required,
            ..Texts::optional(kind)
        }
    }

    /// JSON text without rules.
    pub(crate) fn json() -> Self {
        Texts::optional(TextKind::Json)
    }

    /// Adds a text as it is, past all rules; none is null.
    pub(crate) fn push(&mut self, text: Option<&str>) {
        self.text.extend_from_slice(text.unwrap_or_default().as_bytes());
        self.end_row(text.is_some());
    }

    /// Text without rules.
    fn optional(kind: TextKind) -> Self {
        Texts {
            kind,
            rules: Rules::none(),
            pattern: None,
            length_max: None,
            room: None,
            default: None,
            required: false,
            text: Vec::new(),
            offsets: vec![0],
            nulls: Nulls::default(),
            bytes_last: 0,
            passed: 0..0,
        }
    }

    /// Ends a row's text, which stands at the end of the buffer.
    fn end_row(&mut self, present: bool) {
        // A batch's payloads are at most a fraction of `limits.memory`, and its texts no longer than they are.
        let end = i32::try_from(self.text.len()).expect("a batch has less than 2 GiB of text");
        if !present {
            self.nulls.0.push(self.rows());
        }
        self.offsets.push(end);
    }

    /// What the rules say of the text that begins at `start`.
    #[inline]
    fn check(&self, start: usize) -> Result<Verdict, Problem> {
        if self.rules.is_empty() && self.pattern.is_none() && self.length_max.is_none() {
            let short = |room| hive::is_short_value(&self.text[start..], room);
            if self.room.is_none_or(short) {
                return Ok(Verdict::Value);
            }
        }
        if !self.passed.is_empty() && self.text[self.passed.clone()] == self.text[start..] {
            return Ok(Verdict::Value);
        }
        let text = std::str::from_utf8(&self.text[start..]).expect("a value's text is UTF-8");
        let verdict = self.rules.check(text, quoted)?;
        if verdict == Verdict::Value {
            self.check_text(text)?;
        }
        Ok(verdict)
    }

    fn check_text(&self, text: &str) -> Result<(), Problem> {
        if let Some(limit) = self.length_max
            && text.len() > limit
        {
            let length = text.chars().count();
            if length > limit {
                let expected = format!("at most {limit} characters");
                let found = format!("{length}: {}", quoted(text));
                return Err(Problem::expected(Rule::MaxLength, &expected, &found));
            }
        }
        if let Some(room) = self.room
            && !hive::is_value(text, room)
        {
            let expected =
                format!("a value that can be whole in a folder's name, of at most {room} bytes when it is encoded");
            let found = format!("{} bytes: {}", text.len(), quoted(text));
            return Err(Problem::expected(Rule::FolderName, &expected, &found));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => {
                let expected = format!("a text that matches {pattern}");
                Err(Problem::expected(Rule::Pattern, &expected, &quoted(text)))
            }
            _ => Ok(()),
        }
    }
}

impl<D: Decoder> CellsOf<D> for Texts {
    fn write(&mut self, value: &D::Value<'_>) -> Result<(), Problem> {
        if value.is_null() {
            return self.write_nothing(Nothing::Null);
        }
        let start = self.text.len();
        self.kind.read(value, &mut self.text)?;
        match self.check(start) {
            Ok(Verdict::Value) => {
                self.passed = start..self.text.len();
                self.end_row(true);
                Ok(())
            }
            Ok(Verdict::Missing) => {
                self.text.truncate(start);
                self.write_nothing(Nothing::Missing)
            }
            Err(problem) => Err(problem),
        }
    }
}

impl Cells for Texts {
    fn write_nothing(&mut self, why: Nothing) -> Result<(), Problem> {
        if self.default.is_none() && self.required {
            return Err(required(why));
        }
        self.text.extend_from_slice(self.default.as_deref().unwrap_or_default().as_bytes());
        self.end_row(self.default.is_some());
        Ok(())
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        // Also a text that was read and then broke a rule: it has no row yet.
        let end = self.offsets.last().copied().unwrap_or(0);
        self.text.truncate(usize::try_from(end).unwrap_or(0));
        if self.passed.end > self.text.len() {
            self.passed = 0..0;
        }
        self.nulls.truncate(rows);
    }

    fn reserve(&mut self, rows: usize) {
        self.offsets.reserve_exact(rows);
        self.text.reserve(self.bytes_last);
    }

    fn finish(&mut self) -> ArrayRef {
        self.bytes_last = self.text.len();
        self.passed = 0..0;
        let nulls = self.nulls.finish(self.rows());
        let text = Buffer::from_vec(std::mem::take(&mut self.text));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        Arc::new(StringArray::new(offsets, text, nulls))
    }
}

#[cold]
fn required(why: Nothing) -> Problem {
    let found = match why {
        Nothing::Absent => "no such field",
        Nothing::Null => "null",
        Nothing::Missing => "a value that stands for none",
    };
    Problem::expected(Rule::Required, "a value", found)
}

fn quoted(text: &str) -> String {
    format!("{:?}", shorten(text))
}
