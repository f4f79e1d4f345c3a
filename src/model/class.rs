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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NONE: &str = r#"{"row":0,"rejected":0,"late":0,"dropped":0,"filtered":0,"tombstone":0}"#;
    const ALL: &str = r#"{"row":1,"rejected":2,"late":3,"dropped":4,"filtered":5,"tombstone":6,"lost":7}"#;

    fn of_each() -> Counts {
        Counts { row: 1, rejected: 2, late: 3, dropped: 4, filtered: 5, tombstone: 6, lost: 7 }
    }

    fn read(json: &str) -> Result<Counts, String> {
        serde_json::from_str(json).map_err(|error: serde_json::Error| error.to_string())
    }

    /// Entries of every age have this form, and their checksums are over it.
    #[test]
    fn the_form_on_disk_stays() {
        for (counts, json) in [(Counts::default(), NONE), (of_each(), ALL)] {
            assert_eq!(serde_json::to_string(&counts).unwrap(), json);
            assert_eq!(read(json).unwrap(), counts);
        }
        assert_eq!(read(r#"{"row":0,"rejected":0,"late":0,"filtered":0,"tombstone":0}"#).unwrap(), Counts::default());
        assert_eq!(read("[1,2,3,4,5,6,7]").unwrap(), of_each());
    }

    #[test]
    fn what_is_no_counts_is_refused() {
        let error = |json: &str| read(json).unwrap_err();
        insta::assert_snapshot!(error("{}"), @"missing field `row` at line 1 column 2");
        insta::assert_snapshot!(error(r#"{"row":1,"row":1}"#), @"duplicate field `row` at line 1 column 14");
        insta::assert_snapshot!(error(r#"{"row":-1}"#), @"invalid value: integer `-1`, expected u64 at line 1 column 9");
        insta::assert_snapshot!(error(r#"{"rows":1}"#), @"unknown field `rows`, expected one of `row`, `rejected`, `late`, `dropped`, `filtered`, `tombstone`, `lost` at line 1 column 7");
        insta::assert_snapshot!(error("1"), @"invalid type: integer `1`, expected struct Counts at line 1 column 1");
    }

    #[test]
    fn reports_name_every_class() {
        let report = |counts: Counts| serde_json::to_string(&counts.report(serde_json::value::Serializer).unwrap()).unwrap();
        insta::assert_snapshot!(report(of_each()), @r#"{"row":1,"rejected":2,"late":3,"filtered":5,"tombstone":6,"lost":7,"dropped":4}"#);
    }
}
