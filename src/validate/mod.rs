//! Good rows from bad ones.
//!
//! A [`Checker`] turns a batch of records into columns of good rows and rejected records. The decoder in
//! [`crate::decode`] finds the values; here stand the columns that take them, the rules that they must obey, and the rejects.

mod actor;
mod ahead;
mod checker;
mod column;
mod reject;
mod row;
mod rules;
#[cfg(test)]
mod tests;

pub use actor::Validator;
pub use checker::Checker;
