//! The seam between a format and the columns: what every decoder does, and what it tells.

use crate::decode::shared::problem::Problem;
use crate::decode::shared::value::RecordValue;

/// Reads the records of one format.
///
/// It knows from the pipeline which column reads what (`from`), and what becomes of fields that no
/// column reads (`validate.unknown_fields`). It may remember records to be faster at the next, but
/// a record's values never depend on that.
pub(crate) trait Decoder: Send {
    /// A value where it stands in a record.
    type Value<'r>: RecordValue;

    /// Whether all records are text. A whole batch's UTF-8 is then checked at once.
    const TEXT: bool;

    /// Reads one record and reports its values. An `Err` says why the record as a whole cannot be
    /// read; what was reported is void then.
    fn decode(&mut self, record: &Record<'_>, values: &mut impl Values<Self>) -> Result<(), Problem>
    where
        Self: Sized;

    /// What no column reads of the record that was decoded last, as the text of one JSON object.
    /// None where there is nothing, or where unknown fields are not kept.
    fn unread(&mut self) -> Option<&str>;
}

/// What a decoder reports of a record, in any order.
pub(crate) trait Values<D: Decoder> {
    /// The value of a column, null included. A column has at most one; one that has none is not
    /// reported.
    fn value(&mut self, column: usize, value: &D::Value<'_>);
    /// A column's value cannot be reached. The reason names what stands in the way.
    fn fault(&mut self, column: usize, problem: Problem);
    /// The record has a top-level field of this name, which no column reads. Only told where
    /// unknown fields are rejected.
    fn unknown(&mut self, name: &str);
    /// The decoder reads the record again from its beginning: what was reported is void.
    fn again(&mut self);
}

/// The bytes of one record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'r> {
    pub(crate) bytes: &'r [u8],
    /// The same, where they are known to be UTF-8.
    pub(crate) text: Option<&'r str>,
}

impl<'r> Record<'r> {
    /// The record as text.
    #[inline]
    pub(crate) fn text(&self) -> Result<&'r str, Problem> {
        let text = self.text.map_or_else(|| simdutf8::compat::from_utf8(self.bytes), Ok);
        text.map_err(|error| Problem::utf8(self.bytes, error.valid_up_to()))
    }
}
