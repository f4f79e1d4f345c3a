//! The bytes of a record to typed values: a decoder for each format.
//!
//! A `Decoder` finds the values that columns read. It hands each to whoever keeps the columns, a
//! `Values`, in any order. A value stays as the format has it, a `RecordValue`, until a column asks
//! for it as the column's own type. All of this is compiled for each format anew, so that no record
//! and no value asks which format it has.
//!
//! A new format is a folder here with its decoder, a variant of
//! [`Format`], a line in `with_decoder`, and a [`Rule`] that bytes
//! break which are no such record.
//!
//! Everything here is pure and total: whatever the bytes, the answer is a value or a problem with a
//! reason, never a panic and never an `Err` of the environment. What a record must contain beyond
//! its types is the business of [`crate::validate`].

mod json;
pub(crate) mod shared;

use crate::model::Pipeline;
use crate::model::pipeline::Format;

pub use shared::Rule;
pub(crate) use shared::{Bool, Date, Float, Instant, Integer, Kind, TextKind};
pub(crate) use shared::{Decoder, Problem, Record, RecordValue, Values, shorten};

/// Makes something that works with one decoder.
pub(crate) trait WithDecoder {
    /// What is made. It doesn't say which decoder it has.
    type Made;

    fn with(self, decoder: impl Decoder + 'static) -> Self::Made;
}

/// Makes something with the decoder of a pipeline's format. Only this function knows which
/// format has which decoder.
pub(crate) fn with_decoder<W: WithDecoder>(pipeline: &Pipeline, maker: W) -> W::Made {
    match pipeline.source.format {
        Format::Json => maker.with(json::Json::new(pipeline)),
    }
}
