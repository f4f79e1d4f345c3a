//! What must be the same whenever a dataset is opened, and what differs where it isn't.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::columns::ColumnIdentity;
use super::error::LedgerError;

/// What all files of a dataset agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The dataset's name: the pipeline's.
    pub name: String,
    /// The Kafka cluster that its offsets belong to.
    pub cluster_id: String,
    /// The columns in order; hive keys may be among them, though they are no columns of the files.
    pub columns: Vec<ColumnIdentity>,
    /// The hive keys, outermost first.
    pub partition_by: Vec<String>,
    /// What kind of windows its rows are in, in words: `count`, or all that a window of time
    /// depends on.
    pub window: String,
}

/// Whether a pipeline may write to a dataset: all that its files agree on is the same.
pub(in crate::ledger) fn agree(there: &Identity, wanted: &Identity, folder: &Path) -> Result<(), LedgerError> {
    match differences(there, wanted) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(LedgerError::OtherDataset { folder: folder.to_owned(), differences }),
    }
}

fn differences(there: &Identity, wanted: &Identity) -> Vec<String> {
    let mut out = Vec::new();
    let mut compare = |what: &str, there: &str, wanted: &str| {
        if there != wanted {
            out.push(format!("{what} is {there} there and {wanted} in the pipeline"));
        }
    };
    compare("its name", &there.name, &wanted.name);
    compare("the Kafka cluster's id", &there.cluster_id, &wanted.cluster_id);
    compare("partition_by", &format!("{:?}", there.partition_by), &format!("{:?}", wanted.partition_by));
    compare("window", &there.window, &wanted.window);
    column_differences(&there.columns, &wanted.columns, &mut compare);
    out
}

fn column_differences(there: &[ColumnIdentity], wanted: &[ColumnIdentity], compare: &mut impl FnMut(&str, &str, &str)) {
    let kind = |columns: &[ColumnIdentity], name: &str| {
        columns.iter().find(|column| column.name == name).map_or("missing".to_owned(), |column| column.kind.clone())
    };
    let added = wanted.iter().filter(|column| !there.iter().any(|old| old.name == column.name));
    let mut same_columns = true;
    for column in there.iter().chain(added) {
        let (old, new) = (kind(there, &column.name), kind(wanted, &column.name));
        same_columns &= old == new;
        compare(&format!("the column {}", column.name), &old, &new);
    }
    if same_columns {
        let order =
            |columns: &[ColumnIdentity]| columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
        compare("the columns' order", &order(there), &order(wanted));
    }
}
