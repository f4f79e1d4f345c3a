//! Where a dataset is kept. What the files in it mean is the ledger's to know.

mod disk;
mod error;
mod file_system;

pub(crate) use disk::{Disk, WHOLE_MAX};
pub use error::StoreError;
pub use file_system::open_file;
#[cfg(test)]
pub(crate) use file_system::{FailedSyncs, SyncFailed};
pub(crate) use file_system::{FileSystem, Local};
