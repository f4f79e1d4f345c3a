//! For tests alone: lanes and ledger on a disk whose power fails, and what people read where weir refuses.

mod refusals;
pub(crate) mod simulation;
