//! What a person asks for: verify, repair, back up, give offsets up.

mod backup;
mod repair;
mod skip;
mod verify;

pub use backup::{Backup, BackupError, backup};
pub use repair::{Action, ActionKind, Left, Repair, RepairError, repair};
#[cfg(test)]
pub(super) use verify::verify_dataset;
pub use verify::{Finding, Kind, Report, verify};
