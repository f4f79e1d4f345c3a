//! The classes of records, and how many records a range has of each.

use std::ops::{Add, AddAssign, Index, IndexMut};

use serde::{Deserialize, Serialize, Serializer};

use super::Side;

/// The class of a record: every record that read_committed shows is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A row in `data/`.
    Row,
    /// A row in `rejects/`.
    Rejected,
    /// A row that came after its window had closed and is not in `data/`.
    Late,
    /// The pipeline leaves the record out.
    Filtered,
    /// The record has no value.
    Tombstone,
    /// A person gave the offset up. Counts offsets, an upper bound of the records that are lost:
    /// nobody can read any more which of the offsets had one, and which were transactions' markers
    /// or records that were aborted or compacted away.
    Lost,
}

impl Class {
    /// All classes, in the order of every list.
    pub const ALL: [Class; 6] =
        [Class::Row, Class::Rejected, Class::Late, Class::Filtered, Class::Tombstone, Class::Lost];

    /// The name in every report, metric and answer.
    pub fn name(self) -> &'static str {
        match self {
            Class::Row => "row",
            Class::Rejected => "rejected",
            Class::Late => "late",
            Class::Filtered => "filtered",
            Class::Tombstone => "tombstone",
            Class::Lost => "lost",
        }
    }

    /// The tree whose files have the class's records as rows.
    pub fn side(self) -> Option<Side> {
        match self {
            Class::Row => Some(Side::Data),
            Class::Rejected => Some(Side::Rejects),
            Class::Late => Some(Side::Late),
            Class::Filtered | Class::Tombstone | Class::Lost => None,
        }
    }

    /// Whether its records were read, so that records are counted. If not, offsets are.
    pub fn counts_records(self) -> bool {
        match self {
            Class::Row | Class::Rejected | Class::Late | Class::Filtered | Class::Tombstone => true,
            Class::Lost => false,
        }
    }
}

/// A class is its own index in [`Class::ALL`].
const _: () = {
    let mut index = 0;
    while index < Class::ALL.len() {
        assert!(Class::ALL[index] as usize == index);
        index += 1;
    }
};

/// Records by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Counts {
    by_class: [u64; Class::ALL.len()],
    /// Of the late ones, how many are in no file, because the pipeline says so.
    pub dropped: u64,
}

/// Counts as entries have them. An entry's checksum is over this form, so neither a name nor the
/// order may change. A reader passes over a class that it doesn't know: an entry with a new one
/// must require it.
#[derive(Serialize, Deserialize)]
#[serde(expecting = "struct Counts")]
struct Written {
    row: u64,
    rejected: u64,
    late: u64,
    #[serde(default)]
    dropped: u64,
    filtered: u64,
    tombstone: u64,
    /// Left out of an entry where there are none, so that a weir that doesn't know the class reads
    /// it.
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's way of asking.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Written> for Counts {
    fn from(Written { row, rejected, late, dropped, filtered, tombstone, lost }: Written) -> Self {
        Counts { by_class: [row, rejected, late, filtered, tombstone, lost], dropped }
    }
}

impl From<Counts> for Written {
    fn from(Counts { by_class: [row, rejected, late, filtered, tombstone, lost], dropped }: Counts) -> Self {
        Written { row, rejected, late, dropped, filtered, tombstone, lost }
    }
}

/// Sets the counts of these classes; all others are zero.
impl<const N: usize> From<[(Class, u64); N]> for Counts {
    fn from(classes: [(Class, u64); N]) -> Self {
        let mut counts = Counts::default();
        for (class, count) in classes {
            counts[class] += count;
        }
        counts
    }
}

impl Index<Class> for Counts {
    type Output = u64;
    fn index(&self, class: Class) -> &u64 {
        &self.by_class[class as usize]
    }
}

impl IndexMut<Class> for Counts {
    fn index_mut(&mut self, class: Class) -> &mut u64 {
        &mut self.by_class[class as usize]
    }
}

impl Counts {
    /// All records that were read; `dropped` ones are among the late ones.
    pub fn total(&self) -> u64 {
        let read = self.classes().into_iter().filter(|(class, _)| class.counts_records());
        read.fold(0, |total: u64, (_, count)| total.saturating_add(count))
    }

    /// Every class with its count.
    pub fn classes(&self) -> [(Class, u64); Class::ALL.len()] {
        Class::ALL.map(|class| (class, self[class]))
    }

    /// For reports: every class and the dropped ones, whether there are any or not.
    pub fn report<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let classes = self.classes().map(|(class, count)| (class.name(), count));
        serializer.collect_map(classes.into_iter().chain([("dropped", self.dropped)]))
    }

    /// The rows that files have of these records, by tree.
    pub fn by_side(&self) -> impl Iterator<Item = (Side, u64)> {
        let in_files = |(class, count): (Class, u64)| match class {
            Class::Late => count.saturating_sub(self.dropped),
            _ => count,
        };
        self.classes().into_iter().filter_map(move |of| Some((of.0.side()?, in_files(of))))
    }
}

/// Saturates, because numbers that were read may be any.
impl Add for Counts {
    type Output = Counts;
    fn add(mut self, other: Counts) -> Counts {
        for (class, count) in other.classes() {
            self[class] = self[class].saturating_add(count);
        }
        self.dropped = self.dropped.saturating_add(other.dropped);
        self
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
        let counts = [
            (Class::Row, 1),
            (Class::Rejected, 2),
            (Class::Late, 3),
            (Class::Filtered, 5),
            (Class::Tombstone, 6),
            (Class::Lost, 7),
        ];
        Counts { dropped: 4, ..Counts::from(counts) }
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
        insta::assert_snapshot!(error(r#"{"rows":1}"#), @"missing field `row` at line 1 column 10");
        insta::assert_snapshot!(error("1"), @"invalid type: integer `1`, expected struct Counts at line 1 column 1");
    }

    #[test]
    fn reports_name_every_class() {
        let report =
            |counts: Counts| serde_json::to_string(&counts.report(serde_json::value::Serializer).unwrap()).unwrap();
        insta::assert_snapshot!(report(of_each()), @r#"{"row":1,"rejected":2,"late":3,"filtered":5,"tombstone":6,"lost":7,"dropped":4}"#);
    }

    #[test]
    fn what_was_lost_was_not_read() {
        assert_eq!(of_each().total(), 1 + 2 + 3 + 5 + 6);
        let rows: Vec<_> = Counts { dropped: 2, ..of_each() }.by_side().collect();
        assert_eq!(rows, [(Side::Data, 1), (Side::Rejects, 2), (Side::Late, 1)]);
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        let most = Counts { dropped: u64::MAX, ..Counts::from(Class::ALL.map(|class| (class, u64::MAX))) };
        assert_eq!(most + of_each(), most);
        assert_eq!(most.total(), u64::MAX);
    }
}
