//! For tests alone: the floors of the house, lanes and ledger on a disk whose power fails, and what people read where weir refuses.

mod floors;
mod refusals;
mod simulation;
