//! One record on its way into the columns: it takes what the decoder finds, and in the end is a row, or leaves no trace.
//!
//! A record with several faults is rejected for one: what makes it unreadable as a whole, else the first in the order of
//! the definition's columns, else its first unknown field.

use crate::decode::{Decoder, Problem, Rule, Values, shorten};
use crate::validate::column::{CellsOf, Nothing};

/// Why a record is rejected.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The column at fault; none where it is the record as a whole.
    pub(crate) column: Option<usize>,
    pub(crate) problem: Problem,
}

/// A record that is being read.
pub(crate) struct Row<'c, D: Decoder> {
    /// The definition's columns, all of them `row` long.
    cells: &'c mut [Box<dyn CellsOf<D>>],
    row: usize,
    /// How many columns have this row's value.
    filled: usize,
    /// The first column at fault so far, and its fault.
    fault: Option<(usize, Problem)>,
    /// The first unknown field, where it is a fault.
    unknown: Option<String>,
}

impl<'c, D: Decoder> Row<'c, D> {
    pub(crate) fn new(cells: &'c mut [Box<dyn CellsOf<D>>], row: usize) -> Self {
        Row { cells, row, filled: 0, fault: None, unknown: None }
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

impl<D: Decoder> Values<D> for Row<'_, D> {
    #[inline]
    fn value(&mut self, column: usize, value: &D::Value<'_>) {
        if self.matters(column) {
            match self.cells[column].write(value) {
                Ok(()) => self.filled += 1,
                Err(problem) => self.fault = Some((column, problem)),
            }
        }
    }

    fn fault(&mut self, column: usize, problem: Problem) {
        if self.matters(column) {
            self.fault = Some((column, problem));
        }
    }

    fn unknown(&mut self, name: &str) {
        self.unknown.get_or_insert_with(|| name.to_owned());
    }

    #[cold]
    fn again(&mut self) {
        for cells in &mut *self.cells {
            cells.truncate(self.row);
        }
        (self.filled, self.fault, self.unknown) = (0, None, None);
    }
}
