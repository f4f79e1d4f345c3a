//! The classes of records, and how many a range has of each.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize, Serializer};

use super::Side;

/// Records by class; every record that read_committed shows is in exactly one. What was lost is counted in offsets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Rows in `data/`.
    pub row: u64,
    /// Rows in `rejects/`.
    pub rejected: u64,
    /// Rows that came after their window had closed and are not in `data/`.
    pub late: u64,
    /// Of the late ones, how many are in no file, because the pipeline says so.
    #[serde(default)]
    pub dropped: u64,
    /// Records that the pipeline leaves out.
    pub filtered: u64,
    /// Records without a value.
    pub tombstone: u64,
    /// Offsets that a person gave up. An upper bound of the records that are lost: nobody can read any more which of the
    /// offsets had one, and which were transactions' markers or records that were aborted or compacted away.
    ///
    /// Left out of an entry where there are none, so that a weir that doesn't know the class reads it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way of asking.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Of a range that was given up.
    pub fn lost(offsets: u64) -> Counts {
        Counts { lost: offsets, ..Counts::default() }
    }

    /// All records that were read; `dropped` ones are among the late ones.
    pub fn total(&self) -> u64 {
        let Counts { row, rejected, late, dropped: _, filtered, tombstone, lost: _ } = *self;
        [row, rejected, late, filtered, tombstone].into_iter().fold(0, u64::saturating_add)
    }

    /// The classes by name: every record is in exactly one.
    pub fn classes(&self) -> [(&'static str, u64); 6] {
        let Counts { row, rejected, late, dropped: _, filtered, tombstone, lost } = *self;
        [
            ("row", row),
            ("rejected", rejected),
            ("late", late),
            ("filtered", filtered),
            ("tombstone", tombstone),
            ("lost", lost),
        ]
    }

    /// For reports: every class and the dropped ones, whether there are any or not.
    pub fn report<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.classes().into_iter().chain([("dropped", self.dropped)]))
    }

    /// The classes whose records are rows of files, and in which tree.
    pub fn by_side(&self) -> [(Side, u64); 3] {
        [(Side::Data, self.row), (Side::Rejects, self.rejected), (Side::Late, self.late.saturating_sub(self.dropped))]
    }
}

/// Saturates, because numbers that were read may be any.
impl Add for Counts {
    type Output = Counts;
    fn add(self, other: Counts) -> Counts {
        Counts {
            row: self.row.saturating_add(other.row),
            rejected: self.rejected.saturating_add(other.rejected),
            late: self.late.saturating_add(other.late),
            dropped: self.dropped.saturating_add(other.dropped),
            filtered: self.filtered.saturating_add(other.filtered),
            tombstone: self.tombstone.saturating_add(other.tombstone),
            lost: self.lost.saturating_add(other.lost),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}
