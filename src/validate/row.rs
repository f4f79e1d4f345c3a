//! One record on its way into the columns: it takes what the reader finds, and in the end is a row, or leaves no trace.
//!
//! A record with several faults is rejected for one: what makes it unreadable as a whole, else the first in the order of
//! the definition's columns, else its first unknown field.

use crate::decode::{Fields, Problem, Rule, Segment, Token, TokenKind, shorten};
use crate::model::pipeline::UnknownFields;
use crate::validate::column::{Cells, Nothing};
use crate::validate::kept::Kept;

/// Why a record is rejected.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The column at fault; none where it is the record as a whole.
    pub(crate) column: Option<usize>,
    pub(crate) problem: Problem,
}

/// A record that is being read.
pub(crate) struct Row<'c> {
    /// The definition's columns, all of them `row` long.
    cells: &'c mut [Box<dyn Cells>],
    row: usize,
    /// How many columns have this row's value.
    filled: usize,
    /// The first column at fault so far, and its fault.
    fault: Option<(usize, Problem)>,
    unknown_fields: UnknownFields,
    /// The first unknown field, where it is a fault.
    unknown: Option<String>,
    /// The unknown fields, where they are kept.
    kept: &'c mut Kept,
}

impl<'c> Row<'c> {
    pub(crate) fn new(
        cells: &'c mut [Box<dyn Cells>],
        row: usize,
        unknown_fields: UnknownFields,
        kept: &'c mut Kept,
    ) -> Self {
        kept.clear();
        Row { cells, row, filled: 0, fault: None, unknown_fields, unknown: None, kept }
    }

    /// Fills the columns that the record doesn't have. After an `Err` the columns must be cut back.
    pub(crate) fn end(mut self) -> Result<(), Fault> {
        if self.filled < self.cells.len() {
            self.fill();
        }
        if let Some((column, problem)) = self.fault {
            return Err(Fault { column: Some(column), problem });
        }
        match self.unknown {
            None => Ok(()),
            Some(name) => {
                let found = format!("the field `{}`", shorten(&name));
                let problem = Problem::expected(Rule::UnknownField, "only fields that a column reads", &found);
                Err(Fault { column: None, problem })
            }
        }
    }

    fn fill(&mut self) {
        let limit = self.fault.as_ref().map_or(self.cells.len(), |(column, _)| *column);
        for (column, cells) in self.cells[..limit].iter_mut().enumerate() {
            if cells.rows() == self.row
                && let Err(problem) = cells.write_nothing(Nothing::Absent)
            {
                self.fault = Some((column, problem));
                return;
            }
        }
    }

    /// Whether a fault of this column would be reported.
    fn matters(&self, column: usize) -> bool {
        self.fault.as_ref().is_none_or(|(first, _)| column < *first)
    }
}

impl Fields for Row<'_> {
    #[inline]
    fn value(&mut self, column: usize, token: &Token<'_>) {
        if self.matters(column) {
            match self.cells[column].write(token) {
                Ok(()) => self.filled += 1,
                Err(problem) => self.fault = Some((column, problem)),
            }
        }
    }

    fn misplaced(&mut self, column: usize, token: &Token<'_>) {
        if self.matters(column) {
            let expected = match token.kind {
                TokenKind::Array => "an object, or an index into the array, on the way to the value",
                _ => "an object or an array on the way to the value",
            };
            self.fault = Some((column, Problem::expected(Rule::Type, expected, &token.describe())));
        }
    }

    fn unread(&mut self, name: &str, member: &str) {
        match self.unknown_fields {
            UnknownFields::Ignore => {}
            UnknownFields::Keep => self.kept.field(member),
            UnknownFields::Reject => {
                self.unknown.get_or_insert_with(|| name.to_owned());
            }
        }
    }

    fn unread_below(&mut self, path: &[Segment], element: Option<usize>, member: &str) {
        self.kept.below(path, element, member);
    }

    #[cold]
    fn again(&mut self) {
        for cells in &mut *self.cells {
            cells.truncate(self.row);
        }
        self.kept.clear();
        (self.filled, self.fault, self.unknown) = (0, None, None);
    }
}
