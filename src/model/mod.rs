//! The words that all floors share: partitions and positions, records and their classes, windows,
//! names, times, and the definition of a pipeline. Plain data and pure functions; no text of a file
//! is parsed here, and no disk is touched.

pub mod class;
pub mod names;
mod partition;
pub mod pipeline;
mod reason;
mod records;
mod restart;
pub mod schema;
mod side;
pub(crate) mod time;
pub mod window;

pub use class::{Class, Counts};
pub use partition::{LastRecord, Partition, Range};
pub use pipeline::Pipeline;
pub use reason::Reason;
pub use records::{Headers, RawRecords};
pub use restart::Restart;
pub use side::Side;

/// The version of the rules that the code decides, and not the definition. It goes up when the same
/// definition would give a record another class, or a column another value, than before. Every
/// entry has its writer's.
pub const BEHAVIOUR: u32 = 1;
